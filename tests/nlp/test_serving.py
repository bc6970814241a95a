"""The tagger over torch models: batches, pictures, provenance, memory that runs out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.telemetry import Telemetry
from nlp.evaluate import evaluate
from nlp.serving.settings import TaggerSettings
from nlp.serving.torch_tagger import TorchTagger
from stream.contract.ports import TagInput, tagged
from stream.contract.records import Picture, Span
from stream.runtime.tagging import tag_isolating
from tests.nlp.serving_models import BLUE, GREEN, GREY, RED, TOKENS, WHITE, Painted, Problems, picture, tagger_of

Found = tuple[str, str, str]


def kinds(spans: Sequence[Span]) -> list[Found]:
    """(type, provenance, picture) of each."""
    return [(span.type, span.provenance, span.picture_id) for span in spans]


def one(tagger: TorchTagger, text: str, *pictures: Picture) -> list[Found]:
    return kinds(tagged(tagger, [TagInput(text, pictures)])[0])


# --- provenance --------------------------------------------------------------------------------------------------


PER = ("PER", "text", "")


def test_what_only_the_picture_gives_away_says_so() -> None:
    tagger = tagger_of(Painted())
    red = picture("red.jpg", RED)
    assert one(tagger, "人。红。", red) == [PER, ("LOC", "image", "red.jpg")]
    assert one(tagger, "人。红。") == [PER]
    assert one(tagger, "人。红。", picture("grey.jpg", GREY)) == [PER]


def test_of_several_pictures_it_is_the_one_without_which_it_is_not_found() -> None:
    tagger = tagger_of(Painted())
    grey, red, blue = picture("g", GREY), picture("r", RED), picture("b", BLUE)
    assert one(tagger, "红。蓝", grey, red, blue) == [("LOC", "image", "r"), ("ORG", "image", "b")]
    assert one(tagger, "双", grey, blue, red) == [("MISC", "image", "b")], "both are needed: the first"


def test_of_two_pictures_that_show_the_same_it_is_the_first_that_gives_it_alone() -> None:
    tagger = tagger_of(Painted())
    grey, first, second = picture("g", GREY), picture("1", RED), picture("2", RED, shade=9)
    assert one(tagger, "红", grey, first, second) == [("LOC", "image", "1")]
    assert one(tagger, "红", first, picture("again", RED)) == [("LOC", "image", "1")], "the same picture twice is one"


def test_of_two_pictures_each_is_seen_alone_once() -> None:
    model = Painted()
    found = tagged(tagger_of(model), [TagInput("红", (picture("b", BLUE), picture("r", RED)))])
    assert [(span.type, span.picture_id) for span in found[0]] == [("LOC", "r")]
    assert sum(posts for posts, _ in model.calls) == 4, "with both, with none, with each"


def test_provenance_can_be_switched_off_and_then_there_is_one_pass() -> None:
    model = Painted()
    tagger = tagger_of(model, settings=TaggerSettings(image_provenance=False))
    assert one(tagger, "红", picture("r", RED)) == [("LOC", "text", "")]
    assert len(model.calls) == 1


def test_posts_without_pictures_are_read_once() -> None:
    model = Painted()
    tagged(tagger_of(model), [TagInput("人红"), TagInput("人"), TagInput("")])
    assert model.calls == [(2, 2)]


@pytest.mark.parametrize(
    ("policy", "pictures_max", "expected"),
    [
        ("attention", 4, [PER, ("LOC", "image", "r")]),
        ("attention", 1, [PER]),
        ("first", 4, [PER]),
        ("none", 4, [PER]),
        ("constant", 4, [PER]),
    ],
)
def test_a_model_sees_the_pictures_that_it_was_trained_to_see(
    policy: str, pictures_max: int, expected: list[Found]
) -> None:
    tagger = tagger_of(Painted(), policy=policy, pictures_max=pictures_max)
    assert one(tagger, "人红", picture("g", GREY), picture("r", RED)) == expected


def test_mean_features_blends_the_pictures() -> None:
    tagger = tagger_of(Painted(), policy="mean_features")
    assert one(tagger, "红", picture("r", RED), picture("r2", RED, shade=3)) == [("LOC", "image", "r")]
    assert one(tagger, "红", picture("r", RED), picture("b", BLUE)) == []


# --- pictures ----------------------------------------------------------------------------------------------------


def test_a_picture_is_encoded_once_however_often_it_is_shown() -> None:
    model = Painted()
    tagger = tagger_of(model)
    red, blue = picture("r", RED), picture("b", BLUE)
    posts = [TagInput("红", (red,)), TagInput("蓝红", (blue, red)), TagInput("红", (red,))]
    first = tagged(tagger, posts)
    assert model.pictures.seen == 2
    assert tagged(tagger, posts) == first
    assert model.pictures.seen == 2, "kept for later batches"


def test_kept_regions_are_bounded() -> None:
    model = Painted()
    tagger = tagger_of(model, settings=TaggerSettings(cache_mb=0))
    for _ in range(2):
        assert one(tagger, "红", picture("r", RED)) == [("LOC", "image", "r")]
    assert model.pictures.seen == 2


def test_a_picture_that_cannot_be_read_is_left_out_and_counted() -> None:
    problems = Problems()
    tagger = tagger_of(Painted(), problems)
    broken = Picture(id="broken", jpeg=b"\xff\xd8 no picture")
    assert one(tagger, "人红", broken) == [PER]
    assert one(tagger, "人红", broken, picture("r", RED)) == [PER, ("LOC", "image", "r")]
    assert problems.found == ["bad_picture"] * 2


@pytest.mark.parametrize("poison", [GREEN, WHITE])
def test_a_picture_on_which_the_model_fails_costs_its_post_only_the_pictures(poison: tuple[int, int, int]) -> None:
    posts = [TagInput("人红", (picture(str(n), poison if n == 5 else RED, n),)) for n in range(12)]
    telemetry = Telemetry()
    found = tag_isolating(tagger_of(Painted()), posts, telemetry)
    assert [kinds(spans or []) for spans in found] == [
        [PER] if n == 5 else [PER, ("LOC", "image", str(n))] for n in range(12)
    ]
    labels = {"problem": "bad_picture"}
    assert telemetry.registry.get_sample_value("weibowatch_tagger_problems_total", labels) == 1


def test_a_gold_file_is_scored_with_the_pictures_of_its_folder(tmp_path: Path) -> None:
    data = tmp_path / "dev.txt"
    data.write_text("".join(f"WID:w{n}\n红\t{'B-LOC' if n % 2 else 'O'}\n\n" for n in range(8)), encoding="utf-8")
    for n in range(8):
        (tmp_path / f"w{n}_1.png").write_bytes(picture("", RED if n % 2 else GREY).jpeg)
    (tmp_path / "w3_0.jpg").write_bytes(b"no picture")
    (tmp_path / "w5_2.jpg").mkdir()
    found = evaluate(tagger_of(Painted()), data, tmp_path)
    assert found["micro"]["f1"] == 1.0
    assert found["pictures_left_out"] == {"is a directory": 1}
    assert evaluate(tagger_of(Painted()), data)["micro"]["f1"] == 0.0


# --- batches -----------------------------------------------------------------------------------------------------


def many(seed: int, count: int) -> list[TagInput]:
    chance = random.Random(seed)
    shown = [picture(f"p{n}", colour, n) for n, colour in enumerate((RED, BLUE, GREY, RED))]
    return [
        TagInput(
            "".join(chance.choices(TOKENS, k=chance.choice((0, 1, 3, 20, 200)))),
            tuple(chance.sample(shown, chance.randint(0, 3))),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("budget", [64, 4096])
def test_a_batch_gives_what_each_post_gives_alone(budget: int) -> None:
    tagger = tagger_of(Painted(), settings=TaggerSettings(batch_tokens_max=budget))
    posts = many(budget, 60)
    together = tagged(tagger, posts)
    assert sum(span.provenance == "image" for spans in together for span in spans) > 20
    for post, spans in zip(posts, together, strict=True):
        alone = tagged(tagger, [post])[0]
        assert [(s.start, s.end, *kinds([s])) for s in alone] == [(s.start, s.end, *kinds([s])) for s in spans]
        assert all(abs(a.confidence - b.confidence) <= 1e-4 for a, b in zip(alone, spans, strict=True))


def test_batches_are_of_like_length_and_within_the_budget() -> None:
    model = Painted()
    tagger = tagger_of(model, settings=TaggerSettings(batch_tokens_max=400), tokens_max=256)
    tagged(tagger, [TagInput("人" * size) for size in (1, 2, 3, 100, 5, 30, 110, 90, 200, 4, 105)])
    assert model.calls == [(5, 5), (2, 90), (3, 110), (1, 200)], "30 may be padded to 90: the batch was small"


@given(st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_text_is_taken_and_spans_are_inside(text: str) -> None:
    tagger = tagger_of(Painted())
    for span in tagged(tagger, [TagInput(text, (picture("r", RED),)), TagInput("人")])[0]:
        assert 0 <= span.start < span.end <= len(text)


def test_a_long_text_is_read_in_windows_and_found_whole() -> None:
    text = ("。" * 99 + "人") * 90
    spans = tagged(tagger_of(Painted()), [TagInput(text)])[0]
    assert [span.start for span in spans] == list(range(99, 9000, 100))


# --- memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_later_ones_stay_small(error: Exception) -> None:
    problems, model = Problems(), Painted(cells_max=40, too_much=error)
    tagger = tagger_of(model, problems)
    posts = [TagInput("人红人红人") for _ in range(32)]
    assert [len(spans) for spans in tagged(tagger, posts)] == [3] * 32
    assert problems.found == ["out_of_memory"] * 3, "160 cells, 80, then 40 fit, on the first of two halves each"
    failed = len(model.calls)
    model.calls.clear()
    assert [len(spans) for spans in tagged(tagger, posts)] == [3] * 32
    assert max(rows * columns for rows, columns in model.calls) <= 40
    assert len(model.calls) < failed
    assert problems.found == ["out_of_memory"] * 3


def test_a_post_that_does_not_fit_alone_raises_what_was_raised() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        tagged(tagger_of(Painted(cells_max=4)), [TagInput("人" * 5)])


def test_an_error_that_is_none_of_memory_is_not_tried_again() -> None:
    model = Painted(cells_max=4, too_much=RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        tagged(tagger_of(model), [TagInput("人" * 5), TagInput("人" * 5)])
    assert len(model.calls) == 1
