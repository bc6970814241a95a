"""What a Track partition remembers of one bin: posts and (entity, post) pairs, to know duplicates, and its entities.

A bin may hold hundreds of thousands of them, and every batch adds some. Kept as one row, each batch would copy and
store all of it again; so the row is *sealed* into parts that never change, and only the newest part is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stream.core.rows import BinRow, bin_key, part_key


class Bin:
    """The bin that starts at ``bin_ms``, for one batch: it may be added to, and its rows are left as they are."""

    def __init__(self, bin_ms: int, row: BinRow, sealed: tuple[BinRow, ...]) -> None:
        self._bin_ms = bin_ms
        self._sealed = sealed
        self._posts = set(row.posts)
        self._pairs = set(row.pairs)
        self._keys = dict(row.keys)
        self._models = dict(row.models)

    @classmethod
    def of(cls, states: Mapping[str, Any], bin_ms: int) -> Bin | None:
        """The bin as it is stored, None when there is none."""
        row: BinRow | None = states.get(bin_key(bin_ms))
        if row is None:
            return None
        # A part may be missing where a process was killed while it dropped the bin.
        parts = (states.get(part_key(bin_ms, number)) or BinRow() for number in range(row.sealed))
        return cls(bin_ms, row, tuple(parts))

    @classmethod
    def new(cls, bin_ms: int) -> Bin:
        """An empty one."""
        return cls(bin_ms, BinRow(), ())

    @property
    def posts(self) -> int:
        """How many different posts there are."""
        return len(self._posts) + sum(len(part.posts) for part in self._sealed)

    @property
    def keys(self) -> set[str]:
        """The entities with sightings."""
        return set(self._keys).union(*(part.keys for part in self._sealed))

    @property
    def models(self) -> dict[str, tuple[int, int]]:
        """Version of the model → posts, and those of them without an entity."""
        found: dict[str, tuple[int, int]] = {}
        for models in (self._models, *(part.models for part in self._sealed)):
            for version, (posts, bare) in models.items():
                before = found.get(version, (0, 0))
                found[version] = before[0] + posts, before[1] + bare
        return found

    def add_post(self, post: int, model_version: str = "", bare: bool = False) -> bool:
        """Remember a post, which this model found to have entities or none; False when it is known."""
        if post in self._posts:
            return False
        for part in self._sealed:
            if post in part.posts:
                return False
        self._posts.add(post)
        posts, without = self._models.get(model_version, (0, 0))
        self._models[model_version] = posts + 1, without + bare
        return True

    def has_pair(self, pair: int) -> bool:
        """Whether this (entity, post) was counted."""
        return pair in self._pairs or any(pair in part.pairs for part in self._sealed)

    def add_pair(self, pair: int, entity: str) -> bool:
        """Remember that (entity, post) was counted; False when it is known."""
        if pair in self._pairs:
            return False
        for part in self._sealed:
            if pair in part.pairs:
                return False
        self._pairs.add(pair)
        self._keys[entity] = True
        return True

    def writes(self, hashes_max: int) -> dict[str, BinRow | None]:
        """Rows to write, in this order: a part is stored before the row that speaks of it.

        A part with ``hashes_max`` hashes is sealed.
        """
        last = BinRow(self._posts, self._pairs, self._keys, len(self._sealed), self._models)
        if len(self._posts) + len(self._pairs) < hashes_max:
            return {bin_key(self._bin_ms): last}
        return {
            part_key(self._bin_ms, len(self._sealed)): last,
            bin_key(self._bin_ms): BinRow(sealed=len(self._sealed) + 1),
        }

    def drops(self) -> dict[str, BinRow | None]:
        """What removes it, in this order."""
        keys = [part_key(self._bin_ms, number) for number in range(len(self._sealed))]
        return dict.fromkeys([*keys, bin_key(self._bin_ms)])


def rows_with(
    bin_ms: int, whole: BinRow, hashes_max: int
) -> Iterator[tuple[str, BinRow]]:
    """The rows of a bin that holds all of ``whole``, in parts of at most twice ``hashes_max`` hashes, parts first."""
    of_posts, of_pairs = sorted(whole.posts), sorted(whole.pairs)
    count = -(-max(len(of_posts), len(of_pairs)) // hashes_max)
    for number in range(count):
        part = slice(number * hashes_max, (number + 1) * hashes_max)
        yield part_key(bin_ms, number), BinRow(set(of_posts[part]), set(of_pairs[part]))
    yield bin_key(bin_ms), BinRow(keys=dict(whole.keys), sealed=count, models=whole.models)
