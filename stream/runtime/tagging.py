"""Drive a tagger so that one bad post never costs the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import structlog

from stream.contract.ports import Tagger
from stream.contract.records import Span

CHARS_MAX: Final = 100_000
"""Characters in the tagger at once; features are a few hundred bytes each."""

_log = structlog.get_logger(__name__)


def groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """``texts`` in parts of at most ``CHARS_MAX`` characters or one text, so that long ones do not fill the memory."""
    start = size = 0
    for number, text in enumerate(texts):
        if number > start and size + len(text) > CHARS_MAX:
            yield texts[start:number]
            start, size = number, 0
        size += len(text)
    if start < len(texts):
        yield texts[start:]


def tag_isolating(tagger: Tagger, texts: Sequence[str]) -> list[list[Span] | None]:
    """Spans per text; None for a text that the tagger fails on even alone. Blocking.

    A failing batch is halved until the poison stands alone, so that n texts with one bad one cost O(log n) batches.
    """
    if not texts:
        return []
    try:
        prepared = tagger.prepare(texts)
        return list(tagger.decode(prepared, tagger.infer(prepared)))
    except Exception as error:
        if len(texts) == 1:
            _log.warning("tagger_failed", characters=len(texts[0]), error=repr(error))
            return [None]
    middle = len(texts) // 2
    return tag_isolating(tagger, texts[:middle]) + tag_isolating(tagger, texts[middle:])
