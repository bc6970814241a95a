"""What rules say of telling, from both outboxes to a channel: receivers, groups, repeats, mute hours, order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from stream.contract.notices import Hours, Notice
from stream.contract.ports import DeliveryError
from stream.contract.records import Flip
from stream.core.silences import Matcher, Silence
from stream.notify.deliver import RETRY_MS
from stream.runtime.telling import AGAIN_MS_MAX, FLIPS_MAX, ROWS_MAX
from tests.notify.alerts import alert
from tests.notify.outboxes import Clock, Kept
from tests.runtime.test_deliver import Flaky, Work

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
SOON = Notice()
GROUPED = Notice(group_by=("type",), group_wait_s=30, group_interval_s=300)
NIGHT = Notice(mute=(Hours(from_minute=0, to_minute=7 * 60),), timezone="UTC")
"""The clock of these tests begins at midnight."""


def flip(incident: str, sequence: int = 0, state: str = "firing", notice: Notice = SOON, **changes: Any) -> Flip:
    return alert(
        id=f"{incident}-{sequence}", incident_id=incident, sequence=sequence, state=state, notice=notice, **changes
    )


class Desk:
    """A channel on an outbox, at the times that a test asks for; each of them by a process of its own."""

    def __init__(self, kept: Kept, clock: Clock, *errors: Exception, silences: Sequence[Silence] = ()) -> None:
        self.silences = silences
        self.kept = kept
        self.clock = clock
        self.channel = Flaky(*errors)

    def take(self, *flips: Flip) -> None:
        self.kept.enqueue(flips, [self.channel.name])

    async def at(self, now_ms: int) -> list[str]:
        """The messages that go out then."""
        self.clock.now_ms = now_ms
        await self.kept.on_writer(lambda: None)
        self.kept.again()
        before = len(self.channel.got)
        await Work(self.kept, self.clock, self.channel, silences=self._silences).deliver_due()
        return self.channel.got[before:]

    async def _silences(self) -> Sequence[Silence]:
        return self.silences

    def why(self, flip_id: str) -> tuple[str, str] | None:
        """(status, reason) of a delivery that is not over by having been told."""
        row = self.kept.row(flip_id, self.channel.name)
        return None if row is None else (row[0], row[2])


@pytest.fixture
def desk(kept: Kept, clock: Clock) -> Desk:
    return Desk(kept, clock)


# --- who ---------------------------------------------------------------------------------------------------------


async def test_alerts_go_to_their_receivers_and_those_that_are_held_back_to_nobody(kept: Kept, clock: Clock) -> None:
    one, other = Flaky(name="one"), Flaky(name="other")
    kept.enqueue(
        [flip("all"), flip("some", notice=Notice(receivers=("other", "other"))), flip("none", held="silence s1")],
        ["one", "other"],
    )
    assert await Work(kept, clock, one, other).deliver_due() == 3
    assert (sorted(one.got), sorted(other.got)) == (["all-0"], ["all-0", "some-0"])
    assert kept.row("none-0", "one") is None and kept.row("some-0", "one") is None


async def test_a_receiver_that_nobody_has_set_up_ends_among_the_dead_letters(desk: Desk) -> None:
    desk.take(flip("a", notice=Notice(receivers=("nobody",))))
    for _ in range(len(RETRY_MS) + 1):
        await desk.at(desk.clock.now_ms + 2 * max(RETRY_MS))
    assert [(row.channel, row.why) for row in desk.kept.given_up()] == [
        ("nobody", "channel nobody is not in the settings")
    ]
    assert desk.channel.got == []


# --- groups ------------------------------------------------------------------------------------------------------


async def test_a_group_waits_for_more_then_tells_what_is_new_at_its_interval(desk: Desk) -> None:
    desk.take(flip("a", notice=GROUPED), flip("other", notice=GROUPED, type="PER"))
    assert await desk.at(29_999) == []
    desk.take(flip("b", notice=GROUPED))
    assert sorted(await desk.at(30_000)) == ["a-0+b-0", "other-0"]
    desk.take(flip("c", notice=GROUPED))
    assert await desk.at(60_000) == []
    assert desk.why("c-0") == ("due", "group_interval")
    desk.take(flip("a", 1, "resolved", notice=GROUPED))
    assert await desk.at(329_999) == []
    assert await desk.at(330_000) == ["c-0+a-1"]
    desk.take(flip("d", notice=GROUPED))
    assert await desk.at(HOUR_MS) == ["d-0"]


async def test_what_is_over_before_anybody_was_told_is_told_to_nobody(desk: Desk) -> None:
    wait = Notice(group_wait_s=60)
    desk.take(flip("a", notice=wait), flip("b", notice=wait), flip("a", 1, "resolved", notice=wait))
    desk.take(flip("b", 1, "escalated", notice=wait))
    assert await desk.at(60_000) == ["b-1"]
    assert desk.why("a-0") == desk.why("a-1") == ("skipped", "resolved before anybody was told")
    assert desk.why("b-0") == ("skipped", "b-1 is told instead")
    desk.take(flip("b", 2, "resolved", notice=wait))
    assert await desk.at(180_000) == ["b-2"], "somebody was told of it"


async def test_without_a_wait_every_state_is_told_by_itself(desk: Desk) -> None:
    desk.take(flip("a"), flip("a", 1, "escalated"), flip("a", 2, "resolved"))
    assert await desk.at(0) == ["a-0", "a-1", "a-2"]


async def test_a_large_group_makes_several_messages(desk: Desk) -> None:
    grouped = Notice(group_by=("rule",), group_interval_s=300)
    desk.take(*[flip(f"i{number:03}", notice=grouped) for number in range(FLIPS_MAX + 5)])
    sizes = []
    for now_ms in (0, 300_000, 600_000):
        sizes += [len(message.split("+")) for message in await desk.at(now_ms)]
    assert sizes == [FLIPS_MAX, 5]


async def test_a_group_that_failed_is_tried_again_as_one_with_what_has_come(kept: Kept, clock: Clock) -> None:
    desk = Desk(kept, clock, OSError("503"))
    desk.take(flip("a", notice=GROUPED), flip("b", notice=GROUPED))
    assert await desk.at(30_000) == []
    desk.take(flip("c", notice=GROUPED))
    assert desk.why("a-0") == desk.why("b-0") == ("due", "OSError: 503")
    assert await desk.at(30_999) == []
    assert await desk.at(31_250) == ["a-0+b-0+c-0"]


# --- order -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "notice", [SOON, Notice(group_wait_s=1), Notice(group_by=("severity",), group_interval_s=1)], ids=str
)
async def test_an_end_never_overtakes_its_beginning_that_is_tried_again(
    kept: Kept, clock: Clock, notice: Notice
) -> None:
    desk = Desk(kept, clock, *[OSError("503")] * 4)
    desk.take(flip("a", notice=notice), flip("b", notice=notice, type="PER", severity="info"))
    await desk.at(1_000)
    desk.take(flip("a", 1, "resolved", notice=notice, severity="critical"))
    told: list[str] = []
    for now_ms in range(1_000, 120_000, 500):
        told += [one for message in await desk.at(now_ms) for one in message.split("+")]
    assert sorted(told) == ["a-0", "a-1", "b-0"] and told.index("a-0") < told.index("a-1")


async def test_what_was_given_up_holds_up_nothing(kept: Kept, clock: Clock) -> None:
    desk = Desk(kept, clock, DeliveryError("too long", lasting=True))
    desk.take(flip("a"))
    assert await desk.at(0) == []
    desk.take(flip("a", 1, "resolved"))
    assert await desk.at(0) == ["a-1"] and [row.flip_id for row in kept.given_up()] == ["a-0"]


async def test_what_is_due_is_no_dead_letter_however_many_wait_before_it(desk: Desk) -> None:
    patient = msgspec.structs.replace(GROUPED, group_wait_s=3600)
    desk.take(*[flip(f"i{number:03}", notice=patient) for number in range(ROWS_MAX)])
    desk.take(flip("late", notice=msgspec.structs.replace(NIGHT, group_by=("type",))))
    assert await desk.at(0) == []
    assert desk.why("late-0") == ("due", "muted")


# --- again -------------------------------------------------------------------------------------------------------


async def test_what_goes_on_is_told_again_until_its_state_changes(desk: Desk) -> None:
    often = Notice(repeat_interval_s=3600)
    desk.take(flip("a", notice=often))
    assert await desk.at(1) == ["a-0"]
    assert await desk.at(HOUR_MS) == [] and await desk.at(HOUR_MS + 1) == ["a-0"]
    assert [one.repeated for one in desk.channel.tellings] == [False, True]
    assert len({one.id for one in desk.channel.tellings}) == 2, "a receiver that knows the first takes the second"
    desk.take(flip("a", 1, "escalated", notice=often))
    assert await desk.at(HOUR_MS + 2) == ["a-1"]
    assert await desk.at(2 * HOUR_MS + 1) == [] and await desk.at(2 * HOUR_MS + 2) == ["a-1"]
    desk.take(flip("a", 2, "resolved", notice=often))
    assert await desk.at(3 * HOUR_MS) == ["a-2"] and await desk.at(99 * HOUR_MS) == []


async def test_an_end_that_is_held_back_ends_the_repeating(desk: Desk) -> None:
    often = Notice(repeat_interval_s=3600)
    desk.take(flip("a", notice=often))
    assert await desk.at(1) == ["a-0"]
    desk.take(flip("a", 1, "resolved", notice=often, held="silence s1"))
    assert await desk.at(HOUR_MS + 1) == [] and await desk.at(9 * HOUR_MS) == []


@pytest.mark.parametrize("lasting", [False, True])
async def test_an_end_that_comes_before_its_beginning_was_told_ends_the_repeating(
    kept: Kept, clock: Clock, lasting: bool
) -> None:
    desk = Desk(kept, clock, DeliveryError("503", lasting=lasting))
    often = Notice(repeat_interval_s=3600)
    desk.take(flip("a", notice=often))
    assert await desk.at(0) == []
    desk.take(flip("a", 1, "resolved", notice=often))
    told = [message for second in range(60) for message in await desk.at(second * 1_000)]
    await kept.try_again()
    told += await desk.at(MINUTE_MS)
    assert sorted(told) == ["a-0", "a-1"]
    assert [message for hour in range(1, 5) for message in await desk.at(hour * HOUR_MS + MINUTE_MS)] == []


async def test_repeats_of_a_group_go_together_and_end_some_day(desk: Desk) -> None:
    often = Notice(group_by=("type",), group_interval_s=60, repeat_interval_s=24 * 3600)
    desk.take(flip("a", notice=often), flip("b", notice=often))
    told = [message for hour in range(24 * 9) for message in await desk.at(hour * HOUR_MS)]
    assert told == ["a-0+b-0"] * (1 + AGAIN_MS_MAX // (24 * HOUR_MS))


async def test_a_silence_holds_back_what_waited_and_what_is_repeated(kept: Kept, clock: Clock) -> None:
    often = Notice(repeat_interval_s=3600)
    matcher = Matcher(name="entity", value="PER/甲")
    silence = Silence(id="s1", matchers=(matcher,), from_ms=30 * MINUTE_MS, until_ms=90 * MINUTE_MS, reason="known")
    desk = Desk(kept, clock, silences=[silence])
    desk.take(flip("a", notice=often, entity="PER/甲"), flip("b", notice=often))
    assert sorted(await desk.at(1)) == ["a-0", "b-0"]
    desk.take(flip("c", notice=Notice(group_wait_s=3600), entity="PER/甲"))
    assert await desk.at(HOUR_MS + 1) == ["b-0"]
    assert desk.why("a-0") == ("due", "silence s1") and desk.why("c-0") == ("skipped", "silence s1")
    assert sorted(await desk.at(2 * HOUR_MS + 1)) == ["a-0", "b-0"], "it is over, and it still goes on"


async def test_what_a_silence_held_back_is_not_told_when_it_ends_nor_is_its_end(kept: Kept, clock: Clock) -> None:
    matcher = Matcher(name="severity", value="info")
    silence = Silence(id="s1", matchers=(matcher,), from_ms=30 * MINUTE_MS, until_ms=90 * MINUTE_MS, reason="known")
    desk = Desk(kept, clock, silences=[silence])
    often = Notice(group_wait_s=3600, repeat_interval_s=3600)
    desk.take(flip("a", notice=often, severity="info"), flip("b"))
    assert await desk.at(1) == ["b-0"]
    desk.take(flip("b", 1, "escalated", severity="info"))
    assert await desk.at(HOUR_MS) == [] and desk.why("a-0") == desk.why("b-1") == ("skipped", "silence s1")
    assert await desk.at(2 * HOUR_MS) == await desk.at(3 * HOUR_MS) == []
    desk.take(flip("a", 1, "resolved", severity="info"), flip("b", 2, "resolved"))
    assert await desk.at(4 * HOUR_MS) == ["b-2"]
    assert desk.why("a-1") == ("skipped", "nobody was told of its beginning")


# --- mute hours --------------------------------------------------------------------------------------------------


async def test_what_goes_on_when_mute_hours_end_is_told_in_one_digest(desk: Desk) -> None:
    desk.take(flip("told"))
    assert await desk.at(0) == ["told-0"]
    for minute, one in enumerate(
        (flip("a", notice=NIGHT), flip("b", notice=NIGHT, rule_id="another"), flip("a", 1, "escalated", notice=NIGHT),
         flip("over", notice=NIGHT), flip("over", 1, "resolved", notice=NIGHT), flip("loud"),
         flip("told", 1, "resolved", notice=NIGHT))
    ):  # fmt: skip
        desk.take(one)
        assert await desk.at((minute + 1) * MINUTE_MS) == (["loud-0"] if one.incident_id == "loud" else [])
    assert desk.why("a-0") == ("due", "muted")
    assert await desk.at(7 * HOUR_MS - 1) == []
    assert await desk.at(7 * HOUR_MS) == ["b-0+a-1+told-1"]
    assert desk.why("over-1") == ("skipped", "resolved before anybody was told")
    assert desk.why("a-0") == ("skipped", "a-1 is told instead")


async def test_an_end_after_the_mute_hours_waits_for_the_digest_that_is_tried_again(kept: Kept, clock: Clock) -> None:
    desk = Desk(kept, clock, *[OSError("503")] * 2)
    desk.take(flip("a", notice=NIGHT), flip("b", notice=NIGHT))
    assert await desk.at(0) == [] and await desk.at(7 * HOUR_MS) == []
    desk.take(flip("a", 1, "resolved", notice=NIGHT))
    assert await desk.at(7 * HOUR_MS + 500) == []
    told = [message for second in range(60) for message in await desk.at(7 * HOUR_MS + second * 1_000)]
    assert told == ["a-0+b-0", "a-1"]


async def test_nothing_is_repeated_in_mute_hours(desk: Desk) -> None:
    often = Notice(repeat_interval_s=3600, mute=(Hours(from_minute=60, to_minute=180),), timezone="UTC")
    desk.take(flip("a", notice=often))
    told = [hour for hour in range(6) if await desk.at(hour * HOUR_MS)]
    assert told == [0, 3, 4, 5]


async def test_mute_hours_do_not_hurry_what_is_to_be_repeated_later(desk: Desk) -> None:
    night = (Hours(from_minute=60, to_minute=180),)
    rare = Notice(group_by=("type",), repeat_interval_s=4 * 3600, mute=night, timezone="UTC")
    desk.take(flip("a", notice=rare))
    assert await desk.at(1) == ["a-0"]
    desk.take(flip("b", notice=rare))
    assert await desk.at(2 * HOUR_MS) == []
    assert await desk.at(3 * HOUR_MS) == ["b-0"] and await desk.at(4 * HOUR_MS + 1) == ["a-0"]
