"""Readers of tagged text: CMNER (``WID:`` blocks), CoNLL (with or without ``IMGID:``), Weibo NER (char + digit)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

_HEADER = re.compile(r"(?:WID|IMGID):(\S*)$")
_TAG = re.compile(r"O|[BI]-\S+$")
_NUMBERED = re.compile(r"(.)\d+$", re.DOTALL)
_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")


class DatasetError(ValueError):
    """A file is not of a format that is known; the message names file and line."""


class Example(msgspec.Struct, frozen=True):
    """One post: ``tokens`` (characters in Chinese sets) with a BIO tag each."""

    id: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def text(self) -> str:
        """The text as the tagger reads it; each token is kept, words are set apart by a space."""
        return self.joiner.join(self.tokens)

    @property
    def joiner(self) -> str:
        """Nothing between characters, a space between words."""
        return "" if all(len(token) == 1 for token in self.tokens) else " "

    def char_tags(self) -> list[str]:
        """A tag per code point of ``text``; a space inside an entity belongs to it."""
        tags: list[str] = []
        for token, tag in zip(self.tokens, self.tags, strict=True):
            inside = "I-" + tag[2:] if tag != "O" else "O"
            if tags and self.joiner:
                tags.append(inside if tag.startswith("I-") else "O")
            tags += [tag] + [inside] * (len(token) - 1)
        return tags


def read(path: Path) -> list[Example]:
    """All examples of a file. Raises ``DatasetError`` with file and line, and ``OSError``."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8: {error}") from error
    examples = [_example(path, number, block) for number, block in _blocks(lines)]
    if not examples:
        raise DatasetError(f"{path}: no examples; expected lines of token, tab, tag")
    return _without_numbers(examples)


def digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _blocks(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, lines) of each block between blank lines or headers."""
    block: list[str] = []
    start = 1
    for number, line in enumerate([*lines, ""], start=1):
        line = line.rstrip("\r")
        if not line.strip("\t ") or (_HEADER.match(line) and block):
            if any(not _HEADER.match(row) for row in block):
                yield start, block
            block = []
        if line.strip("\t "):
            if not block:
                start = number
            block.append(line)


def _example(path: Path, first: int, block: list[str]) -> Example:
    found = _HEADER.match(block[0])
    rows = block[1:] if found else block
    tokens, tags = [], []
    for number, row in enumerate(rows, start=first + bool(found)):
        token, tab, tag = row.rpartition("\t") if "\t" in row else row.rpartition(" ")
        if not tab or not token or not _TAG.match(tag):
            raise DatasetError(f"{path}:{number}: expected token, tab, BIO tag; found {row[:60]!r}")
        tokens.append(token)
        tags.append(tag)
    return Example(found[1] if found else str(first), tuple(tokens), tuple(tags))


def _without_numbers(examples: list[Example]) -> list[Example]:
    """Weibo NER writes the place in the word behind each character; drop it where every token looks so."""
    tokens = [token for example in examples for token in example.tokens]
    if not all(_NUMBERED.match(token) for token in tokens) or not any(_HAN.match(token) for token in tokens):
        return examples
    return [
        msgspec.structs.replace(example, tokens=tuple(token[0] for token in example.tokens)) for example in examples
    ]
