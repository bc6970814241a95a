"""From a text to the tokens that a model reads, and where in the text each of them stands.

Any text is taken. Places are code points. A long text is read in windows that overlap; what the model says of a window
is cut in the middle of each overlap and joined, so that nothing of the text is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.encode import PAD, UNKNOWN, codes_of, text_of
from nlp.labels import Chunk

Ints = NDArray[np.int64]

Split = Literal["char", "space", "word"]
"""Where a token may begin: at every code point, behind white space, or at every word, Han character and mark."""
Normal = Literal["fold", "aca"]

FIRST: Final = 0
"""Role of a token that is labelled and scored: a character, a word, or the first piece of a word …"""
REST: Final = 1
"""… of a further piece of the word before it …"""
BEGIN: Final = 2
END: Final = 3
"""… and of ``[CLS]`` and ``[SEP]``."""

PIECE_LABEL: Final = "X"
BEGIN_LABEL: Final = "[CLS]"
END_LABEL: Final = "[SEP]"
"""Labels of roles that are not scored, where a model has them (UMT does; docs/models.md)."""
CACHED_WORDS_MAX: Final = 50_000

_HAN: Final = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SPACED: Final = re.compile(r"\S+")
_WORDS: Final = re.compile(rf"https?://\S+|[{_HAN}]|[@#]?(?:(?![{_HAN}])\w)+(?:['’.&\-](?:(?![{_HAN}])\w)+)*|\S")
_NUMBER: Final = re.compile(r"[+-]?\d[\d.,:]*%?")
_URL: Final = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)


class Coded(msgspec.Struct, frozen=True, kw_only=True):
    """A text of S tokens: ids (S,), characters of each (S, W) or None, places [start, end) (S,) and roles (S,).

    A piece of a word has the place of its word; ``[CLS]`` and ``[SEP]`` have (-1, -1).
    """

    ids: Ints
    starts: Ints
    ends: Ints
    roles: Ints
    chars: Ints | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, places: Ints) -> Coded:
        """The tokens at ``places``."""
        chars = None if self.chars is None else self.chars[places]
        return Coded(
            ids=self.ids[places],
            starts=self.starts[places],
            ends=self.ends[places],
            roles=self.roles[places],
            chars=chars,
        )


class Window(msgspec.Struct, frozen=True):
    """Tokens ``places`` (w,) of a text, read at once; those in ``[left, right)`` of the window are its own.

    The own parts of a text's windows, one after another, are the text.
    """

    places: Ints
    left: int
    right: int


class Coder(Protocol):
    """Turns texts into tokens. Safe to use from several threads."""

    sizes: tuple[int, int]
    """How many token ids and how many character ids there are; 0 characters where tokens have none."""
    tokens_max: int
    """Longest window, ``[CLS]`` and ``[SEP]`` included."""
    pieces: bool
    """Whether words may have several tokens."""

    def code(self, text: str) -> Coded:
        """The tokens of a text."""

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what ``load_coder`` needs: files into ``folder``, and the rest as the returned value."""


class TokenVocabulary(msgspec.Struct, frozen=True):
    """Tokens and characters in the order of their ids, which begin behind padding and unknown."""

    tokens: tuple[str, ...]
    chars: tuple[str, ...] = ()

    def with_more(self, tokens: Iterable[str], chars: Iterable[str] = ()) -> TokenVocabulary:
        """The same ids, and new ones behind them for what is not known yet."""
        return TokenVocabulary(
            tuple(dict.fromkeys([*self.tokens, *tokens])), tuple(dict.fromkeys([*self.chars, *chars]))
        )


class Coding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """How texts are cut: where a token may begin, and how many tokens are read at once."""

    split: Split = "char"
    tokens_max: int = 512

    def __post_init__(self) -> None:
        if not 8 <= self.tokens_max <= 65_536:
            raise ValueError("tokens_max must be from 8 to 65536")


class TokenCoding(Coding, frozen=True, kw_only=True, tag="tokens"):
    """Tokens that a model learns vectors of, when they are there ``count_min`` times in the training texts.

    ``normal``: NFKC and lower case, characters of a token as they are written (``fold``); or as ACA's reference does,
    for tokens and their characters (``aca``). ``chars``: how many characters of a token are read.
    """

    normal: Normal = "fold"
    chars: int = 0
    count_min: int = 1
    tokens_max: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.chars <= 256 or self.count_min < 1:
            raise ValueError("chars must be from 0 to 256, count_min at least 1")


class PieceCoding(Coding, frozen=True, kw_only=True, tag="pieces"):
    """Pieces of words, for a pretrained encoder and its tokenizer."""

    split: Split = "word"


class Tokenizer(Protocol):
    """What of a tokenizer of transformers is used."""

    cls_token_id: int
    sep_token_id: int
    unk_token_id: int

    def tokenize(self, text: str) -> list[str]:
        """Pieces of a text."""

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        """Their ids."""

    def save_pretrained(self, folder: str) -> Any:
        """Write the tokenizer's files."""

    def __len__(self) -> int: ...


class TokenCoder:
    """A vocabulary over characters or words."""

    pieces = False

    def __init__(self, coding: TokenCoding, vocabulary: TokenVocabulary) -> None:
        self.coding = coding
        self.vocabulary = vocabulary
        self.tokens_max = coding.tokens_max
        first = UNKNOWN + 1
        self._tokens = {token: number for number, token in enumerate(vocabulary.tokens, start=first)}
        self._chars = {char: number for number, char in enumerate(vocabulary.chars, start=first)}
        self.sizes = (first + len(self._tokens), first + len(self._chars) if coding.chars else 0)

    def code(self, text: str) -> Coded:
        """The tokens of a text."""
        places = cut(text, self.coding.split)
        words = [text[start:end] for start, end in places]
        forms = forms_of(text, places, self.coding.normal)
        return Coded(
            ids=np.array([self._tokens.get(form, UNKNOWN) for form in forms], dtype=np.int64),
            starts=np.array([start for start, _ in places], dtype=np.int64),
            ends=np.array([end for _, end in places], dtype=np.int64),
            roles=np.full(len(places), FIRST, dtype=np.int64),
            chars=self._characters(words, forms) if self.coding.chars else None,
        )

    def _characters(self, words: Sequence[str], forms: Sequence[str]) -> Ints:
        width = self.coding.chars
        found = np.full((len(words), width), PAD, dtype=np.int64)
        for row, spelled in enumerate(words if self.coding.normal == "fold" else forms):
            held = [self._chars.get(char, UNKNOWN) for char in spelled[:width]]
            found[row, : len(held)] = held
        return found

    def limited(self, tokens_max: int) -> TokenCoder:
        """The same with windows of at most so many tokens."""
        return TokenCoder(_limited(self.coding, tokens_max), self.vocabulary)

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes ``vocabulary.json``."""
        (folder / VOCABULARY).write_bytes(msgspec.json.encode(self.vocabulary))
        found: dict[str, Any] = msgspec.to_builtins(self.coding)
        return found


C = TypeVar("C", bound=Coding)


def _limited(coding: C, tokens_max: int) -> C:
    return msgspec.structs.replace(coding, tokens_max=min(coding.tokens_max, tokens_max))


VOCABULARY: Final = "vocabulary.json"
TOKENIZER: Final = "tokenizer"


class PieceCoder:
    """Pieces of a tokenizer between ``[CLS]`` and ``[SEP]``; each word is cut by itself."""

    pieces = True

    def __init__(self, coding: PieceCoding, tokenizer: Tokenizer) -> None:
        self.coding = coding
        self.tokens_max = coding.tokens_max
        self.sizes = (len(tokenizer), 0)
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def code(self, text: str) -> Coded:
        """The tokens of a text."""
        ids, starts, ends = [self._tokenizer.cls_token_id], [-1], [-1]
        roles = [BEGIN]
        for start, end in cut(text, self.coding.split):
            spaced = start > 0 and text[start - 1].isspace()
            found = self._pieces((" " if spaced else "") + text[start:end])
            ids += found
            starts += [start] * len(found)
            ends += [end] * len(found)
            roles += [FIRST] + [REST] * (len(found) - 1)
        columns = ([*ids, self._tokenizer.sep_token_id], [*starts, -1], [*ends, -1], [*roles, END])
        ids_, starts_, ends_, roles_ = (np.array(column, dtype=np.int64) for column in columns)
        return Coded(ids=ids_, starts=starts_, ends=ends_, roles=roles_)

    def _pieces(self, word: str) -> list[int]:
        """Ids of a word's pieces, at least one. Byte-level tokenizers want the space before a word, others drop it."""
        found = self._known.get(word)
        if found is None:
            pieces = self._tokenizer.tokenize(word.encode("utf-8", "replace").decode())
            if not word.startswith(" ") and len(pieces) > 1 and pieces[0] == "▁":
                pieces = pieces[1:]  # SentencePiece puts a space before what has none in the text
            ids = self._tokenizer.convert_tokens_to_ids(pieces)
            found = ids or [self._tokenizer.unk_token_id]
            if len(self._known) >= CACHED_WORDS_MAX:
                self._known.clear()
            self._known[word] = found
        return found

    def limited(self, tokens_max: int) -> PieceCoder:
        """The same with windows of at most so many tokens."""
        return PieceCoder(_limited(self.coding, tokens_max), self._tokenizer)

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes the tokenizer's files into a folder of their own."""
        self._tokenizer.save_pretrained(str(folder / TOKENIZER))
        found: dict[str, Any] = msgspec.to_builtins(self.coding)
        return found


def load_coder(
    folder: Path, coding: TokenCoding | PieceCoding, tokenizer: Callable[[Path], Tokenizer]
) -> TokenCoder | PieceCoder:
    """The coder that was saved; ``tokenizer`` loads one from its folder. Raises ``OSError``, ``ValueError``."""
    if isinstance(coding, PieceCoding):
        return PieceCoder(coding, tokenizer(folder / TOKENIZER))
    vocabulary = msgspec.json.decode((folder / VOCABULARY).read_bytes(), type=TokenVocabulary)
    return TokenCoder(coding, vocabulary)


NOTHING_KNOWN: Final = TokenVocabulary(())


def vocabulary_of(texts: Iterable[str], coding: TokenCoding, known: TokenVocabulary = NOTHING_KNOWN) -> TokenVocabulary:
    """What is ``known``, then tokens and characters of texts, the frequent first (ACA's reference orders them so)."""
    tokens: dict[str, int] = {}
    chars: dict[str, int] = {}
    for text in texts:
        places = cut(text, coding.split)
        for (start, end), form in zip(places, forms_of(text, places, coding.normal), strict=True):
            tokens[form] = tokens.get(form, 0) + 1
            for char in form if coding.normal == "aca" else text[start:end]:
                chars[char] = chars.get(char, 0) + 1
    new = _frequent(tokens, coding.count_min), _frequent(chars, coding.count_min) if coding.chars else []
    return known.with_more(*new)


def _frequent(counts: dict[str, int], least: int) -> list[str]:
    """The most frequent first, ties in order of their code points; a file cannot keep lone surrogates."""
    kept = [name for name, count in counts.items() if count >= least and not _SURROGATE.search(name)]
    return sorted(kept, key=lambda name: (-counts[name], name))


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def cut(text: str, split: Split) -> list[tuple[int, int]]:
    """Places of the tokens of a text. Only ``char`` makes tokens of white space."""
    if split == "char":
        return [(place, place + 1) for place in range(len(text))]
    return [match.span() for match in (_SPACED if split == "space" else _WORDS).finditer(text)]


def forms_of(text: str, places: Sequence[tuple[int, int]], normal: Normal) -> list[str]:
    """What the token at each place is looked up by."""
    if normal == "aca":
        return [_aca_form(text[start:end]) for start, end in places]
    folded = text_of(codes_of(text))
    return [folded[start:end] for start, end in places]


def _aca_form(word: str) -> str:
    if _NUMBER.fullmatch(word):
        return "<number>"
    if _URL.fullmatch(word):
        return "<url>"
    return (word[1:] if len(word) > 1 and word[0] in "#@" else word).lower()


def windows(coded: Coded, tokens_max: int, overlap: int) -> Iterator[Window]:
    """The windows of a text, one if it is short enough. ``overlap`` tokens stand in two windows.

    Each window of a text with ``[CLS]`` and ``[SEP]`` has both. A window begins and its own part ends before a word,
    never inside it, unless the word fills half of a window.
    """
    size = len(coded)
    if size <= tokens_max:
        yield Window(np.arange(size), 0, size)
        return
    edges = int(coded.roles[0] == BEGIN)
    room = tokens_max - 2 * edges
    overlap, back_max = min(overlap, room // 4), room // 2
    first, last = edges, size - edges
    start = own = first
    while True:
        stop = min(start + room, last)
        following = _word_start(coded, stop - overlap, back_max)
        own_end = last if stop == last else _word_start(coded, stop - overlap // 2, back_max)
        inner = np.arange(start, stop)
        places = np.concatenate([np.arange(edges), inner, np.arange(size - edges, size)])
        begin = 0 if own == first else edges + own - start
        end = len(places) if stop == last else edges + own_end - start
        yield Window(places, begin, end)
        if stop == last:
            return
        start, own = following, own_end


def _word_start(coded: Coded, place: int, back_max: int) -> int:
    """The last place up to ``place`` where a word begins, or ``place`` when it is farther away than ``back_max``."""
    back = np.flatnonzero(coded.roles[place - back_max : place + 1] == FIRST)
    return place - back_max + int(back[-1]) if len(back) else place


def labels_of(coded: Coded, entities: Sequence[Chunk], labels: Sequence[str]) -> Ints:
    """Label id of each token (S,), given the entities of its text.

    A token belongs to the first entity that shares a code point with it. Where ``labels`` have no ``X``, further pieces
    go on with the entity of their word; where they have no ``[CLS]`` and ``[SEP]``, these are ``O``.
    """
    ids = {label: number for number, label in enumerate(labels)}
    found = np.full(len(coded), ids["O"], dtype=np.int64)
    free = coded.roles <= REST
    for entity in entities:
        held = np.flatnonzero(free & (coded.starts < entity.end) & (coded.ends > entity.start))
        if len(held):
            found[held] = ids[f"I-{entity.type}"]
            found[held[0]] = ids[f"B-{entity.type}"]
            free[held] = False
    for role, label in ((REST, PIECE_LABEL), (BEGIN, BEGIN_LABEL), (END, END_LABEL)):
        if label in ids:
            found[coded.roles == role] = ids[label]
    return found
