"""Figures of attacks by hand, and a greedy attack on a tagger that can be seen through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nlp.datasets import Example
from nlp.experiments.greedy import greedy_posts, sureness
from nlp.experiments.measures import value_of
from nlp.experiments.robustness import Before, Condition, Outcome, against, clean, gains, measured, outcome
from nlp.experiments.robustness_results import results_of, text_conditions
from nlp.experiments.robustness_settings import GREEDY, PLAIN, RANDOM, RANDOM_INSIDE, Declared, TextBudget
from nlp.experiments.text_attacks import Attack, Change, attacks
from nlp.experiments.text_robustness import attack_posts
from nlp.labels import Chunk
from stream.contract.ports import TagInput
from stream.contract.records import Span

ONE, TWO, THREE = Chunk(0, 2, "PER"), Chunk(3, 5, "LOC"), Chunk(6, 7, "ORG")


class Dictionary:
    """A tagger that finds the name 北京 and 王明; it is less sure of the latter unless 人 stands somewhere."""

    model_version = "dictionary"

    def prepare(self, posts: Sequence[TagInput]) -> Sequence[TagInput]:
        return posts

    def infer(self, prepared: Any) -> Any:
        return prepared

    def decode(self, prepared: Sequence[TagInput], scores: Any) -> list[list[Span]]:
        return [self._spans(post.text) for post in prepared]

    def _spans(self, text: str) -> list[Span]:
        sure = {"北京": ("LOC", 0.6), "王明": ("PER", 0.9 if "人" in text else 0.2)}
        return [
            Span(start=text.index(name), end=text.index(name) + 2, type=type_, confidence=confidence)
            for name, (type_, confidence) in sure.items()
            if name in text
        ]


def example(text: str, chunks: Sequence[Chunk]) -> Example:
    tags = ["O"] * len(text)
    for chunk in chunks:
        tags[chunk.start : chunk.end] = [f"B-{chunk.type}", *[f"I-{chunk.type}"] * (chunk.end - chunk.start - 1)]
    return Example(text, tuple(text), tuple(tags))


def test_rows_by_hand() -> None:
    before = Before([[ONE, TWO, THREE]], [[ONE, TWO]])
    moved = [Chunk(0, 3, "PER"), Chunk(4, 6, "LOC"), Chunk(7, 8, "ORG")]
    own = outcome(Condition("emoji", 0.1), before, [moved], [[moved[0], moved[2], Chunk(9, 10, "PER")]])
    assert own.rows == [(2, 3, 3, 2, 1)]
    assert value_of(own.lost, "recall") == 1 / 2
    assert value_of(own.won, "recall") == 1
    assert clean(before).rows == [(2, 2, 3, 2, 0)]


def test_an_attack_is_measured_against_the_same_posts() -> None:
    before = Outcome(Condition(), [(1, 1, 1, 1, 0)] * 40)
    half = Outcome(Condition("drop", 0.1), [(0, 1, 1, 1, 1)] * 20 + [(1, 1, 1, 1, 0)] * 20)
    same = Outcome(Condition("width", 0.1), before.rows)
    worse, none = measured(before, [half, same], 1)
    assert worse.drop.value == worse.recall.value == -0.5 and worse.p < 0.01
    assert worse.lost.value == 0.5 and worse.lost.low < 0.5 < worse.lost.high
    assert none.drop.value == 0 and none.p == 1 and none.lost.value == 0
    [gap] = against([(half, same)], 1)
    assert gap.gap.value == -0.5 and gap.first.attack == "drop"


def test_gains_add_rows_of_a_post_over_seeds() -> None:
    def arm(name: str, seed: int, right: int) -> Outcome:
        return Outcome(Condition("drop", 0.1, seed=seed, arm=name), [(right, 1, 1, 1, 1 - right)] * 30)

    outcomes = [arm(PLAIN, 1, 0), arm(PLAIN, 2, 1), arm("own", 1, 1), arm("own", 2, 1)]
    [gain] = gains(outcomes, PLAIN, lambda condition: condition.attack == "drop", 1)
    assert gain.plain.value == 0.5 and gain.own.value == 1 and gain.gain.value == 0.5
    assert gain.plain.posts == 30 and gain.known
    assert gain.plain_seeds.values == [0.0, 1.0] and gain.seeds.sd == 0


def test_posts_under_attacks_and_their_figures() -> None:
    posts = [example("王明去北京", [Chunk(0, 2, "PER"), Chunk(3, 5, "LOC")])] * 12
    every = {one.name: one for one in attacks(str, str, {})}
    declared = Declared(seeds=(1, 2))
    jobs = [(every[name], one) for name in ("drop", "width") for one in text_conditions(every[name], declared)]
    told: list[tuple[int, int]] = []
    part = attack_posts(Dictionary(), posts, jobs, lambda done, total: told.append((done, total)))
    assert told[-1] == (12 * (1 + len(jobs)),) * 2
    assert [one.condition for one in part.outcomes[1:]] == [condition for _, condition in jobs]
    found = results_of({"text-typos": part}, declared, {"torch": "missing"})
    assert found.text.clean.value == 1 and found.not_run == {"torch": "missing"}
    by_name = {(one.condition.attack, one.condition.strength): one for one in found.text.attacks}
    assert by_name["drop", 0.2].f1.value <= by_name["drop", 0.05].f1.value < 1
    assert by_name["width", 1.0].f1.value == 1 and by_name["width", 1.0].changed == 0
    outside = next(one for one in found.placed if one.condition.attack == "drop" and one.condition.where == "outside")
    assert outside.f1.value == 1 and outside.changed > 0
    assert len(found.seeds["drop"].values) == 2 and found.greedy is None


def test_greedy_asks_and_hits_where_it_hurts_most() -> None:
    # In 12 places random edits find the four that matter now and then; greedy does at once.
    text = "那个人说王明昨天去了北京吧"
    gold = [Chunk(4, 6, "PER"), Chunk(10, 12, "LOC")]
    hide = Attack("lookalike", "", lambda text: lambda place, _: {place: Change("某")})
    posts = [example(text, gold)] * 10
    told: list[int] = []
    budget = TextBudget(edits=(1, 2), places_max=100)
    part = greedy_posts(Dictionary(), posts, [hide], budget, 1, lambda done, _: told.append(done))
    right = {(one.condition.arm, one.condition.strength): one.sums[:, 0].sum() for one in part.outcomes}
    assert right["", 0] == 20
    assert right[GREEDY, 1] == 10 and right[GREEDY, 2] == 0
    assert right[RANDOM, 2] > right[RANDOM_INSIDE, 2] > 0
    assert part.counts == {"posts": 10, "queries": 10 * (13 + 12)} and told[-1] == 10
    assert all("某" in one.example for one in part.outcomes if one.example)
    # With as many places as the names have, only these are tried.
    near = greedy_posts(Dictionary(), posts, [hide], TextBudget(edits=(1,), places_max=4), 1, lambda done, total: None)
    assert near.counts["queries"] == 40


def test_sureness_is_what_the_tagger_gives_the_gold() -> None:
    found = [Span(start=0, end=2, type="PER", confidence=0.7), Span(start=3, end=5, type="ORG", confidence=0.9)]
    assert sureness([ONE, TWO], found) == 0.7
