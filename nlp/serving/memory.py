"""Work in parts that fit the memory: a part that does not is halved, and later ones stay as small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog

from nlp.serving.settings import Count

_log = structlog.get_logger(__name__)
Item = TypeVar("Item")
Found = TypeVar("Found")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out: Python's, or one of torch's (of CUDA, or of the CPU's allocator)."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error).lower() for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


class Fitting(Generic[Item, Found]):
    """Does ``work`` on parts of at most ``size_max`` by ``size`` of each part, or on one item. Used by many threads.

    When memory runs out, ``relieve`` is called, the part is halved, and ``size_max`` with it. One item that does not
    fit by itself raises what was raised.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Found]],
        size: Callable[[Sequence[Item]], int],
        size_max: int,
        count: Count,
        relieve: Callable[[], None],
    ) -> None:
        self._work = work
        self._size = size
        self._count = count
        self._relieve = relieve
        self.size_max = size_max

    def parts(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """``items`` in their order, each part as large as fits."""
        found: list[Sequence[Item]] = []
        start = 0
        for end in range(1, len(items) + 1):
            if end - start > 1 and self._size(items[start:end]) > self.size_max:
                found.append(items[start : end - 1])
                start = end - 1
        return [*found, items[start:]] if start < len(items) else found

    def __call__(self, items: Sequence[Item]) -> list[Found]:
        """What ``work`` gives for each of ``items``."""
        return [found for part in self.parts(items) for found in self._halving(part)]

    def _halving(self, part: Sequence[Item]) -> list[Found]:
        try:
            return list(self._work(part))
        except (RuntimeError, MemoryError) as error:
            if len(part) == 1 or not is_out_of_memory(error):
                raise
            size = self._size(part)
        self._relieve()
        self.size_max = max(1, min(self.size_max, size // 2))
        self._count("out_of_memory")
        _log.warning("out_of_memory", items=len(part), size=size, size_max=self.size_max)
        middle = len(part) // 2
        return self._halving(part[:middle]) + self._halving(part[middle:])
