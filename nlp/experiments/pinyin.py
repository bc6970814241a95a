"""Homophones by pypinyin, whose readings of single characters are the usual ones."""

from __future__ import annotations

from functools import lru_cache

from pypinyin import Style, lazy_pinyin

from nlp.experiments.characters import common, homophones


@lru_cache(maxsize=1)
def common_homophones() -> dict[str, str]:
    """Each common character with the common characters of the same syllable, whatever the tone."""
    return homophones(_syllable, common())


def _syllable(character: str) -> str:
    [found] = lazy_pinyin(character, style=Style.NORMAL)
    return "" if found == character else str(found)
