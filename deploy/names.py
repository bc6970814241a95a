"""Names of entities as people write them in files of rules, aliases and labels."""

from __future__ import annotations

from collections.abc import Callable

from stream.core.entities import entity_id, raw_key, split_id


def named(written: str, t2s: Callable[[str], str], untyped: str = "") -> str:
    """``PER/张三`` or ``张三`` as it stands in ids and keys, in the form in which ``t2s`` brings those of posts.

    A name without a type is a bare key, or an id of the type ``untyped`` where that is given.
    """
    kind, key = split_id(written)
    if key and kind.isupper():
        return entity_id(kind, raw_key(key, t2s=t2s))
    bare = raw_key(written, t2s=t2s)
    return entity_id(untyped, bare) if untyped else bare
