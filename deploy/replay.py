"""Dead letters, tried again: what can be used now becomes a record of the log, the rest stays where it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from deploy import wiring
from deploy.settings import Settings
from index.reading import Reader
from ingest.privacy import hmac_pseudonym
from ingest.sources import parse_again
from stream.contract import codec
from stream.contract.records import Post, Record, Reject

OURS = frozenset({"tagger_failed", "bad_record"})
"""Reasons of dead letters whose bytes are records of this program."""


HandOver = Callable[[Sequence[tuple[Record, Reject]]], object]
"""Takes usable records, each with the dead letter that goes once the record is in the log."""


def replay(
    reader: Reader, settings: Settings, directory: Path, hand_over: HandOver, reason: str | None, id: int | None
) -> dict[str, int]:
    """Try dead letters again under the settings in force now, all or some. Returns how many went and how many stay.

    ``directory`` holds the author key. Blocking. Raises what ``hand_over`` raises.
    """
    pseudonym = hmac_pseudonym(wiring.author_key(settings, directory))
    replayed = tried = 0
    for chosen in reader.rejects_for_replay(reason=reason, id=id):
        usable: list[tuple[Record, Reject]] = []
        for reject in chosen:
            record = _record(reject) or parse_again(
                reject, edge=settings.edge, pseudonym=pseudonym, now_ms=wiring.now_ms
            )
            if not isinstance(record, Reject):
                usable.append((record, reject))
        hand_over(usable)
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
