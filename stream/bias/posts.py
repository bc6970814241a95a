"""The posts of a range as columns, for sums over popularity, time, authors and entities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from stream.bias.growth import Curve, Snapshot
from stream.bias.strata import HOUR_MS, Place, popularity
from stream.contract.records import IMAGE, Counts, Document, Observation
from stream.core.enrich import WEIGHT_UNIT, popularity_weight

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_NO_COUNTS: Final = Counts()


class Posts(msgspec.Struct, frozen=True):
    """Posts, and their mentions: one row per post and entity, however often the post names it.

    Of posts: ``created_ms``; ``popularity`` as it was shown last (NaN: never) and ``final``, what it comes to (NaN also
    where a post is too ``young`` to say); ``weight`` (1 to 2), ``author`` (code; an unknown author is one of its own),
    ``author_known``, ``hour`` of the local day, ``entities`` found in it. Of mentions: ``post``, ``entity`` and
    ``type`` (codes), ``image_only``. ``names`` and ``types`` are behind the codes.
    """

    created_ms: Integers
    local_ms: Integers
    hour: Integers
    popularity: Floats
    final: Floats
    weight: Floats
    author: Integers
    author_known: npt.NDArray[np.bool_]
    entities: Integers
    young: npt.NDArray[np.bool_]
    post: Integers
    entity: Integers
    type: Integers
    image_only: npt.NDArray[np.bool_]
    names: list[str]
    types: list[str]

    def place(self, mention: int) -> Place:
        """The stratum of a mention."""
        post = int(self.post[mention])
        shown = float(self.popularity[post])
        return Place(
            self.types[int(self.type[mention])], None if np.isnan(shown) else shown, int(self.hour[post]),
            int(self.local_ms[post]), bool(self.image_only[mention]),
        )  # fmt: skip


class Codes:
    """Numbers for names, in the order in which they turn up."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes: dict[str, int] = {}

    def known(self, name: str) -> int | None:
        """The number of ``name``, None where it has none."""
        return self._codes.get(name)

    def of(self, name: str) -> int:
        """The number of ``name``, a new one where it has none."""
        code = self._codes.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        return code


class Gathering:
    """Takes documents and what was seen of their posts later, and gives columns. Documents themselves are not kept."""

    def __init__(self) -> None:
        self._posts: list[tuple[int, int, bool, int, int]] = []
        self._mentions: list[tuple[int, int, int, bool]] = []
        self._entities, self._types, self._authors, self._ids = Codes(), Codes(), Codes(), Codes()
        self.snapshots: dict[str, list[Snapshot]] = {}

    def __len__(self) -> int:
        return len(self._posts)

    def add(self, documents: Iterable[Document]) -> None:
        """Take documents; one of a post that is there is left out."""
        for document in documents:
            post = document.post
            if self._ids.known(post.id) is not None:
                continue
            found: dict[str, bool] = {}
            for mention in document.mentions:
                found[mention.entity] = found.get(mention.entity, True) and mention.provenance == IMAGE
            place = self._ids.of(post.id)
            author = self._authors.of(post.author if post.author_known else f"\x00{post.id}")
            weight = popularity_weight(post.counts or _NO_COUNTS)
            self._posts.append((post.created_ms, author, post.author_known, len(found), weight))
            self._mentions += [
                (place, self._entities.of(entity), self._types.of(entity.partition("/")[0]), image)
                for entity, image in found.items()
            ]
            if post.counts is not None:
                self._saw(post.id, post.observed_ms - post.created_ms, post.counts)

    def see(self, observations: Iterable[Observation]) -> None:
        """Take later looks at posts that were added before."""
        for seen in observations:
            place = self._ids.known(seen.post_id)
            if seen.counts is not None and place is not None:
                self._saw(seen.post_id, seen.observed_ms - self._posts[place][0], seen.counts)

    def _saw(self, post_id: str, age_ms: int, counts: Counts) -> None:
        self.snapshots.setdefault(post_id, []).append((max(age_ms, 0), popularity(counts) or 0.0))

    def columns(self, utc_offset_ms: int, growth: Curve) -> Posts:
        """Everything as columns. Without a ``growth`` curve, what was shown last is taken for final."""
        rows = np.array(self._posts, dtype=np.int64).reshape(-1, 5)
        mentions = np.array(self._mentions, dtype=np.int64).reshape(-1, 4)
        local = rows[:, 0] + utc_offset_ms
        shown, final = self._popularities(growth)
        return Posts(
            rows[:, 0], local, local // HOUR_MS % 24, shown, final, rows[:, 4] / WEIGHT_UNIT, rows[:, 1],
            rows[:, 2].astype(np.bool_), rows[:, 3], ~np.isnan(shown) & np.isnan(final),
            mentions[:, 0], mentions[:, 1], mentions[:, 2], mentions[:, 3].astype(np.bool_),
            self._entities.names, self._types.names,
        )  # fmt: skip

    def _popularities(self, growth: Curve) -> tuple[Floats, Floats]:
        shown, final = np.full(len(self._posts), np.nan), np.full(len(self._posts), np.nan)
        for post_id, seen in self.snapshots.items():
            place = self._ids.of(post_id)
            age_ms, count = max(seen)[0], max(count for _, count in seen)
            shown[place] = final[place] = count
            if growth.points:
                grown = growth.final(count, age_ms)
                final[place] = np.nan if grown is None else grown
        return shown, final
