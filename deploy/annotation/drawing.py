"""Draws a batch from a store or a dataset file: strata of popularity and time, probabilities, pictures on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from deploy.bias.gather import Range, gathered
from deploy.errors import Failure
from index.reading import Reader
from nlp import datasets
from nlp.annotation.records import ANY, Drawn, Prediction
from nlp.annotation.sampling import By, Candidate, sample
from nlp.evaluate import NamedTagger
from stream.bias.strata import HOUR_MS, UNKNOWN
from stream.contract.ports import TagInput, tagged
from stream.contract.records import Document, Drift

DAY_MS: Final = 24 * HOUR_MS
LEVELS: Final = ("0", "1-9", "10-99", "100-999", "1000+")
"""Popularity of a post (docs/bias.md) in tenfold steps."""
TAGGED_AT_ONCE: Final = 256


class Wish(msgspec.Struct, frozen=True):
    """How many ``posts`` to draw, how, and by which parts of the stream. ``time``: ``none``, ``weeks`` or ``hours``."""

    posts: int
    by: By
    seed: int
    popularity: bool
    time: str
    utc_offset_ms: int


def level_of(popularity: float | None) -> str:
    """The name of the popularity stratum as audits have it."""
    if popularity is None:
        return UNKNOWN
    return LEVELS[sum(popularity >= least for least in (1, 10, 100, 1000))]


def time_of(created_ms: int, kind: str, utc_offset_ms: int) -> str:
    """The name of the time stratum: the local week from Monday, or a quarter of the local day."""
    local_ms = created_ms + utc_offset_ms
    if kind == "hours":
        first = local_ms // HOUR_MS % 24 // 6 * 6
        return f"{first}-{first + 6}"
    if kind == "weeks":
        day = (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=local_ms)).date()
        monday = day - timedelta(days=day.weekday())
        return f"{monday}..{monday + timedelta(days=7)}"
    return ANY


def changed_ms(reader: Reader) -> int:
    """When the confidences of the newest model changed last, of any type. Raises ``Failure`` where they did not."""
    notes = [note for note in reader.notes("drift") if isinstance(note, Drift)]
    newest = max(notes, key=lambda note: note.observed_ms, default=None)
    found = [note.changed_ms for note in notes if newest is not None and note.source == newest.source]
    if not any(found):
        raise Failure("no drift was told (weibowatch serve shows it at /drift). Name the time yourself: --since")
    return max(found)


def from_store(
    reader: Reader, asked: Range, wish: Wish, known: Collection[str], pictures: Path | None
) -> tuple[list[Drawn], int]:
    """(the batch, posts that it was drawn from) out of the posts of ``asked`` that are not ``known``.

    Popularity is what was shown last. Posts are read twice, so that only the drawn ones are ever in memory. Raises
    ``Failure`` where there is none, and what ``gathered`` raises.
    """
    shown = gathered(reader, asked, lambda done, whole: None).snapshots if wish.popularity else {}

    def popularity(post_id: str) -> str:
        seen = shown.get(post_id)
        return level_of(max(count for _, count in seen) if seen else None) if wish.popularity else ANY

    candidates = [
        Candidate(
            document.post.id, popularity(document.post.id),
            time_of(document.post.created_ms, wish.time, wish.utc_offset_ms),
            min((mention.confidence for mention in document.mentions), default=None),
            (asked.until_ms - document.post.created_ms) / DAY_MS,
        )
        for document in _documents(reader, asked)
        if document.post.id not in known
    ]  # fmt: skip
    strata = {one.id: one for one in candidates}
    if not strata:
        raise Failure("there are no posts to draw from. Collect some first: weibowatch run --source demo")
    chances = sample(strata.values(), wish.posts, wish.by, wish.seed)
    batch = {
        document.post.id: _drawn(document, strata[document.post.id], chances[document.post.id], wish.by)
        for document in _documents(reader, asked)
        if document.post.id in chances
    }
    if pictures is not None:
        kept = _pictures(reader, asked, chances, pictures)
        batch = {id_: msgspec.structs.replace(one, pictures=kept[id_]) for id_, one in batch.items()}
    return [batch[id_] for id_ in sorted(batch)], len(strata)


def _documents(reader: Reader, asked: Range) -> Iterator[Document]:
    """Posts with a text; there is nothing to mark in others."""
    for documents in reader.documents(*asked):
        yield from (document for document in documents if document.post.text)


def _drawn(document: Document, stratum: Candidate, probability: float, by: By) -> Drawn:
    """The mentions as predictions, without one that overlaps an earlier one (of another tagger, in an edited text)."""
    predictions: list[Prediction] = []
    for one in sorted(document.mentions, key=lambda one: (one.start, one.end)):
        if one.end <= len(document.post.text) and (not predictions or one.start >= predictions[-1].end):
            predictions.append(Prediction(one.start, one.end, one.type, one.confidence))
    return Drawn(
        document.post.id, document.post.text, by, probability, stratum.popularity, stratum.time,
        document.model_version, tuple(predictions),
    )  # fmt: skip


def _pictures(reader: Reader, asked: Range, drawn: Collection[str], folder: Path) -> dict[str, tuple[str, ...]]:
    """Post → names of the files written for its pictures that are still stored: the id as in URLs, ``_``, a number."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, tuple[str, ...]] = {}
    for document in _documents(reader, asked):
        if document.post.id not in drawn:
            continue
        names = []
        for number, picture in enumerate(document.post.pictures):
            jpeg = reader.picture(picture.sha256) if picture.sha256 else None
            if jpeg:
                names.append(f"{quote(document.post.id, safe='')}_{number}.jpg")
                (folder / names[-1]).write_bytes(jpeg)
        found[document.post.id] = tuple(names)
    return found


def from_file(path: Path, tagger: NamedTagger, wish: Wish, known: Collection[str]) -> tuple[list[Drawn], int]:
    """(the batch, posts that it was drawn from) out of a dataset, whose own tags are passed over; ``tagger`` predicts.

    Posts of datasets have no popularity and no time. Raises ``DatasetError``, and ``Failure`` where there is none.
    """
    texts = {example.id: example.text for example in datasets.read(path) if example.text and example.id not in known}
    if not texts:
        raise Failure(f"{path}: no posts that are not in a batch already")
    if wish.by in ("recent", "drifted") or wish.popularity or wish.time != "none":
        raise Failure("posts of a file have no time and popularity: --by random or uncertain, without --strata")
    found: dict[str, tuple[Prediction, ...]] = {}
    # Without doubts to look for, only what was drawn need be tagged.
    chosen = dict.fromkeys(texts) if wish.by == "uncertain" else sample(
        [Candidate(id_, ANY, ANY) for id_ in texts], wish.posts, wish.by, wish.seed
    )  # fmt: skip
    ids = list(chosen)
    for start in range(0, len(ids), TAGGED_AT_ONCE):
        part = ids[start : start + TAGGED_AT_ONCE]
        for id_, spans in zip(part, tagged(tagger, [TagInput(texts[id_], ()) for id_ in part]), strict=True):
            found[id_] = tuple(Prediction(span.start, span.end, span.type, span.confidence) for span in spans)
    chances = sample(
        [Candidate(id_, ANY, ANY, min((one.confidence for one in found.get(id_, ())), default=None)) for id_ in texts],
        wish.posts, wish.by, wish.seed,
    )  # fmt: skip
    return [
        Drawn(id_, texts[id_], wish.by, chance, model=tagger.model_version, predictions=found[id_])
        for id_, chance in chances.items()
    ], len(texts)
