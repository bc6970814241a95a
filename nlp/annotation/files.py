"""JSON lines of the loop: batches of drawn posts, and labels. All errors name file and line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from nlp.annotation.records import AnnotationError, Drawn, Marked, problem

BYTES_MAX: Final = 1 << 30
"""Of one file: a batch of a million posts is a quarter of it."""
Record = TypeVar("Record", bound=msgspec.Struct)


def contents(path: Path) -> bytes:
    """The bytes of a file. Raises ``AnnotationError``."""
    try:
        if path.stat().st_size > BYTES_MAX:
            raise AnnotationError(f"{path}: more than {BYTES_MAX >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from error


def lines(path: Path, kind: type[Record]) -> Iterator[tuple[str, Record]]:
    """(``file:line``, record) of each line that is not blank. Raises ``AnnotationError``."""
    decoder = msgspec.json.Decoder(kind)
    for number, line in enumerate(contents(path).removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AnnotationError(f"{path}:{number}: {error}") from error


def read_batch(paths: Sequence[Path]) -> dict[str, Drawn]:
    """The posts of batches by id. Raises ``AnnotationError``, also where a post comes twice."""
    found: dict[str, Drawn] = {}
    for path in paths:
        before = len(found)
        for place, drawn in lines(path, Drawn):
            if drawn.id in found:
                raise AnnotationError(f"{place}: post {drawn.id!r} is there twice")
            wrong = problem(drawn.text, [one.chunk for one in drawn.predictions])
            if wrong or not 0 < drawn.probability <= 1:
                raise AnnotationError(f"{place}: {wrong or 'probability must be above 0 and at most 1'}")
            found[drawn.id] = drawn
        if len(found) == before:
            raise AnnotationError(f"{path}: no posts; weibowatch annotate sample writes such a file")
    return found


def read_labels(paths: Sequence[Path], batch: dict[str, Drawn]) -> list[Marked]:
    """What annotators marked, checked against the texts of ``batch``. Raises ``AnnotationError``."""
    return checked(((place, one) for path in paths for place, one in lines(path, Marked)), batch)


def checked(answers: Iterable[tuple[str, Marked]], batch: dict[str, Drawn]) -> list[Marked]:
    """``answers``, each with its place for messages, if they fit the batch: one of each annotator for each post."""
    seen: dict[tuple[str, str], str] = {}
    found = []
    for place, one in answers:
        if one.id not in batch:
            raise AnnotationError(f"{place}: post {one.id!r} is not in the batch")
        if not one.annotator.strip():
            raise AnnotationError(f"{place}: an annotator without a name")
        wrong = problem(batch[one.id].text, one.entities)
        if wrong:
            raise AnnotationError(f"{place}: post {one.id!r}, annotator {one.annotator}: {wrong}")
        before = seen.setdefault((one.id, one.annotator), place)
        if before != place:
            raise AnnotationError(
                f"{place}: {one.annotator} labelled post {one.id!r} before, in {before}; one answer each"
            )
        found.append(one)
    if not found:
        raise AnnotationError("no labels in these files")
    return found


def jsonl(records: Iterable[Any]) -> bytes:
    """A line for each record."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()
