"""The experiment on trends: which streams are run through which detectors, and the figures that come out.

It is made of parts that can be kept and need not be run again. Everything follows from ``Declared``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from stream.contract.records import Coverage
from stream.core.rules import RuleSet
from stream.core.settings import CoreSettings
from stream.experiment import arrivals, disturbances, injection, measures, null, scores, timeline
from stream.experiment.disturbances import Disturbance
from stream.experiment.injection import Run
from stream.experiment.measures import Rate, Share
from stream.experiment.replay import Alert, Replayed, replay
from stream.experiment.scores import Attack, Cell
from stream.experiment.settings import START_MS, DeclaredStream
from stream.experiment.sweep import swept
from stream.experiment.table import Table
from stream.experiment.world import Corpus, World, rng, world

OURS: Final = "weibowatch"
DEFAULT: Final = "default"
"""The rules as they are."""
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
        every = msgspec.json.encode((self.stream, self.corpus, self.rules, self.core), order="deterministic")
        return blake2b(every, digest_size=6).hexdigest()


class Figures(msgspec.Struct, frozen=True):
    """One detector at one setting. ``false`` is counted in the stream with bursts, ``null`` where nothing happens.

    ``is_usual``: this is the threshold with which it is commonly used."""

    detector: str
    setting: str
    cells: list[Cell]
    attacks: list[Attack]
    false: dict[str, Rate]
    null: dict[str, Rate]
    is_usual: bool = False

    @property
    def overall(self) -> Share:
        """Recall over all bursts."""
        every = [cell.recall for cell in self.cells if cell.shape == "all"]
        return measures.share(sum(one.hits for one in every), sum(one.tries for one in every))


class Part(msgspec.Struct, frozen=True):
    """What one part gave: the core's alerts and the truth about them, or figures."""

    replayed: Replayed | None = None
    runs: list[Run] = []
    figures: list[Figures] = []
    disturbances: list[Disturbance] = []
    timeline: dict[str, Rate] = {}


class Results(msgspec.Struct, frozen=True):
    """All figures. ``detectors`` begins with ours under the rules as they are; ``timeline`` is of the corpus itself."""

    detectors: list[Figures]
    disturbances: list[Disturbance]
    timeline: dict[str, Rate]


Told = Callable[[str, int, int], None]
"""Is told of a part how much of how much is done."""


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

    def baselines(self) -> Part:
        """The simple detectors on both streams, at many thresholds."""
        stream, names = self._declared.stream, self._declared.stream.entities
        posts, runs = injection.injected(stream, self.world, self.base)
        with_bursts = self._swept(posts, 0)
        quiet = self._swept(null.exchanged(self.base, names, rng(stream, _NULL)), 1)
        return Part(figures=[
            msgspec.structs.replace(
                _figures(detector, f"{factor * usual:.3g}", alerts, quiet[detector, usual][factor], runs, stream),
                is_usual=factor == 1.0,
            )
            for (detector, usual), levels in with_bursts.items()
            for factor, alerts in levels.items()
        ])  # fmt: skip

    def _swept(self, posts: Table, half: int) -> dict[tuple[str, float], dict[float, list[Alert]]]:
        stream = self._declared.stream
        span = stream.end_ms - START_MS

        def told(end_ms: int) -> None:
            self._told("baselines", half * span + end_ms - START_MS, 2 * span)

        return swept(posts, stream, self._declared.core.bin_ms, told)

    def disturbances(self) -> Part:
        """Surges, gaps and late posts in a stream of its own."""
        own = disturbances.small(self._declared.stream)
        about = world(own, self._declared.corpus)
        spans = disturbances.planned(own)
        posts = disturbances.disturbed(own, arrivals.posts(own, about), spans)
        replayed = self._replayed("disturbances", posts, about, disturbances.ledger(own, spans))
        return Part(disturbances=disturbances.figures(posts, scores.told(replayed.alerts[DEFAULT]), spans))

    def timeline(self) -> Part:
        """The corpus at its true times, and with days exchanged."""
        declared = self._declared
        rules = {DEFAULT: declared.rules}

        def told(done: int, total: int) -> None:
            self._told("timeline", done, total)

        return Part(timeline=timeline.rates(declared.corpus, rules, declared.core, declared.stream, told))

    def _replayed(
        self, name: str, posts: Table, about: World | None = None, ledger: Sequence[Coverage] = ()
    ) -> Replayed:
        done = 0

        def told(more: int) -> None:
            nonlocal done
            done += more
            self._told(name, done, posts.rows)

        declared = self._declared
        rules = {DEFAULT: declared.rules} if about else settings_of(declared.rules)
        return replay(posts, about or self.world, rules, declared.core, ledger=ledger, told=told)


def settings_of(payload: str) -> dict[str, str]:
    """The rules as they are, and with other budgets."""
    rules = RuleSet.from_payload(payload)
    found = {DEFAULT: payload}
    for budget in BUDGETS:
        own = tuple(
            msgspec.structs.replace(
                rule, significance=msgspec.structs.replace(rule.significance, alerts_per_day=budget)
            ) if rule.kind in scores.KINDS else rule
            for rule in rules.rules
        )  # fmt: skip
        found[f"alerts_per_day {budget:g}"] = msgspec.structs.replace(rules, rules=own).to_payload()
    return found


PARTS: Final[Mapping[str, Callable[[Bench], Part]]] = {
    "bursts": Bench.bursts, "null": Bench.null, "baselines": Bench.baselines, "disturbances": Bench.disturbances,
    "timeline": Bench.timeline,
}  # fmt: skip


def results(stream: DeclaredStream, parts: Mapping[str, Part]) -> Results:
    """The figures of all parts."""
    bursts, quiet = parts["bursts"], parts["null"]
    assert bursts.replayed is not None and quiet.replayed is not None
    ours = [
        _figures(OURS, setting, alerts, quiet.replayed.alerts[setting], bursts.runs, stream)
        for setting, alerts in bursts.replayed.alerts.items()
    ]
    return Results(
        [*ours, *parts["baselines"].figures], parts["disturbances"].disturbances, parts["timeline"].timeline
    )


def _figures(
    detector: str, setting: str, alerts: list[Alert], quiet: list[Alert], runs: list[Run], stream: DeclaredStream
) -> Figures:
    told = scores.told(alerts)
    return Figures(
        detector, setting, scores.cells(told, runs), scores.attacks(told, runs),
        scores.false_alerts(told, runs, stream), scores.false_alerts(scores.told(quiet), [], stream),
    )  # fmt: skip


def usual(found: Sequence[Figures], detector: str) -> Figures | None:
    """``detector`` at the threshold with which it is commonly used."""
    return next((one for one in found if one.detector == detector and one.is_usual), None)


def matched(found: Sequence[Figures], detector: str, rate: float) -> Figures | None:
    """``detector`` at the setting with most null alerts a day that has no more than ``rate``."""
    fit = [one for one in found if one.detector == detector and one.null["all"].rate <= rate]
    return max(fit, key=lambda one: one.null["all"].rate, default=None)
