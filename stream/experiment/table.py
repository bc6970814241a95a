"""Posts as columns: millions of them fit into memory, and days can be exchanged by arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
NONE: Final = -1


class Table(NamedTuple):
    """One row a post, in the order in which the log has them (``arrived_ms``).

    ``number`` is the post's id, ``root`` that of the post it passes on or −1; ``entity`` and ``second`` (−1 for none)
    are places in the list of names, ``author`` one of an account, ``text`` a place in the list of texts.
    """

    arrived_ms: Ints
    created_ms: Ints
    number: Ints
    root: Ints
    entity: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    author: npt.NDArray[np.int32]
    text: npt.NDArray[np.int32]
    likes: npt.NDArray[np.int32]

    @property
    def rows(self) -> int:
        """How many posts there are."""
        return len(self.number)

    def of(self, rows: Any) -> Table:
        """The rows that an index, a mask or a slice chooses."""
        return Table(*(column[rows] for column in self))

    def ordered(self) -> Table:
        """The same in the order of arrival; posts of one moment by their number."""
        return self.of(np.lexsort((self.number, self.arrived_ms)))


def table(created_ms: Ints, entity: npt.NDArray[Any], **columns: Any) -> Table:
    """Rows with what is not named left at: a post of its own, alone, by account 0, arriving as it is written."""
    count = len(created_ms)
    usual: dict[str, Any] = {
        "arrived_ms": created_ms, "number": np.arange(count), "root": np.full(count, NONE),
        "second": np.full(count, NONE), "author": np.zeros(count), "text": np.zeros(count), "likes": np.zeros(count),
    }  # fmt: skip
    every = {**usual, "created_ms": created_ms, "entity": entity, **columns}
    wide = {"arrived_ms", "created_ms", "number", "root"}
    typed: dict[str, Any] = {
        name: np.asarray(every[name], dtype=np.int64 if name in wide else np.int32) for name in Table._fields
    }
    return Table(**typed)


def joined(tables: Sequence[Table]) -> Table:
    """All rows in the order of arrival."""
    return Table(*(np.concatenate(columns) for columns in zip(*tables, strict=True))).ordered()


def alone(posts: Table) -> Table:
    """A post with two names as two posts with one each, the second with a number of its own."""
    more = posts.of(posts.second != NONE)
    first = posts.number.max(initial=-1) + 1
    own = more._replace(entity=more.second, number=first + np.arange(more.rows))
    both = joined([posts, own])
    return both._replace(second=np.full(both.rows, NONE, dtype=np.int32))
