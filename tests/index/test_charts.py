"""Charts of alerts: in glyphs that the font has, the same whenever they show the same, and never a formula."""

from __future__ import annotations

import asyncio
import io
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image

from index import charts, drawing
from index.charts import UNKNOWN, Course, draw, drawable
from index.drawing import Drawing
from index.messages import LANGUAGES, MESSAGES
from index.reader import TooSlow
from tests.index.corpus import HOUR, MARCH

STEP = 600_000


def a_course(**changes: Any) -> Course:
    """Half a day in steps of ten minutes, the burst in the last hours, one gap."""
    counts = tuple(1 if place % 3 else 0 for place in range(60)) + tuple(range(5, 17))
    steps = len(counts)
    plain = Course(
        surface="张三", start_ms=MARCH, step_ms=STEP, mentions=counts, authors=tuple(max(0, n - 1) for n in counts),
        expected=(0.8,) * steps, low=(0,) * steps, high=(3,) * steps,
        marks=((MARCH + 62 * STEP, "firing"), (MARCH + 66 * STEP, "escalated"), (MARCH + 71 * STEP, "resolved")),
        gaps=((MARCH + 2 * HOUR, MARCH + 3 * HOUR),),
    )  # fmt: skip
    return plain._replace(**changes)


def pixels(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB")


NAMES = [
    ("张三", "张三"),
    ("華強北", "華強北"),
    ("喆·娜扎", "喆·娜扎"),
    ("王👑一博", f"王{UNKNOWN}一博"),
    ("a\u200b\nb", "ab"),
]


@pytest.mark.parametrize(("surface", "drawn"), NAMES)
def test_every_name_is_drawn_in_glyphs_that_the_font_has(surface: str, drawn: str) -> None:
    assert drawable(surface) == drawn
    assert drawable(drawn) == drawn
    picture = draw(a_course(surface=surface), "zh", 28_800)  # a missing glyph is a warning, which fails
    assert pixels(picture).size == (1100, 462)
    assert picture != draw(a_course(surface=""), "zh", 28_800)


def test_the_font_has_what_charts_say_in_both_languages() -> None:
    words = [texts[language] for key, texts in MESSAGES.items() if key.startswith(("chart.", "alert.", "js."))
             for language in LANGUAGES]  # fmt: skip
    assert len(words) > 40
    assert [word for word in words if drawable(word) != word] == []


def test_the_same_course_is_the_same_picture_and_another_is_another() -> None:
    one = draw(a_course(), "zh", 28_800)
    assert one == draw(a_course(), "zh", 28_800)
    others = [
        draw(a_course(), "en", 28_800), draw(a_course(), "zh", 0), draw(a_course(marks=()), "zh", 28_800),
        draw(a_course(gaps=()), "zh", 28_800), draw(a_course(high=(4,) * 72), "zh", 28_800),
    ]  # fmt: skip
    assert len({one, *others}) == 6


def test_a_name_between_dollar_signs_is_no_formula() -> None:
    assert draw(a_course(surface=r"$\frac$"), "en", 0) != draw(a_course(surface=r"\frac"), "en", 0)
    draw(a_course(surface="$" * 3 + "名" * 400), "en", 0)


def test_an_entity_without_baseline_and_without_mentions() -> None:
    nothing = (None,) * 72
    bare = draw(a_course(mentions=(0,) * 72, authors=(0,) * 72, expected=nothing, low=nothing, high=nothing), "zh", 0)
    assert pixels(bare).size == (1100, 462)


@pytest.mark.parametrize(("offset_s", "name"), [(28_800, "UTC+08:00"), (-12_600, "UTC-03:30"), (0, "UTC+00:00")])
def test_the_zone_is_told(offset_s: int, name: str) -> None:
    assert charts.zone_name(offset_s) == name


async def test_pictures_are_drawn_once_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Course, str, int]] = []
    real = charts.draw

    def counted(*asked: Any) -> bytes:
        drawn.append(asked)
        return real(*asked)

    monkeypatch.setattr("index.charts.draw", counted)
    monkeypatch.setattr(drawing, "KEPT_MAX", 2)
    maker = Drawing(28_800)
    same = await asyncio.gather(*(maker.picture(a_course(), "zh") for _ in range(5)))
    assert len(drawn) == 1 and len(set(same)) == 1
    for surface in ("甲", "乙"):
        await maker.picture(a_course(surface=surface), "zh")
    await maker.picture(a_course(), "zh")
    assert [course.surface for course, _, _ in drawn] == ["张三", "甲", "乙", "张三"]
    digests = [maker.digest(a_course(), language) for language in LANGUAGES] + [Drawing(0).digest(a_course(), "zh")]
    assert all(one != other for one, other in pairwise(digests))


async def test_more_than_so_many_waiting_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "WAITING_MAX", 2)
    maker = Drawing(0)
    asked = [maker.picture(a_course(surface=str(number)), "en") for number in range(4)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(one, TooSlow) for one in found] == [False, False, True, True]
