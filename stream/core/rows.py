"""What the stages remember between batches: rows of a mapping, and their stored form.

Rows that stand in a mapping are never changed; a stage works on copies and hands these back as writes. Every row
that counts something carries the fences of what it has counted, because the rows of one batch may be stored only in
part when a process is killed. Keys of rows that are no entities begin with NUL.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.contract.records import BinReport, Control
from stream.core.drift import DriftRow
from stream.core.entities import Aliases
from stream.core.models import Model
from stream.core.windows import Watermark

HEADER: Final = "\x00header"
STREAM: Final = "\x00stream"
COVERAGE: Final = "\x00coverage"
GONE: Final = "\x00gone"
_SILENT: Final = "\x00silent/"
_HISTORY: Final = "\x00history/"
_BIN: Final = "\x00bin/"
_REPORT: Final = "\x00report/"
_INCIDENT: Final = "\x00incident/"
_EVENTS: Final = "\x00events/"
_PEAKS: Final = "\x00peaks/"


def history_key(entity: str) -> str:
    """Key of the closed bins and baselines of ``entity``; its open bins stand under the entity id itself."""
    return _HISTORY + entity


def silent_key(number: int) -> str:
    """Key of a chunk of the entities that have been silent (``memory``)."""
    return f"{_SILENT}{number}"


def bin_key(bin_ms: int) -> str:
    """Key of what all entities of one bin share."""
    return f"{_BIN}{bin_ms}"


def part_key(bin_ms: int, number: int) -> str:
    """Key of a sealed part of that."""
    return f"{_BIN}{bin_ms}/{number}"


def bin_of(key: str) -> int:
    """The start of the bin behind a key of ``bin_key`` or ``part_key``."""
    return int(key.removeprefix(_BIN).partition("/")[0])


def report_key(bin_ms: int, partition: int) -> str:
    """Key of a report that waits for those of the other partitions."""
    return f"{_REPORT}{bin_ms}/{partition}"


def incident_key(rule_id: str, entity: str) -> str:
    """Key of the state of ``rule_id`` on ``entity``."""
    return f"{_INCIDENT}{rule_id}\x00{entity}"


def events_key(rule_id: str) -> str:
    """Key of the events that ``rule_id`` has made."""
    return f"{_EVENTS}{rule_id}"


def peaks_key(rule_id: str) -> str:
    """Key of what is known of how high the scores of ``rule_id`` rise."""
    return f"{_PEAKS}{rule_id}"


class EnrichState(msgspec.Struct, frozen=True, array_like=True, tag="enrich"):
    """Content of the Control records that Enrich obeys. ``model_epoch`` orders documents of re-tagged posts."""

    aliases: Aliases = Aliases()
    model_epoch: int = 0
    model: Model = Model()


# --- Track -------------------------------------------------------------------------------------------------------


class Clue(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A piece of evidence as it is kept; see ``records.Evidence``."""

    weight: int
    post_id: str
    author: str
    created_ms: int
    source: str
    surface: str
    excerpt: str
    via_repost: bool
    image_only: bool
    simhash: int


class OpenBin(msgspec.Struct, array_like=True, gc=False):
    """Sums over one entity's sightings in a bin that is still open. Every field is commutative.

    ``authors``: author hash → posts; ``weight`` in 1/65536ths; ``clues`` the best by (−weight, post id). ``texts``:
    simhash → posts that are no reposts; ``roots``: hash of the post that was passed on → reposts; ``sources``: hash of
    the source → posts, where a rule asks for it. ``posts`` are hashes, the least ones (``sample``); ``confidence`` is
    the sum of all, in thousandths.
    """

    mentions: int = 0
    weight: int = 0
    engagement: int = 0
    image_only: int = 0
    reposts: int = 0
    unknown: int = 0
    first_ms: int = 0
    authors: dict[int, int] = msgspec.field(default_factory=dict)
    clues: list[Clue] = msgspec.field(default_factory=list)
    texts: dict[int, int] = msgspec.field(default_factory=dict)
    roots: dict[int, int] = msgspec.field(default_factory=dict)
    sources: dict[int, int] = msgspec.field(default_factory=dict)
    posts: list[int] = msgspec.field(default_factory=list)
    confidence: int = 0


class OpenRow(msgspec.Struct, array_like=True, tag="open", gc=False):
    """One entity's open bins (bin start → sums); ``fences``: log → last offset counted."""

    fences: dict[int, int] = msgspec.field(default_factory=dict)
    bins: dict[int, OpenBin] = msgspec.field(default_factory=dict)


class BinRow(msgspec.Struct, array_like=True, tag="bin", gc=False):
    """What a partition remembers of one bin until the late horizon has passed, or a part of it; see ``bins``.

    ``posts``: hashes of all posts; ``pairs``: of (entity, post) counted here; ``keys``: entities with sightings;
    ``sealed``: how many parts there are besides. ``models``: version of the model → posts, and those without an entity.
    """

    posts: set[int] = msgspec.field(default_factory=set)
    pairs: set[int] = msgspec.field(default_factory=set)
    keys: dict[str, bool] = msgspec.field(default_factory=dict)
    sealed: int = 0
    models: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)


class TrackHeader(msgspec.Struct, array_like=True, tag="track"):
    """One partition's place and time. ``open``/``closed``: starts of the bins that have rows, sorted.

    ``closed_ms`` is the watermark up to which bins are closed. ``told`` are controls not yet reported to Judge.
    ``views``: id of a view of the rules → since when it is counted. ``late``: sightings that corrected closed bins
    since the report before. ``known``: entities with a past, of which a kill
    may have missed some; the silent ones stand in the chunks [``silent_from``,
    ``silent_to``); ``forgets``: whether some were forgotten.
    """

    fences: dict[int, int] = msgspec.field(default_factory=dict)
    watermark: Watermark = Watermark()
    open: list[int] = msgspec.field(default_factory=list)
    closed: list[int] = msgspec.field(default_factory=list)
    rules: str = ""
    rules_version: int = 0
    told: list[Control] = msgspec.field(default_factory=list)
    views: dict[str, int] = msgspec.field(default_factory=dict)
    late: int = 0
    known: int = 0
    silent_from: int = 0
    silent_to: int = 0
    forgets: bool = False

    @property
    def closed_ms(self) -> int:
        """All bins that end at or before this time are closed."""
        return self.watermark.time_ms


# --- Judge -------------------------------------------------------------------------------------------------------


class Kind(msgspec.Struct, array_like=True):
    """Dispersion of a kind of entities: their sums (``dispersion.Moments``), fading, as of ``at_ms``."""

    at_ms: int
    excess: float = 0.0
    weight: float = 0.0


class JudgeHeader(msgspec.Struct, array_like=True, tag="judge"):
    """``progress``: partition → end of its last reported bin; ``waiting``: bins with reports that wait.

    ``tests``: day number → tests made; ``since_ms``: first bin; ``active``: keys of incidents that may change by
    time alone. ``silences`` is what the newest Control said of them. ``drift``: what is known of the model. ``kinds``:
    dispersion by kind of entity.
    """

    progress: dict[int, int] = msgspec.field(default_factory=dict)
    waiting: list[int] = msgspec.field(default_factory=list)
    rules: str = ""
    rules_version: int = 0
    tests: dict[int, int] = msgspec.field(default_factory=dict)
    since_ms: int = 0
    active: list[str] = msgspec.field(default_factory=list)
    silences: str = ""
    silences_version: int = 0
    drift: DriftRow | None = None
    kinds: dict[str, Kind] = msgspec.field(default_factory=dict)


class WaitingReport(msgspec.Struct, array_like=True, tag="report"):
    """A report that waits for the other partitions."""

    report: BinReport
