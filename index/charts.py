"""The course of an alert as a picture (PNG). Pure but for the font, which is read once.

Drawn by matplotlib's objects without pyplot, whose figures are shared by a whole process. Whatever a stranger wrote is
drawn as plain text, in glyphs that the font has.
"""

from __future__ import annotations

import io
import unicodedata
from datetime import timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from index.messages import text_in
from index.rendering import duration
from stream.contract.records import ESCALATED, FIRING, RESOLVED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties

FONT: Final = Path(__file__).parent / "fonts" / "NotoSansSC-Regular.otf"
UNKNOWN: Final = "〓"
"""Stands for a character that the font does not have, such as an emoji."""
TITLE_CHARS_MAX: Final = 40
SIZE_INCHES: Final = (10.0, 4.2)
DOTS_PER_INCH: Final = 110
PLACE: Final = (0.055, 0.13, 0.93, 0.76)
"""Left, bottom, width and height of the axes, as shares; finding them out would take as long as all the drawing."""
INK, MUTED, GRID = "#1b2430", "#5c6775", "#e3e6ea"
BARS, AUTHORS, USUAL, GAP = "#d98c5f", "#1d4ed8", "#137038", "#98a4b3"
MARKS: Final = {FIRING: "#b45309", ESCALATED: "#b91c1c", RESOLVED: "#137038"}


class Course(NamedTuple):
    """What the picture shows: an entity in steps of ``step_ms`` from ``start_ms`` on.

    ``expected`` is the mean of a step, ``low`` and ``high`` the ends of its interval, all None where no baseline is
    known. ``marks`` are (time, state) of the alerts, ``gaps`` the spans of which too little was seen.
    """

    surface: str
    start_ms: int
    step_ms: int
    mentions: tuple[int, ...]
    authors: tuple[int, ...]
    expected: tuple[float | None, ...]
    low: tuple[int | None, ...]
    high: tuple[int | None, ...]
    marks: tuple[tuple[int, str], ...]
    gaps: tuple[tuple[int, int], ...]


def draw(course: Course, language: str, utc_offset_s: int) -> bytes:
    """The picture. Takes some tenths of a second, and longer the first time: not for an event loop."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH)
    axes = figure.add_axes(PLACE)
    _bars(axes, course, language)
    _usual(axes, course, language)
    _moments(axes, course, language)
    _dress(axes, course, language, utc_offset_s)
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return picture.getvalue()


def drawable(text: str) -> str:
    """``text`` in glyphs that the font has: control characters go, any other one becomes ``UNKNOWN``."""
    known = _glyphs()
    seen = (one for one in text if unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Mn", "Me"))
    return "".join(one if ord(one) in known else UNKNOWN for one in seen)


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(FONT)).get_charmap())


# --- parts of the picture ----------------------------------------------------------------------------------------


def _font(size: float) -> FontProperties:
    from matplotlib.font_manager import FontProperties

    return FontProperties(fname=str(FONT), size=size)


def _edges(course: Course) -> list[float]:
    """The ends of the steps in days since the epoch, which dates are in a picture; one more than there are steps."""
    return [(course.start_ms + place * course.step_ms) / 86_400_000 for place in range(len(course.mentions) + 1)]


def _bars(axes: Axes, course: Course, language: str) -> None:
    edges = _edges(course)
    label, other = (text_in(language, key) for key in ("js.mentions", "js.authors"))
    axes.stairs(course.mentions, edges, fill=True, color=BARS, label=label)
    axes.stairs(course.authors, edges, color=AUTHORS, linewidth=1.1, label=other)


def _usual(axes: Axes, course: Course, language: str) -> None:
    """The expected count and its interval, where a baseline is known."""
    if not any(one is not None for one in course.expected):
        return
    nan = float("nan")
    edges = _edges(course)
    low, mean, high = (
        [nan if one is None else float(one) for one in line] for line in (course.low, course.expected, course.high)
    )
    label, other = (text_in(language, key) for key in ("chart.interval", "chart.expected"))
    axes.stairs(high, edges, baseline=low, fill=True, color=USUAL, alpha=0.16, label=label)
    axes.stairs(mean, edges, baseline=None, color=USUAL, linewidth=1.6, label=other)


def _moments(axes: Axes, course: Course, language: str) -> None:
    """Lines where the alert changed, and grey where too little was seen."""
    told: set[str] = set()
    for at_ms, state in course.marks:
        label = text_in(language, f"alert.{state}") if state not in told else "_"
        told.add(state)
        axes.axvline(at_ms / 86_400_000, color=MARKS.get(state, INK), linewidth=1.5, linestyle="--", label=label)
    for place, (from_ms, until_ms) in enumerate(course.gaps):
        label = "_" if place else text_in(language, "chart.gap")
        axes.axvspan(from_ms / 86_400_000, until_ms / 86_400_000, color=GAP, alpha=0.25, linewidth=0, label=label)


def _dress(axes: Axes, course: Course, language: str, utc_offset_s: int) -> None:
    from matplotlib.dates import AutoDateLocator, DateFormatter
    from matplotlib.ticker import MaxNLocator

    zone = timezone(timedelta(seconds=utc_offset_s))
    edges = _edges(course)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0, top=max(1, *course.mentions, *(high or 0 for high in course.high)) * 1.08)
    locator = AutoDateLocator(tz=zone, minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    form = DateFormatter("%m-%d\n%H:%M", tz=zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(form)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
    axes.tick_params(color=GRID, labelcolor=MUTED, labelsize=9)
    axes.legend(prop=_font(9), loc="upper left", ncols=2, framealpha=0.85, edgecolor=GRID, labelcolor=INK)
    surface = drawable(course.surface)
    if len(surface) > TITLE_CHARS_MAX:
        surface = surface[: TITLE_CHARS_MAX - 1] + "…"
    count, unit = duration(course.step_ms)
    per = text_in(language, "chart.per", length=text_in(language, f"length.{unit}", count=count))
    axes.set_title(surface, loc="left", color=INK, fontproperties=_font(14), parse_math=False)
    axes.set_title(f"{per} · {zone_name(utc_offset_s)}", loc="right", color=MUTED, fontproperties=_font(9))


def zone_name(utc_offset_s: int) -> str:
    """``UTC+08:00``."""
    hours, minutes = divmod(abs(utc_offset_s) // 60, 60)
    return f"UTC{'-' if utc_offset_s < 0 else '+'}{hours:02}:{minutes:02}"
