"""When a micro-batch is cut: a pure policy over what has been gathered so far."""

from __future__ import annotations

import msgspec


class BatchLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch is cut as soon as one of these is reached; ``wait_s_max`` counts from its first record."""

    batch_posts_max: int = 64
    batch_bytes_max: int = 16_000_000
    batch_wait_s_max: float = 0.2


def should_cut(posts: int, size_bytes: int, waited_s: float, limits: BatchLimits) -> bool:
    """Whether a batch of ``posts`` records and ``size_bytes`` bytes, begun ``waited_s`` ago, goes now.

    An empty batch never does; a single record that is too large alone does at once.
    """
    if posts == 0:
        return False
    return (
        posts >= limits.batch_posts_max or size_bytes >= limits.batch_bytes_max or waited_s >= limits.batch_wait_s_max
    )
