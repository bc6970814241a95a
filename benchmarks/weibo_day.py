"""A simulated day of Weibo: what is lost, doubled, wrong, and what it costs. ``python -m benchmarks.weibo_day``

200 accounts on the fake (real HTTP on loopback, simulated time) under the default budget, with no faults, with one
request in twenty spoiled by one of all kinds of faults, and with each kind spoiling one in twenty. A person looks after
a stopped session within ten minutes. Beside it the same world read as simple pollers do: page 1 of every account in
turn, as often as the same budget allows, so that requests per new post can be compared.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

import structlog

from ingest.weibo_fake.faults import KINDS, Fault
from ingest.weibo_fake.server import MOBILE_PAGE, FakeOptions
from ingest.weibo_fake.world import HOUR_MS, World, WorldSettings
from tests.ingest.weibo_sim import Sim

USERS, HOURS = 200, 24


def main() -> None:
    """Print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    world = World(WorldSettings(users=USERS, hours=HOURS))
    budgets: list[int] = []
    for name, share in (("no faults", 0.0), ("one request in 20", 0.05 / len(KINDS)), ("each kind 1 in 20", 0.05)):
        sim, took_s = asyncio.run(day(world, share))
        lists = told(name, sim, took_s)
        budgets = budgets or [lists, sim.fake.asked()]
    for budget in budgets:
        shown = in_turn(world, budget)
        cost = f"{budget} requests of lists: {budget / shown:.2f} per new post"
        print(f"each in turn       {shown:5d} posts shown, {cost}")


async def day(world: World, share: float) -> tuple[Sim, float]:
    """The day, and how long it took here."""
    options = FakeOptions(faults=tuple(Fault(kind=kind, share=share) for kind in KINDS) if share else (), slow_s=0.3)
    sim = Sim(world, options, timeout_s=0.2)
    sim.person(600)
    started = time.perf_counter()
    async with sim:
        await sim.run([f"weibo:user:{user.uid}" for user in world.users], HOURS)
    return sim, time.perf_counter() - started


def told(name: str, sim: Sim, took_s: float) -> int:
    """A line. Returns the requests of lists."""
    lists = Counter(line.endpoint for line in sim.log.coverage if line.outcome in ("ok", "empty"))
    new = len({post.id for post in sim.log.posts})
    asked, sent = sim.fake.asked(), sim.desk.state.sent if sim.desk else ()
    hourly = max((sum(at - 3600 < other <= at for other in sent) for at in sent[::20]), default=0)
    right = f"lost {len(sim.lost())}, doubled {len(sim.doubled())}, wrong fields {len(sim.wrong())}"
    cost = f"{asked} requests ({sum(lists.values())} of lists: {sum(lists.values()) / max(new, 1):.2f} per new post)"
    polite = f"{hourly} in the fullest hour, {sim.fake.asked(while_blocked=True)} while blocked"
    print(f"{name:18} {len(sim.fake.shown):5d} posts shown, {right}; {cost}, {polite}; {took_s:.0f} s")
    return sum(lists.values())


def in_turn(world: World, budget: int) -> int:
    """Posts on the first pages of all accounts, asked one after another at an even pace; no request for details."""
    shown: set[str] = set()
    for number in range(budget):
        now_ms = world.settings.start_ms + round(number * HOURS * HOUR_MS / budget)
        user = world.users[number % len(world.users)]
        shown |= {post.mid for post in world.timeline(user.uid, now_ms)[:MOBILE_PAGE]}
    return len(shown)


if __name__ == "__main__":
    main()
