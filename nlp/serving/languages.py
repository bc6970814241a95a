"""Two models, one for English: each post goes to the one for its language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from nlp.evaluate import NamedTagger
from stream.contract.ports import TagInput
from stream.contract.records import Span

HAN_SHARE_MAX: Final = 0.1
LATIN_SHARE_MIN: Final = 0.5

_LINK: Final = re.compile(r"https?://\S+")


def is_english(text: str) -> bool:
    """Whether the letters of ``text``, links apart, are mostly Latin and hardly any of them Han.

    At most ``HAN_SHARE_MAX`` of them are Han and more than ``LATIN_SHARE_MIN`` Latin; a text without letters is not
    English. Chinese posts are full of Latin names, and a Han character says more than a Latin letter: hence the small
    share.
    """
    letters = [letter for letter in _LINK.sub(" ", text) if letter.isalpha()]
    names = [unicodedata.name(letter, "") for letter in letters]
    han = sum(name.startswith("CJK") for name in names)
    latin = sum(name.startswith(("LATIN", "FULLWIDTH LATIN")) for name in names)
    return latin > LATIN_SHARE_MIN * len(letters) and han <= HAN_SHARE_MAX * len(letters)


class Split(NamedTuple):
    """Posts by language: the numbers of each part, and what its tagger has made of them."""

    size: int
    parts: list[tuple[NamedTagger, list[int], Any]]


class LanguageTagger:
    """``main`` for most posts, ``english`` for those in English. Each span has the version of the model it is from."""

    def __init__(self, main: NamedTagger, english: NamedTagger) -> None:
        self._main = main
        self._english = english
        self.model_version = f"{main.model_version}+{english.model_version}"
        self.names = main.names | english.names

    def prepare(self, posts: Sequence[TagInput]) -> Split:
        """Each language's share, as its tagger prepares it."""
        english = [number for number, post in enumerate(posts) if is_english(post.text)]
        others = sorted(set(range(len(posts))).difference(english))
        return Split(
            len(posts),
            [
                (tagger, numbers, tagger.prepare([posts[number] for number in numbers]))
                for tagger, numbers in ((self._main, others), (self._english, english))
                if numbers
            ],
        )

    def infer(self, prepared: Split) -> list[Any]:
        """What each tagger infers."""
        return [tagger.infer(part) for tagger, _, part in prepared.parts]

    def decode(self, prepared: Split, scores: list[Any]) -> list[list[Span]]:
        """Spans per post."""
        found: list[list[Span]] = [[] for _ in range(prepared.size)]
        for (tagger, numbers, part), score in zip(prepared.parts, scores, strict=True):
            for number, spans in zip(numbers, tagger.decode(part, score), strict=True):
                found[number] = [msgspec.structs.replace(span, model_version=tagger.model_version) for span in spans]
        return found
