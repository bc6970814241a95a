"""Dead letters, tried again: what can be used now becomes a record of the log, the rest stays where it is."""

from __future__ import annotations

from pathlib import Path

from deploy import wiring
from deploy.settings import Settings
from index.reader import SqliteReader
from ingest.privacy import hmac_pseudonym
from ingest.sources import parse_again
from stream.contract import codec
from stream.contract.records import Post, Record, Reject
from stream.runtime.sqlite import drop_in_inbox

OURS = frozenset({"tagger_failed", "bad_record"})
"""Reasons of dead letters whose bytes are records of this program."""


def replay(
    reader: SqliteReader, settings: Settings, directory: Path, *, reason: str | None, id: int | None
) -> dict[str, int]:
    """Try dead letters again under the settings in force now, all or some. Returns how many went and how many stay.

    Those that go leave the dead letters when the process that writes the store takes them. Blocking.
    Raises ``StoreError``.
    """
    pseudonym = hmac_pseudonym(wiring.author_key(settings, directory))
    replayed = tried = 0
    for chosen in reader.rejects_for_replay(reason=reason, id=id):
        usable: list[tuple[Record, Reject | None]] = []
        for reject in chosen:
            record = _record(reject) or parse_again(
                reject, edge=settings.edge, pseudonym=pseudonym, now_ms=wiring.now_ms
            )
            if not isinstance(record, Reject):
                usable.append((record, reject))
        drop_in_inbox(directory, usable)
        tried += len(chosen)
        replayed += len(usable)
    return {"replayed": replayed, "still_rejected": tried - replayed}


def _record(reject: Reject) -> Post | None:
    """The post that the raw bytes of a reject are, where this program wrote them and not whoever fills a source."""
    if reject.source != "log" and reject.reason not in OURS:
        return None
    try:
        record = codec.decode(reject.raw)
    except codec.CodecError:
        return None
    return record if isinstance(record, Post) else None
