"""Every kind of rule and every match, from posts to flips; the same however the log is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest

from stream.contract.records import Control, Counts, Coverage, Flip, Outcome, Post, Record, replace
from stream.core import silences
from stream.core.rules import Match, Resolve, Rule, RuleSet, Significance
from stream.core.silences import Matcher, Silence
from tests.core.harness import DAY, HOUR, START, log_of, news, post, reach, rules_control, run

LOUD = Significance(alerts_per_day=5, min_count=5, min_authors=3)
AT = 1260.0
"""Minute at which things happen: ``news`` runs for 1,440 and has been judged since the sixth hour."""
CALM: Final = [one for one in news() if not one.id.startswith("b")]
OTHERWISE: Final[dict[str, Any]] = {"partitions": 3, "kill_chance": 0.01, "seed": 3}


def rule(kind: Any, **more: Any) -> Rule:
    fields: dict[str, Any] = {"id": kind, "windows_s": (3600,), "resolve": Resolve(for_s=3600), "cooldown_s": 3600}
    fields |= {} if kind in ("threshold", "frequency", "cardinality") else {"significance": LOUD}
    return Rule(kind=kind, **{**fields, **more})


def log(more: Sequence[Post], *rules: Rule) -> list[Record]:
    posts = sorted([*CALM, *more], key=lambda one: one.created_ms)
    return log_of(posts, rules=RuleSet(rules=rules))


def flips(records: Sequence[Record], rule_id: str = "") -> list[Flip]:
    """The flips of ``records`` in the order of event time, without those of the names that are always there.

    They are the same however the log is read.
    """
    plain = run(records, batch_max=200)
    assert run(records, **OTHERWISE).facts() == plain.facts()
    found = sorted(plain.flips.values(), key=lambda flip: (flip.at_ms, flip.entity, flip.sequence))
    return [flip for flip in found if (flip.rule_id == rule_id or not rule_id) and "/名" not in flip.entity]


def told(found: Sequence[Flip]) -> list[tuple[str, str]]:
    return [(flip.entity, flip.state) for flip in found]


def burst_of(names: Sequence[str], count: int = 14, at: float = AT, step: float = 3, **more: Any) -> list[Post]:
    first = f"{names[0]}{at}{sorted(more.items())}"
    return [post(f"{first} {number}", at + step * number, names, **more) for number in range(count)]


# --- kinds -------------------------------------------------------------------------------------------------------


def test_a_spike_compares_with_the_window_before() -> None:
    steady = [post(f"s{number}", 10 * number, ["常客"]) for number in range(140)]
    found = flips(log([*steady, *burst_of(["常客"], 20)], rule("spike", significance=Significance(min_lift=3.0))))
    assert told(found) == [("PER/常客", "firing"), ("PER/常客", "resolved")]
    assert found[0].reason == "18 posts after 6" and found[0].threshold == 3.0


def test_a_spike_may_go_down() -> None:
    before = [post(f"s{number}", AT - 180 + 3 * number, ["常客"]) for number in range(40)]
    down = rule("spike", direction="down", match=Match(entity=("常客",)), significance=Significance(min_lift=4.0))
    assert told(flips(log(before, down)))[0] == ("PER/常客", "firing")
    up = rule("spike", direction="up", match=Match(entity=("常客",)), significance=Significance(min_lift=40.0))
    assert not flips(log(before, up))


def steady(minutes: float = 10, until: float = 1440 * 4) -> list[Post]:
    return [post(f"s{number}", minutes * number, ["常客"]) for number in range(round(until / minutes))]


def test_silence_of_somebody_who_is_always_there_is_a_flatline() -> None:
    days = news(600, 1440 * 4, seed=5)
    flat = rule("flatline", windows_s=(21_600,), match=Match(entity=("常客",)))
    gone = sorted([*days, *steady(until=1440 * 3)], key=lambda one: one.created_ms)
    found = flips(log_of(gone, rules=RuleSet(rules=(flat,))))
    assert told(found) == [("PER/常客", "firing")] and found[0].reason.endswith("were to be expected")
    assert found[0].at_ms - START - 3 * DAY < 8 * HOUR, "it is noticed although nobody mentions the name any more"
    there = sorted([*days, *steady()], key=lambda one: one.created_ms)
    assert not flips(log_of(there, rules=RuleSet(rules=(flat,))))


def blocked(from_minute: float, until_minute: float, end: float = 4 * 1440) -> list[Coverage]:
    """A ledger that has nothing between two minutes and all else."""
    edges = [0, from_minute, until_minute, end]
    outcomes: tuple[Outcome, ...] = ("ok", "blocked", "ok")
    edge_ms = [START + round(minute * 60_000) for minute in edges]
    return [
        Coverage(source="s", observed_ms=end_ms, outcome=outcome, from_ms=start_ms, through_ms=end_ms, posts=9)
        for outcome, start_ms, end_ms in zip(outcomes, edge_ms, edge_ms[1:], strict=False)
    ]  # fmt: skip


def test_no_flatline_where_nothing_was_seen() -> None:
    """The source went blind for half a day, and then somebody is there again; unless the name fell silent meanwhile."""
    flat = rule("flatline", windows_s=(21_600,), match=Match(entity=("常客",)))
    others = news(600, 1440 * 4, seed=5)
    ledger = blocked(3 * 1440, 3.5 * 1440)

    def ends(posts: Sequence[Post], ledger: Sequence[Coverage]) -> list[float]:
        records = log_of(sorted(posts, key=lambda one: one.created_ms), rules=RuleSet(rules=(flat,)))
        found = flips([records[0], *ledger, *records[1:]])
        return [(flip.at_ms - START) / DAY for flip in found if flip.state == "firing"]

    unseen = range(START + 3 * DAY, START + round(3.5 * DAY))
    assert not ends([one for one in [*others, *steady()] if one.created_ms not in unseen], ledger)
    gone = [*others, *steady(until=1440 * 3)]
    [told_at], [blind_at] = ends(gone, ledger), ends(gone, [])
    assert blind_at < 3.4 < 3.6 < told_at < 4, "it is told when enough was seen of a window without the name"


def test_no_spike_after_nothing_was_seen() -> None:
    """What the window before did not see is not what was not there."""
    shown = [one for one in [*CALM, *steady(until=1440)] if not AT - 60 <= (one.created_ms - START) / 60_000 < AT]
    spike = rule("spike", significance=Significance(min_lift=3.0), match=Match(entity=("常客",)))
    records = log_of(sorted(shown, key=lambda one: one.created_ms), rules=RuleSet(rules=(spike,)))
    assert [flip for flip in flips(records) if flip.at_ms > START + AT * 60_000]
    ledger = blocked(AT - 60, AT, 1440)
    assert not flips([records[0], *ledger, *records[1:]])


def test_a_new_name_that_falls_silent_is_followed_to_its_end() -> None:
    """In the short one of its windows nothing is left of it while the long one still shows it."""
    new = rule("new_entity", windows_s=(3600, 21_600))
    usual = rule("threshold", metric="mentions", above=1000, windows_s=(7200,))
    found = flips(log(burst_of(["张三"], at=1000, step=1), new, usual))
    assert told(found) == [("PER/张三", "firing"), ("PER/张三", "resolved")]


@pytest.mark.parametrize(
    ("metric", "above", "fires"),
    [("authors", 14, True), ("authors", 15, False), ("texts", 14, True), ("sources", 2, True), ("sources", 3, False)],
)
def test_cardinality_counts_what_differs(metric: Any, above: int, fires: bool) -> None:
    posts = burst_of(["张三"], 7) + burst_of(["张三"], 7, AT + 1, source="t:x")
    found = flips(log(posts, rule("cardinality", metric=metric, above=above)))
    assert [flip.entity for flip in found if flip.state == "firing"] == ["PER/张三"] * fires


def test_copies_are_one_text() -> None:
    copies = [post(f"c{n}", AT + n, [], text="<张三>跟我一起买这款产品吧真的非常好用强烈推荐") for n in range(10)]
    assert not flips(log(copies, rule("cardinality", metric="texts", above=2)))
    assert flips(log(copies, rule("cardinality", metric="authors", above=9)))


@pytest.mark.parametrize(
    ("metric", "above"), [("mentions", 14), ("weighted", 14.5), ("engagement", 140), ("share", 25)]
)
def test_a_threshold_counts_what_it_is_told_to(metric: Any, above: float) -> None:
    posts = burst_of(["张三"], counts=Counts(likes=10))
    found = flips(log(posts, rule("threshold", metric=metric, above=above, match=Match(entity=("张三",)))))
    assert told(found)[0] == ("PER/张三", "firing")
    assert not flips(log(posts, rule("threshold", metric=metric, above=2 * above, match=Match(entity=("张三",)))))


def test_a_frequency_counts_posts() -> None:
    posts = burst_of(["张三"], author="one")
    assert told(flips(log(posts, rule("frequency", metric="mentions", above=14))))[0] == ("PER/张三", "firing")
    assert not flips(log(posts, rule("frequency", metric="authors", above=2, match=Match(entity=("张三",)))))


def test_a_burst_of_posts_needs_fewer_authors() -> None:
    few = [post(f"f{n}", AT + n, ["张三"], author=f"x{n % 3}") for n in range(30)]
    wanted = Significance(alerts_per_day=5, min_count=10, min_authors=2)
    of_posts = rule("burst", metric="mentions", significance=wanted)
    assert told(flips(log(few, of_posts)))[0] == ("PER/张三", "firing")
    assert not flips(log(few, rule("burst", significance=wanted)))


def test_two_who_are_mentioned_together() -> None:
    together = Match(entity=("张三",), together=("PER/李四",))
    watched = rule("co_mention", match=together, by_event=False)
    apart = [*burst_of(["张三"]), *burst_of(["李四"], at=AT + 1)]
    assert not flips(log(apart, watched))
    found = flips(log([*apart, *burst_of(["张三", "李四"], at=AT + 2)], watched))
    assert told(found) == [("PER/张三", "firing"), ("PER/张三", "resolved")][: len(found)] and found
    assert found[0].window is not None and found[0].window.mentions <= 14


# --- what counts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "more"),
    [
        (Match(source=("weibo",)), {"source": "weibo:user:1"}),
        (Match(alias=("张三丰",)), {}),
    ],
)
def test_a_rule_counts_only_what_it_matches(match: Match, more: dict[str, Any]) -> None:
    name = "张三丰" if match.alias else "张三"
    every = rule("threshold", metric="mentions", above=10, match=match)
    assert not flips(log(burst_of(["张三"], source="s"), every))
    found = flips(log([*burst_of(["张三"]), *burst_of([name], at=AT + 1, **more)], every))
    assert told(found)[0] == (f"PER/{name}", "firing")
    assert found[0].window is not None and found[0].window.mentions <= 14


def test_a_rule_counts_what_only_the_picture_shows() -> None:
    """``tag`` finds a name with a star in the picture."""
    pictured = rule("threshold", metric="mentions", above=10, match=Match(picture_only=True))
    assert not flips(log([*burst_of(["张三"]), *burst_of(["李四*"], 8, at=AT + 1)], pictured))
    found = flips(log([*burst_of(["张三"]), *burst_of(["李四*"], at=AT + 1), *burst_of(["李四"], at=AT + 2)], pictured))
    assert told(found)[0] == ("PER/李四", "firing")
    assert found[0].window is not None and found[0].window.image_only == found[0].window.mentions <= 14


def test_a_view_is_no_burst_before_it_has_a_past() -> None:
    """A rule that comes in force in the evening knows nothing of the morning."""
    usual = [post(f"w{number}", 4 * number, ["常客"], source="weibo:user:1") for number in range(350)]
    watched = rule("burst", match=Match(source=("weibo",)), significance=LOUD)
    late = rules_control(RuleSet(rules=(watched,)), version=2)
    records = log(usual, rule("threshold", metric="mentions", above=1000))
    place = next(n for n, one in enumerate(records) if one == reach(1200))
    assert not flips([*records[:place], late, *records[place:]], "burst")


# --- the stream --------------------------------------------------------------------------------------------------


def test_three_times_the_usual_posts_are_told_of() -> None:
    quality = rule("data_quality", checks=("volume",), resolve=Resolve(for_s=3600))
    days = news(600 * 4, 1440 * 4, seed=5)

    def firing(crowd: int) -> list[Flip]:
        more = [post(f"v{number}", 1440 * 3 + 600 + 60 * number / crowd, []) for number in range(2 * crowd)]
        every = sorted([*days, *more], key=lambda one: one.created_ms)
        return [flip for flip in flips(log_of(every, rules=RuleSet(rules=(quality,)))) if flip.state == "firing"]

    [found] = firing(150)
    assert found.entity == "STREAM/volume" and found.reason.endswith("% of the posts that are usual at this time")
    assert 0 <= found.at_ms - START - (3 * 1440 + 600) * 60_000 < 2 * HOUR
    assert not firing(20)


def test_posts_that_come_late_are_told_of() -> None:
    quality = rule("data_quality", checks=("late",))
    records = log([], quality)
    place = next(number for number, one in enumerate(records) if one == reach(1300))
    late = burst_of(["张三"], 25, at=1200, step=1)
    found = flips([*records[: place + 1], *late, *records[place + 1 :]])
    assert found[0].entity == "STREAM/late" and found[0].state == "firing"
    assert found[0].reason.endswith("% of the mentions were late")
    assert not flips([*records[: place + 1], *late[:15], *records[place + 1 :]]), "a few are usual"


# --- rules on rules ----------------------------------------------------------------------------------------------


def test_a_composite_fires_where_its_rules_do() -> None:
    rules = (
        rule("burst", by_event=False), rule("threshold", metric="mentions", above=14),
        rule("composite", all=("burst", "threshold")),
        rule("composite", id="never", any=("burst",), none=("threshold",)),
    )  # fmt: skip
    found = flips(log([*burst_of(["张三"]), *burst_of(["李四"], 9, at=AT + 1)], *rules))
    states = {(flip.rule_id, flip.entity) for flip in found if flip.state == "firing"}
    assert {one for one in states if one[0] == "composite"} == {("composite", "PER/张三")}
    assert ("never", "PER/李四") in states and ("burst", "PER/李四") in states


def test_an_alert_that_goes_on_firing() -> None:
    keeps = rule("burst", keep_firing_for_s=3 * 3600.0, resolve=Resolve(for_s=300), by_event=False)
    short = rule("burst", id="short", resolve=Resolve(for_s=300), by_event=False)
    posts = burst_of(["张三"], at=900)
    ends = {flip.rule_id: flip.at_ms for flip in flips(log(posts, keeps, short)) if flip.state == "resolved"}
    assert ends["burst"] - ends["short"] > HOUR


def test_an_alert_is_held_back_while_another_rule_fires() -> None:
    quality = rule("data_quality", checks=("coverage",), windows_s=(300,), resolve=Resolve(for_s=300))
    held = rule("threshold", metric="mentions", above=10, match=Match(entity=("张三",)), inhibit_by=("data_quality",))
    records = log(burst_of(["张三"], 20), quality, held)
    missed = Coverage(
        source="s", observed_ms=START, outcome="blocked", from_ms=START + round((AT + 20) * 60_000),
        through_ms=START + round((AT + 40) * 60_000), posts=0,
    )  # fmt: skip
    seen = Coverage(source="s", observed_ms=START, outcome="ok", from_ms=START, through_ms=missed.from_ms, posts=9)
    after = Coverage(source="s", observed_ms=START, outcome="ok", from_ms=missed.through_ms, through_ms=START + DAY)
    found = flips([records[0], seen, missed, after, *records[1:]])
    assert next(flip.reason for flip in found if flip.rule_id == "data_quality").endswith("% of the time was seen")
    ours = [(flip.state, flip.held, flip.sequence) for flip in found if flip.rule_id == "threshold"]
    assert ours[:2] == [("firing", "inhibited by data_quality", 0), ("firing", "", 1)], "it is told when it may be"


def silence(**more: Any) -> Control:
    fields: dict[str, Any] = {
        "id": "s1", "matchers": (Matcher(name="entity", value="PER/张.*", regex=True),), "from_ms": START,
        "until_ms": START + round((AT + 40) * 60_000), "reason": "planned",
    }  # fmt: skip
    return Control(topic=silences.TOPIC, version=1, payload=silences.to_payload([Silence(**{**fields, **more})]))


def test_a_silence_holds_back_until_it_ends() -> None:
    records = log(burst_of(["张三"], 40), rule("threshold", metric="mentions", above=10, match=Match(type=("PER",))))
    found = [flip for flip in flips([records[0], silence(), *records[1:]]) if flip.entity == "PER/张三"]
    assert [(flip.state, flip.held) for flip in found][:2] == [("firing", "silence s1"), ("firing", "")]
    assert found[1].at_ms >= START + (AT + 40) * 60_000
    whole = silence(until_ms=START + 9 * DAY)
    found = [flip for flip in flips([records[0], whole, *records[1:]]) if flip.entity == "PER/张三"]
    assert found and all(flip.held == "silence s1" for flip in found)
    other = silence(matchers=(Matcher(name="severity", value="critical"),))
    assert not any(flip.held for flip in flips([records[0], other, *records[1:]]))


# --- events ------------------------------------------------------------------------------------------------------


def test_names_that_burst_together_are_one_event() -> None:
    posts = [*burst_of(["张三", "LOC/上海", "ORG/公司"], 20), *burst_of(["李四"], 16, at=AT + 1)]
    firing = [flip for flip in flips(log(posts, rule("burst"))) if flip.state == "firing"]
    by_entity = {flip.entity: flip for flip in firing}
    assert set(by_entity) == {"PER/张三", "LOC/上海", "ORG/公司", "PER/李四"}
    leaders = [flip for flip in firing if not flip.held]
    assert len(leaders) == 2 and by_entity["PER/李四"] in leaders, "whom nobody mentions with them is apart"
    lead = next(flip for flip in leaders if flip.entity != "PER/李四")
    assert lead.event == lead.incident_id and set(lead.members) == {"PER/张三", "LOC/上海", "ORG/公司"}
    assert lead.members[0] == lead.entity
    others = [flip for flip in firing if flip.held]
    assert {flip.held for flip in others} == {f"event {lead.event}"} and {flip.event for flip in others} == {lead.event}
    alone = flips(log(posts, rule("burst", by_event=False)))
    assert not any(flip.held or flip.event for flip in alone)


def test_who_comes_later_joins_the_event() -> None:
    posts = [*burst_of(["张三"], 12, step=2), *burst_of(["张三", "LOC/上海"], 30, at=AT + 24, step=1)]
    firing = [flip for flip in flips(log(posts, rule("burst"))) if flip.state == "firing"]
    first, second = sorted(firing, key=lambda flip: flip.at_ms)
    assert (first.entity, first.held) == ("PER/张三", "") and first.at_ms < second.at_ms
    assert second.event == first.event and second.members == ("PER/张三", "LOC/上海")


def test_when_who_was_told_of_ends_the_next_one_is_told() -> None:
    """Somebody is told of whatever still fires, and is told of its end."""
    both = burst_of(["张三", "LOC/上海"], 20, at=900, step=2)
    more = burst_of(["LOC/上海"], 20, at=901, step=2)  # it stands out most
    goes_on = burst_of(["张三"], 60, at=940, step=3)
    found = flips(log([*both, *more, *goes_on], rule("burst", resolve=Resolve(for_s=600))))
    of = {name: [one for one in found if one.entity == name] for name in ("PER/张三", "LOC/上海")}
    lead, other = sorted(of.values(), key=lambda own: own[0].held)
    assert lead[0].entity == "LOC/上海"
    assert [(one.state, one.held) for one in lead] == [("firing", ""), ("resolved", "")]
    assert [(one.state, one.held) for one in other] == [
        ("firing", f"event {lead[0].event}"), ("firing", ""), ("resolved", "")
    ]  # fmt: skip
    assert other[1].at_ms >= lead[1].at_ms and other[1].incident_id == other[0].incident_id
    assert other[0].members == ("LOC/上海", "PER/张三") and other[1].members == ("PER/张三",)


def test_nobody_is_told_of_the_end_of_what_nobody_was_told_of() -> None:
    both = burst_of(["张三", "LOC/上海"], 20, at=900, step=2)
    found = flips(log(both, rule("burst", resolve=Resolve(for_s=600))))
    ends = {one.entity: one.held for one in found if one.state == "resolved"}
    assert len(ends) == 2 and sorted(map(bool, ends.values())) == [False, True]


# --- the model ---------------------------------------------------------------------------------------------------


def test_a_new_model_is_never_a_trend() -> None:
    """From the evening on another model finds a name in every other post, which the old one never found."""
    posts = [post(f"n{number}", 2 * number, ["常客"], author=f"n{number}") for number in range(720)]
    rules = RuleSet(rules=(rule("burst"), rule("new_entity")))
    known = [one if one.created_ms < START + 16 * HOUR else replace(one, text=f"{one.text} <新名>") for one in posts]
    records = log_of(known, rules=rules)
    switch = next(n for n, one in enumerate(records) if isinstance(one, Post) and "新名" in one.text)
    assert {flip.entity for flip in run(records).flips.values()} >= {"PER/新名"}
    plain = run(records, other_model_at=switch, batch_max=100)
    assert not [flip for flip in plain.flips.values() if flip.entity == "PER/新名"]
    assert run(records, other_model_at=switch, **OTHERWISE).facts() == plain.facts()


def test_an_alert_says_that_the_model_is_new() -> None:
    records = log(burst_of(["张三"], 40), rule("threshold", metric="mentions", above=10, match=Match(entity=("张三",))))
    switch = next(n for n, one in enumerate(records) if isinstance(one, Post) and "张三" in one.text)
    [found] = [one for one in run(records, other_model_at=switch).flips.values() if one.state == "firing"]
    assert found.labels == {"model_drift": "new_model"}
