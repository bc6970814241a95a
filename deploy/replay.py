"""Dead letters, tried again: what can be used now becomes a record of the log, the rest stays where it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy import wiring
from deploy.settings import Settings
from ingest.privacy import hmac_pseudonym
from ingest.sources import parse_again
from stream.contract import codec
from stream.contract.records import Record, Reject


def tried_again(rejects: Sequence[Reject], settings: Settings, directory: Path) -> list[Record]:
    """Records of the dead letters that can be used now, under the settings in force now."""
    pseudonym = hmac_pseudonym(wiring.author_key(settings, directory))
    found: list[Record] = []
    for reject in rejects:
        record = _record(reject) or parse_again(
            reject, edge=settings.edge, pseudonym=pseudonym, now_ms=wiring.now_ms
        )
        if not isinstance(record, Reject):
            found.append(record)
    return found


def _record(reject: Reject) -> Record | None:
    """The record that the raw bytes of a reject are, where they come from the log and not from a source."""
    try:
        return codec.decode(reject.raw)
    except codec.CodecError:
        return None
