"""The records of the log, the same in memory, in SQLite and in Kafka.

All records are frozen. Times are integers in milliseconds since the Unix epoch, UTC, and end in ``_ms``.
Spans are half-open and count Unicode code points of the *stored* document text. A record never carries its
own place in the log: that is the ``Position`` of the ``Envelope`` around it.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import msgspec

from stream.contract.notices import Notice

TEXT: Final = "text"
IMAGE: Final = "image"


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """Base of everything that can stand in the log; ``kind`` on the wire names the subclass."""


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the parts that records are made of; never a log entry of its own."""


# --- places in the log -------------------------------------------------------------------------------------------


class Position(msgspec.Struct, frozen=True, order=True):
    """Place of a record: ``generation`` is new whenever the log is recreated, so that old offsets mean nothing.

    Embedded: partition 0 and ``offset`` is the row id. Kafka: the topic's id, partition and offset.
    """

    generation: str
    partition: int
    offset: int


class Envelope(msgspec.Struct, frozen=True):
    """A record at its position."""

    position: Position
    record: Record


# --- posts and what is found in them -----------------------------------------------------------------------------


class Counts(Value, frozen=True, kw_only=True):
    """Engagement as shown when the post was observed; ``approximate`` when the site rounded ("1.2万")."""

    reposts: int = 0
    comments: int = 0
    likes: int = 0
    approximate: bool = False


class Picture(Value, frozen=True, kw_only=True):
    """One picture of a post: a small JPEG (about 256 px on the shorter side) travels in the record.

    ``id`` is the source's name for it, ``sha256`` the hex digest of ``jpeg``, ``width`` and ``height`` the upright
    original's; ``jpeg`` may be empty where the picture could not be had, and then ``problem`` says why.
    """

    id: str
    sha256: str = ""
    width: int = 0
    height: int = 0
    jpeg: bytes = b""
    url: str = ""
    problem: str = ""


class Post(Record, frozen=True, kw_only=True, tag="post"):
    """A post as collected, already cleaned: ``text`` is plain, ``author`` is a pseudonym.

    ``created_ms`` puts mentions into their bin; ``observed_ms`` is when the source saw the post (as-of queries).
    An unknown author is one pseudo-author per post with ``author_known`` false. ``root_id`` equals ``id`` unless
    the post is a repost. ``text_cut_from`` is the original length when the text was cut at the edge, else 0.
    """

    id: str
    source: str
    author: str
    created_ms: int
    observed_ms: int
    text: str
    root_id: str
    mid: str = ""
    bid: str = ""
    author_known: bool = True
    pictures: tuple[Picture, ...] = ()
    counts: Counts | None = None
    repost_of: str = ""
    edit_version: int = 0
    region: str = ""
    text_cut_from: int = 0


class Span(Value, frozen=True, kw_only=True):
    """An entity as the tagger sees it: code points [start, end) of the text, confidence in [0, 1].

    ``provenance`` is ``image`` when only the picture ``picture_id`` gave it away. ``model_version`` is empty where the
    tagger has one model only.
    """

    start: int
    end: int
    type: str
    confidence: float
    provenance: str = TEXT
    picture_id: str = ""
    model_version: str = ""


class Mention(Record, frozen=True, kw_only=True, tag="mention"):
    """An entity in one post. ``raw_key`` is surface → key; ``entity`` the canonical id under ``alias_version``."""

    post_id: str
    root_id: str
    author: str
    created_ms: int
    observed_ms: int
    type: str
    surface: str
    raw_key: str
    entity: str
    start: int
    end: int
    confidence: float
    simhash: int
    model_version: str
    alias_version: int = 0
    author_known: bool = True
    provenance: str = TEXT
    picture_id: str = ""
    via_repost: bool = False


class Document(Record, frozen=True, kw_only=True, tag="document"):
    """What is indexed: the post with its mentions. ``version`` orders re-tagged and edited copies of one post."""

    post: Post
    mentions: tuple[Mention, ...]
    model_version: str
    model_epoch: int = 0

    @property
    def version(self) -> tuple[int, int, int]:
        """(model epoch, edit version, observed_ms): the greater one wins; an equal one is a replay."""
        return (self.model_epoch, self.post.edit_version, self.post.observed_ms)


# --- what Enrich tells every Track partition ---------------------------------------------------------------------


class Seen(Value, frozen=True, array_like=True):
    """A post as a denominator: where it stood in the source partition, when it was written, where from."""

    offset: int
    created_ms: int
    source: str
    post_id: str


class Sighting(Value, frozen=True, array_like=True):
    """One post mentioning one entity (however often), with what Track needs to count and to show evidence.

    ``weight`` is a saturating popularity weight in 1/65536ths; ``engagement`` the plain sum of shown counts.
    ``together``: ``dedupe.hash64`` of the entities of a post that mentions several, this one among them.
    """

    offset: int
    entity: str
    type: str
    surface: str
    post_id: str
    root_id: str
    author: str
    author_known: bool
    created_ms: int
    source: str
    simhash: int
    confidence: float
    engagement: int
    weight: int
    via_repost: bool
    image_only: bool
    excerpt: str
    together: tuple[int, ...] = ()


class Heard(Value, frozen=True, array_like=True):
    """A reach, a control or a line of the ledger with its place: Track takes all things in the order of the log."""

    offset: int
    record: Reach | Control | Coverage


class Batch(Record, frozen=True, kw_only=True, tag="batch"):
    """One micro-batch of Enrich for one Track partition; sent even when empty, so that everyone knows the totals.

    ``origin`` is the source partition whose offsets ``first``..``last`` the batch covers. What follows must not
    depend on how the log was cut into batches, therefore ``heard`` keeps the places of reaches and controls. An
    ``End`` travels as a reach in state ``left``. All of it was tagged by ``model_version``,
    which came with order ``model_epoch``; ``bare`` are the offsets of posts in which nothing was found.
    """

    generation: str
    origin: int
    first: int
    last: int
    posts: tuple[Seen, ...] = ()
    sightings: tuple[Sighting, ...] = ()
    heard: tuple[Heard, ...] = ()
    model_version: str = ""
    bare: tuple[int, ...] = ()
    model_epoch: int = 0


# --- trends and alerts -------------------------------------------------------------------------------------------


class TrendPoint(Record, frozen=True, kw_only=True, tag="trend_point"):
    """One entity in one closed bin [``bin_ms``, ``bin_ms + width_ms``).

    ``authors`` counts distinct authors of the bin, ``weighted`` sums popularity weights, ``engagement`` shown counts.
    ``score`` is the best −log10 tail probability over the windows, in thousandths, as Track screens: at least what an
    alert tells, which knows the dispersion of the kind. ``expected`` belongs to ``window_ms``, the window that gave it,
    as does ``observed``. Where nothing stands out, ``score`` is 0 and ``observed`` counts posts.
    """

    entity: str
    type: str
    bin_ms: int
    width_ms: int
    mentions: int
    authors: int
    weighted: float
    engagement: int
    image_only: int = 0
    late: int = 0
    score: int = 0
    window_ms: int = 0
    observed: int = 0
    expected: float = 0.0


class Evidence(Value, frozen=True, kw_only=True):
    """A post frozen at the moment it was counted, so that an alert can still show it when it is deleted."""

    post_id: str
    author: str
    created_ms: int
    source: str
    surface: str
    excerpt: str
    weight: int
    via_repost: bool = False
    image_only: bool = False


Origin = Literal["organic", "single_source", "coordinated", "coverage"]


class WindowScore(Value, frozen=True, kw_only=True):
    """The test of one entity over one window ending with the bin that was closed.

    ``observed`` is the tested count X, ``expected`` the baseline mean, ``dispersion`` the negative-binomial a
    (variance = mean + a·mean²), ``score`` −log10 P(NB ≥ X) in thousandths, ``lift`` X / expected and ``lift_low``
    its lower 5 % bound. While a window is not ``ready`` its baseline has not been learned.

    ``origin``: ``organic``, ``single_source`` (one account, or one post passed on), ``coordinated`` (copies of a text,
    or many posts of each account) or ``coverage`` (too little of the window was seen). ``loudness`` is the score of
    all posts, however few are behind them; ``copied`` posts are copies, ``passed_on`` are reposts of one post,
    ``busiest`` are of one author.

    ``weighted`` sums popularity weights; ``posts`` are all of the stream. ``texts`` and ``sources`` are different ones,
    near-duplicates being one text. Where a rule asks for it, ``before`` counts the posts of the window before (−1:
    unknown), and ``silence`` is −log10 P(NB ≤ mentions) in thousandths, against ``usual`` posts. ``excess`` and
    ``weight`` are the entity's own moments of dispersion, and its mean was learned from 1/``unsure`` mentions; 0 where
    no past was asked (``stream.core.dispersion``).
    """

    window_ms: int
    observed: int
    expected: float
    dispersion: float
    score: int
    lift: float
    lift_low: float
    mentions: int
    authors: int
    effective_authors: float
    reposts: int
    image_only: int
    engagement: int
    baseline_windows: int
    ready: bool = True
    origin: Origin = "organic"
    loudness: int = 0
    copied: int = 0
    passed_on: int = 0
    busiest: int = 0
    weighted: float = 0.0
    posts: int = 0
    texts: int = 0
    sources: int = 0
    before: int = -1
    silence: int = 0
    usual: float = 0.0
    excess: float = 0.0
    weight: float = 0.0
    unsure: float = 0.0


class EntityReport(Value, frozen=True, kw_only=True):
    """What Judge needs to know of one entity in one closed bin, all of it or as a ``view`` of rules shows it.

    ``posts``: a sample of the posts in the most telling window, packed (``stream.core.sample``).
    """

    entity: str
    type: str
    surface: str
    first_seen_ms: int
    is_new: bool
    authors_known: bool
    windows: tuple[WindowScore, ...]
    evidence: tuple[Evidence, ...]
    view: str = ""
    posts: bytes = b""


class ModelBin(Value, frozen=True, kw_only=True):
    """What the posts of a closed bin show of the model that tagged them; nothing where there were two of them.

    ``bare`` of the ``posts`` have no entity; all partitions count these alike. ``confidences``: type → entities of this
    partition by place of their mean confidence (``stream.core.drift``). An entity counts once, however often it is
    named, so that a burst of one name does not look like a change of the model.
    """

    model_version: str
    posts: int
    bare: int
    confidences: dict[str, tuple[int, ...]] = msgspec.field(default_factory=dict)


class BinReport(Record, frozen=True, kw_only=True, tag="bin_report"):
    """Report of one Track partition for one closed bin. ``tests`` counts the entities it tested.

    ``watermark_ms`` is the event time up to which this partition has closed its bins. ``controls`` took effect in
    this partition after its previous report. ``covered``: window in ms → share of it that the sources showed, in
    thousandths, of those that were not seen whole; ``volume``: window → posts per expected post, in thousandths.
    ``late``: sightings that corrected a closed bin since the report before, ``counted``: those of this bin.
    ``spreads``: kind of entity → what windows that ended said of its dispersion, and the weight of that, in thousandths
    (``stream.core.dispersion``).
    """

    partition: int
    bin_ms: int
    width_ms: int
    watermark_ms: int
    total_posts: int
    tests: int
    entities: tuple[EntityReport, ...] = ()
    controls: tuple[Control, ...] = ()
    covered: dict[int, int] = msgspec.field(default_factory=dict)
    volume: dict[int, int] = msgspec.field(default_factory=dict)
    late: int = 0
    counted: int = 0
    model: ModelBin | None = None
    spreads: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)


OF_SOURCE: Final = "SOURCE"
"""Type of what alerts of sources about themselves are about."""
FIRING: Final = "firing"
ESCALATED: Final = "escalated"
RESOLVED: Final = "resolved"


class Flip(Record, frozen=True, kw_only=True, tag="flip"):
    """A durable change of an incident's state: the alert.

    ``incident_id`` = hash(rule, subject, first bin of firing); ``id`` = incident id + sequence, which receivers get
    as idempotency key. ``at_ms`` is the event time at which it should have happened, by the bins.

    ``held`` says why nobody is told (``silence ID``, ``inhibited by RULE``, ``event ID``), empty where somebody is.
    ``event``: id of the incident that leads the event to which this one belongs; ``members``: the entities of the event
    so far, the leading one first. ``covered``: thousandths of the window that the sources showed.
    """

    id: str
    incident_id: str
    sequence: int
    rule_id: str
    rule_version: int
    rule_kind: str
    state: str
    severity: str
    entity: str
    type: str
    surface: str
    at_ms: int
    first_ms: int
    window: WindowScore | None
    reason: str
    first_seen_ms: int = 0
    authors_known: bool = True
    tests: int = 0
    threshold: float = 0.0
    total_posts: int = 0
    evidence: tuple[Evidence, ...] = ()
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    notice: Notice = Notice()
    held: str = ""
    event: str = ""
    members: tuple[str, ...] = ()
    covered: int = 1000


# --- time, control, refusal --------------------------------------------------------------------------------------


class Reach(Record, frozen=True, kw_only=True, tag="reach"):
    """Source ``source`` gives no more posts created before ``through_ms``, late ones apart.

    ``state``: ``live`` sources hold the watermark back, ``idle`` and ``left`` ones do not. ``session`` grows with each
    start of the source's ingester where a log has several partitions: all of them must have told of the newest one.
    """

    source: str
    through_ms: int
    state: Literal["live", "idle", "left"] = "live"
    session: int = 0


class End(Record, frozen=True, kw_only=True, tag="end"):
    """A finite source is drained; ``through_ms`` is the newest event time it gave. All its bins may close."""

    source: str
    through_ms: int
    session: int = 0


class Control(Record, frozen=True, kw_only=True, tag="control"):
    """A change of rules, aliases, silences, profiles or model that takes effect at its place in the log.

    ``topic`` names what changes (``rules``, ``aliases``, ``settings``, ``model``), ``version`` grows with each
    change, ``payload`` is the whole new content as JSON text.
    """

    topic: str
    version: int
    payload: str


class Reject(Record, frozen=True, kw_only=True, tag="reject"):
    """Something that could not be used, kept whole: ``reason`` is a fixed word (see ``REASONS``), ``raw`` the bytes.

    ``place`` says where it stood in its source, e.g. ``line 12``.
    """

    source: str
    reason: str
    detail: str
    raw: bytes
    place: str = ""
    observed_ms: int = 0


REASONS: Final = (
    "bad_encoding",  # not UTF-8, or a lone surrogate
    "bad_json",
    "bad_field",  # missing, of the wrong type, or not a number
    "empty",  # no text, no picture, no repost
    "time_future",
    "time_past",  # before Weibo existed (2009)
    "too_large",
    "tagger_failed",
    "unknown_version",
    "bad_record",
    "index_refused",  # the index cannot take it as it is
)

# --- what a source tells besides posts ---------------------------------------------------------------------------


class Observation(Record, frozen=True, kw_only=True, tag="observation"):
    """A post as a source saw it at ``observed_ms``; append-only, so that "as of time T" has an answer.

    ``text`` stands in the first observation of each ``edit_version`` only. ``gone``: the post can no longer be seen,
    which was confirmed by a second look; it says nothing of the counts.
    """

    source: str
    post_id: str
    observed_ms: int
    counts: Counts | None = None
    edit_version: int = 0
    text: str = ""
    gone: bool = False


class HotItem(Value, frozen=True, array_like=True):
    """A line of a hot list: ``rank`` from 1, ``heat`` as the site tells it, ``label`` such as 新 or 爆."""

    rank: int
    word: str
    heat: int
    label: str = ""


class HotList(Record, frozen=True, kw_only=True, tag="hot_list"):
    """A site's list of what is hot, as it stood at ``observed_ms``."""

    source: str
    observed_ms: int
    items: tuple[HotItem, ...]


Outcome = Literal[
    "ok",  # posts, some or all of them known
    "empty",  # an answer without posts
    "throttled",  # asked to slow down
    "login_required",
    "captcha",
    "blocked",  # HTTP 432
    "capped",  # there is more than the site shows
    "parse_error",
    "network",
]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


class Coverage(Record, frozen=True, kw_only=True, tag="coverage"):
    """A line of the coverage ledger: what came of one request of a source.

    The answer was to cover posts created in [``from_ms``, ``through_ms``); with an outcome other than ``ok`` and
    ``empty`` it did not. ``posts`` were shown, ``fresh`` of them new. ``endpoint`` names the request without its
    parameters.
    """

    source: str
    observed_ms: int
    outcome: Outcome
    from_ms: int
    through_ms: int
    posts: int = 0
    fresh: int = 0
    endpoint: str = ""
    detail: str = ""


DriftState = Literal["learning", "new_model", "ok", "warn", "alert"]
CONFIDENCE_EDGES: Final = (
    200, 300, 400, 500, 600, 700, 750, 800, 850, 900, 920, 940, 950, 960, 970, 980, 985, 990, 995,
)  # fmt: skip
"""Between the places of confidences, in thousandths; closer where taggers are sure, as most confidences lie there."""


class Drift(Record, frozen=True, kw_only=True, tag="drift"):
    """How sure a model was of a type of entities in the 24 hours up to ``observed_ms``, against the week before.

    ``source`` is the model's version; an empty ``type`` stands for the posts without any entity. ``recent`` and
    ``reference`` count entities by place of their confidence, ``first`` those of the model's first days; without a
    type, posts without and with entities. ``psi`` is the population stability index of recent against reference in
    thousandths, ``psi_noise`` what days of the reference show against each other, ``psi_first`` that of recent against
    first. ``mean`` and ``mean_before`` are mean confidences (without a type, shares of posts with entities) around the
    last change that was found, in thousandths; ``changed_ms`` is when that was, 0 for none.
    """

    source: str
    type: str
    observed_ms: int
    state: DriftState
    psi: int = 0
    psi_noise: int = 0
    psi_first: int = 0
    mean: int = 0
    mean_before: int = 0
    changed_ms: int = 0
    recent: tuple[int, ...] = ()
    reference: tuple[int, ...] = ()
    first: tuple[int, ...] = ()


Note = Observation | HotList | Coverage | Drift
"""What is stored as it comes, beside the posts. ``note_id`` tells one from another."""


NoteKind = Literal["observation", "hot_list", "coverage", "drift"]


def note_id(note: Note) -> str:
    """The same note has the same id wherever and however often it is written."""
    if isinstance(note, Observation):
        return f"observation/{note.post_id}/{note.observed_ms}/{note.edit_version}"
    if isinstance(note, Coverage):
        return f"coverage/{note.source}/{note.observed_ms}/{note.endpoint}"
    if isinstance(note, Drift):
        return f"drift/{note.source}/{note.type}/{note.observed_ms}"
    return f"hot_list/{note.source}/{note.observed_ms}"


def note_kind(note: Note) -> NoteKind:
    """``observation``, ``hot_list``, ``coverage`` or ``drift``."""
    if isinstance(note, Observation):
        return "observation"
    if isinstance(note, Drift):
        return "drift"
    return "coverage" if isinstance(note, Coverage) else "hot_list"


def note_subject(note: Note) -> str:
    """What it is about: a post, a type of entities, or the source that told it."""
    if isinstance(note, Drift):
        return note.type
    return note.post_id if isinstance(note, Observation) else note.source


def note_span(note: Note) -> tuple[int, int]:
    """The event time that it speaks of, [from, through]; a moment but for the ledger."""
    if isinstance(note, Coverage):
        return note.from_ms, note.through_ms
    return note.observed_ms, note.observed_ms


AnyRecord = (
    Post | Mention | Document | Batch | TrendPoint | BinReport | Flip | Reach | End | Control | Reject
    | Observation | HotList | Coverage | Drift
)  # fmt: skip
"""Everything the codec reads and writes."""


def replace(record: Any, **changes: Any) -> Any:
    """``record`` with ``changes``; a thin name for ``msgspec.structs.replace``."""
    return msgspec.structs.replace(record, **changes)
