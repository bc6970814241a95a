"""Places of sources as they are stored: JSON of a struct that is its own beginning."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from stream.contract.ports import SourceError

Place = TypeVar("Place", bound=msgspec.Struct)


def read_place(text: str | None, kind: type[Place], source: str) -> Place:
    """The place in ``text``, the beginning for None. Raises ``SourceError`` when nobody can read it."""
    try:
        return kind() if text is None else msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise SourceError(f"{source}: the stored place cannot be read ({error}); start a new store") from error
