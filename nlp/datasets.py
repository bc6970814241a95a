"""Readers of tagged text: CMNER (``WID:`` blocks), CoNLL (with or without ``IMGID:``), Weibo NER (char + digit), JSONL.

The formats, and how posts find their pictures, are described in docs/data.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Final, NamedTuple

import msgspec

from nlp.labels import tags_of

_HEADER = re.compile(r"(WID|IMGID):(\S*)$")
_TAG = re.compile(r"O|[BI]-\S+$")
_NUMBERED = re.compile("(?:.|\ufffd+)[0-9]+$", re.DOTALL)
_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
_PICTURE_SUFFIXES: Final = frozenset([".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp"])


class DatasetError(ValueError):
    """A file is not of a format that is known; the message names file and line."""


class Example(msgspec.Struct, frozen=True):
    """One post: ``tokens`` (characters in Chinese sets) with a BIO tag each, and files of its ``pictures``.

    A picture that JSONL names need not be there, and one that is there need not be readable.
    """

    id: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    pictures: tuple[Path, ...] = ()

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
        joiner = self.joiner  # which looks at every token
        for token, tag in zip(self.tokens, self.tags, strict=True):
            inside = "I-" + tag[2:] if tag != "O" else "O"
            if tags and joiner:
                tags.append(inside if tag.startswith("I-") else "O")
            tags += [tag] + [inside] * (len(token) - 1)
        return tags


def read(path: Path, images: Path | None = None, types: Mapping[str, str] | None = None) -> list[Example]:
    """All examples of a file, with their pictures.

    ``images`` is the folder with the pictures. Without it, posts of text files have none, and names in JSONL are
    looked up beside the file. ``types`` renames entity types (``OTHER`` to ``MISC``); one renamed to ``O`` is no
    entity any more. Raises ``DatasetError`` with file and line, and ``OSError``.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8: {error}") from error
    if images is not None and not images.is_dir():
        raise DatasetError(f"{images}: no folder; name the one with the pictures")
    if path.suffix.lower() == ".jsonl":
        folder = path.parent if images is None else images
        examples = [_json_example(f"{path}:{n}", line, folder) for n, line in enumerate(lines, 1) if line.strip()]
        expected = 'lines like {"text": "...", "entities": [{"start": 0, "end": 2, "type": "PER"}]}'
    else:
        files = None if images is None else _PictureFiles.of(images)
        blocks = [_block_example(path, number, block, files) for number, block in _blocks(lines)]
        examples, expected = _without_numbers(blocks), "lines of token, tab, tag"
    if not examples:
        raise DatasetError(f"{path}: no examples; expected {expected}")
    return [_renamed(example, types) for example in examples] if types else examples


class _PictureFiles(NamedTuple):
    """The pictures of a folder by the id of their post, each in the order of their names."""

    by_wid: Mapping[str, Sequence[Path]]
    """By what stands before the first ``_``: ids of Weibo are letters and digits."""
    by_stem: Mapping[str, Sequence[Path]]
    """By the name without suffix: ids of the Twitter sets have ``_`` in them."""

    @classmethod
    def of(cls, folder: Path) -> _PictureFiles:
        by_wid: dict[str, list[Path]] = {}
        by_stem: dict[str, list[Path]] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in _PICTURE_SUFFIXES:
                by_wid.setdefault(path.stem.split("_", 1)[0], []).append(path)
                by_stem.setdefault(path.stem, []).append(path)
        return cls(by_wid, by_stem)

    def of_post(self, kind: str, id_: str) -> tuple[Path, ...]:
        return tuple((self.by_wid if kind == "WID" else self.by_stem).get(id_, ()))


def _blocks(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, lines) of each block between blank lines or headers."""
    block: list[str] = []
    start = 1
    for number, line in enumerate([*lines, ""], start=1):
        if not line.strip("\t ") or (_HEADER.match(line) and block):
            if any(not _HEADER.match(row) for row in block):
                yield start, block
            block = []
        if line.strip("\t "):
            if not block:
                start = number
            block.append(line)


def _block_example(path: Path, first: int, block: list[str], files: _PictureFiles | None) -> Example:
    found = _HEADER.match(block[0])
    rows = block[1:] if found else block
    tokens, tags = [], []
    for number, row in enumerate(rows, start=first + bool(found)):
        token, tab, tag = row.rpartition("\t") if "\t" in row else row.rpartition(" ")
        if not tab or not token or not _TAG.match(tag):
            raise DatasetError(f"{path}:{number}: expected token, tab, BIO tag; found {row[:60]!r}")
        tokens.append(token)
        tags.append(tag)
    pictures = files.of_post(found[1], found[2]) if found and files else ()
    return Example(found[2] if found else str(first), tuple(tokens), tuple(tags), pictures)


def _without_numbers(examples: list[Example]) -> list[Example]:
    """Weibo NER writes the place in the word behind each character; drop it where every token looks so.

    Its emoji are broken: two replacement characters, of which one is kept.
    """
    tokens = [token for example in examples for token in example.tokens]
    if not all(_NUMBERED.match(token) for token in tokens) or not any(_HAN.match(token) for token in tokens):
        return examples
    return [
        msgspec.structs.replace(example, tokens=tuple(token[0] for token in example.tokens)) for example in examples
    ]


class _JsonEntity(msgspec.Struct, frozen=True):
    start: int
    end: int
    type: str


class _JsonPost(msgspec.Struct, frozen=True):
    """A line of JSONL: ``text`` with ``entities``, or ``tokens`` with ``tags``. Other fields are passed over."""

    id: str | int | None = None
    text: str | None = None
    entities: list[_JsonEntity] | None = None
    tokens: list[str] | None = None
    tags: list[str] | None = None
    pictures: list[str] = []


_JSON_POST: Final = msgspec.json.Decoder(_JsonPost)


def _json_example(place: str, line: str, folder: Path) -> Example:
    try:
        post = _JSON_POST.decode(line.encode())
    except msgspec.DecodeError as error:
        raise DatasetError(f"{place}: {error}") from error
    id_ = place.rpartition(":")[2] if post.id is None else str(post.id)
    pictures = tuple(_below(folder, name, place) for name in post.pictures)
    if post.text is not None and post.tokens is None and post.tags is None:
        return Example(id_, tuple(post.text), tuple(_tags_of(post.text, post.entities or [], place)), pictures)
    if post.tokens is None or post.tags is None or post.text is not None or post.entities is not None:
        raise DatasetError(f'{place}: expected "text" with "entities", or "tokens" with "tags"')
    if len(post.tokens) != len(post.tags):
        raise DatasetError(f"{place}: {len(post.tokens)} tokens, but {len(post.tags)} tags")
    wrong = next((tag for tag in post.tags if not _TAG.fullmatch(tag)), None)
    if wrong is not None or "" in post.tokens:
        raise DatasetError(f"{place}: an empty token" if wrong is None else f"{place}: {wrong!r} is no BIO tag")
    return Example(id_, tuple(post.tokens), tuple(post.tags), pictures)


def _tags_of(text: str, entities: Sequence[_JsonEntity], place: str) -> list[str]:
    """A BIO tag per code point."""
    tags = ["O"] * len(text)
    for entity in entities:
        if not 0 <= entity.start < entity.end <= len(text) or not _TAG.fullmatch(f"B-{entity.type}"):
            raise DatasetError(
                f"{place}: an entity needs 0 <= start < end <= {len(text)} (code points) and a type without spaces; "
                f"found {entity.start}, {entity.end}, {entity.type!r}"
            )
        if any(tag != "O" for tag in tags[entity.start : entity.end]):
            raise DatasetError(f"{place}: entities overlap at {entity.start}; BIO tags cannot tell them apart")
        tags[entity.start : entity.end] = tags_of(entity.type, entity.end - entity.start)
    return tags


def _below(folder: Path, name: str, place: str) -> Path:
    """The picture ``name`` in ``folder``; a name that leads out of it is refused, whatever system it is written for."""
    parts = PureWindowsPath(name)
    if not parts.name or "\0" in name or parts.drive or parts.root or ".." in parts.parts:
        raise DatasetError(f"{place}: picture {name!r}: expected a path below the folder with the pictures")
    return folder / name


def _renamed(example: Example, types: Mapping[str, str]) -> Example:
    def renamed(tag: str) -> str:
        type_ = types.get(tag[2:], tag[2:])
        return "O" if tag == "O" or type_ == "O" else tag[:2] + type_

    return msgspec.structs.replace(example, tags=tuple(renamed(tag) for tag in example.tags))
