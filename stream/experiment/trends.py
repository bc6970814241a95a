"""The experiment on trends: which streams are run through which detectors, and the figures that come out.

It is made of parts that can be kept and need not be run again. Everything follows from ``Declared``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from stream.core.rules import BURST, RuleSet
from stream.core.settings import CoreSettings
from stream.experiment import arrivals, injection, null, scores
from stream.experiment.injection import Run
from stream.experiment.measures import Rate
from stream.experiment.replay import Replayed, replay
from stream.experiment.scores import Attack, Cell
from stream.experiment.settings import DeclaredStream
from stream.experiment.table import Table
from stream.experiment.world import Corpus, World, rng, world

OURS: Final = "weibowatch"
BUDGETS: Final = (0.05, 0.5, 50.0, 500.0)
"""Besides the rules as they are, the same with so many false alerts allowed a day, for a curve."""
_NULL = 30


class Declared(NamedTuple):
    """What is run: the stream, what it is made of, the payload of the rules, and the core's settings."""

    stream: DeclaredStream
    corpus: Corpus
    rules: str
    core: CoreSettings

    @property
    def digest(self) -> str:
        """Twelve characters that differ wherever anything that is run does."""
        every = msgspec.json.encode((self.stream, self.corpus.name, self.rules, self.core), order="deterministic")
        return blake2b(every, digest_size=6).hexdigest()


class Part(msgspec.Struct, frozen=True):
    """What one part gave. ``runs`` is empty where nothing was put in."""

    replayed: Replayed
    runs: list[Run] = []


class Figures(msgspec.Struct, frozen=True):
    """One detector at one setting. ``false`` is counted in the stream with bursts, ``null`` where nothing happens."""

    detector: str
    setting: str
    cells: list[Cell]
    attacks: list[Attack]
    false: dict[str, Rate]
    null: dict[str, Rate]


Told = Callable[[str, int, int], None]
"""Is told of a part how many of its posts are done."""


class Bench:
    """The streams, made once they are needed."""

    def __init__(self, declared: Declared, told: Told) -> None:
        self._declared = declared
        self._told = told
        self._world: World | None = None
        self._base: Table | None = None

    @property
    def world(self) -> World:
        """Names and texts."""
        if self._world is None:
            self._world = world(self._declared.stream, self._declared.corpus)
        return self._world

    @property
    def base(self) -> Table:
        """The stream with nothing put in."""
        if self._base is None:
            self._base = arrivals.posts(self._declared.stream, self.world)
        return self._base

    def bursts(self) -> Part:
        """The stream with everything put in."""
        posts, runs = injection.injected(self._declared.stream, self.world, self.base)
        return Part(self._replayed("bursts", posts), runs)

    def null(self) -> Part:
        """The stream with days exchanged."""
        stream = self._declared.stream
        return Part(self._replayed("null", null.exchanged(self.base, stream.entities, rng(stream, _NULL))))

    def _replayed(self, name: str, posts: Table) -> Replayed:
        done = 0

        def told(more: int) -> None:
            nonlocal done
            done += more
            self._told(name, done, posts.rows)

        declared = self._declared
        return replay(posts, self.world, settings_of(declared.rules), declared.core, told=told)


def settings_of(payload: str) -> dict[str, str]:
    """The rules as they are (``default``), and with other budgets."""
    rules = RuleSet.from_payload(payload)
    found = {"default": payload}
    for budget in BUDGETS:
        own = tuple(
            msgspec.structs.replace(
                rule, significance=msgspec.structs.replace(rule.significance, alerts_per_day=budget)
            ) if rule.kind == BURST else rule
            for rule in rules.rules
        )  # fmt: skip
        found[f"alerts_per_day {budget:g}"] = msgspec.structs.replace(rules, rules=own).to_payload()
    return found


PARTS: Final[Mapping[str, Callable[[Bench], Part]]] = {"bursts": Bench.bursts, "null": Bench.null}


def figures(stream: DeclaredStream, parts: Mapping[str, Part]) -> list[Figures]:
    """The figures of every detector and setting."""
    bursts, quiet = parts["bursts"], parts["null"]
    found = []
    for setting, every in bursts.replayed.alerts.items():
        alerts = scores.told(every)
        found.append(
            Figures(
                OURS, setting, scores.cells(alerts, bursts.runs), scores.attacks(alerts, bursts.runs),
                scores.false_alerts(alerts, bursts.runs, stream),
                scores.false_alerts(scores.told(quiet.replayed.alerts[setting]), [], stream),
            )
        )  # fmt: skip
    return found
