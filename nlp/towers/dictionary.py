"""The dictionary that the default model reads: jieba's (MIT), which ``pip install jieba`` brings; read, not run."""

from __future__ import annotations

import functools
import importlib.util
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from nlp.encode import codes_of, text_of
from nlp.lexicon import Word, step_of

TYPES: Final = {"nr": "PER", "nrt": "PER", "nrfg": "PER", "ns": "LOC", "nt": "ORG", "nz": "MISC"}
"""Entity type of the part-of-speech tags of names."""


@functools.cache
def words() -> Mapping[str, Word]:
    """Normalised words with tag and frequency; read once, as reading takes seconds.

    Raises ``ModuleNotFoundError``, which says what to install.
    """
    found = importlib.util.find_spec("jieba")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("training reads jieba's dictionary: pip install 'weibowatch[train]'", name="jieba")
    lines = (Path(found.origin).parent / "dict.txt").read_text(encoding="utf-8").splitlines()
    rows = (line.split(" ") for line in lines)
    return MappingProxyType({text_of(codes_of(word)): Word(tag, step_of(int(count))) for word, count, tag in rows})


def frequent_chars(words: Iterable[str], count_min: int) -> set[str]:
    """Characters that stand in at least ``count_min`` words."""
    counts = Counter(char for word in words for char in set(word))
    return {char for char, count in counts.items() if count >= count_min}


def names(
    words: Mapping[str, Word], types: Iterable[str], called: Mapping[str, str] | None = None
) -> dict[str, dict[str, Word]]:
    """Names of two to eight characters by entity type, for those of ``types`` that the dictionary knows.

    ``called`` gives the data's word for a type, where it has another one.
    """
    known = set(types)
    type_of = {tag: (called or {}).get(type_, type_) for tag, type_ in TYPES.items()}
    found: dict[str, dict[str, Word]] = {}
    for word, entry in words.items():
        type_ = type_of.get(entry.tag, "")
        if type_ in known and 2 <= len(word) <= 8:
            found.setdefault(type_, {})[word] = entry
    return found
