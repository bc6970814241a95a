"""``manifest.json`` of an export: what lies in the folder, so that nothing is imported that is not as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import msgspec

from deploy.errors import Failure
from deploy.transfer.files import SUFFIXES
from deploy.transfer.items import NAMES, NEWER, Name

MANIFEST: Final = "manifest.json"
KEY_FILE: Final = "author.key"
FORMAT: Final = 2
_CHUNK_BYTES: Final = 1 << 20


class File(msgspec.Struct, frozen=True):
    """One file of the folder."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``bin_s`` is the width of the bins that everything was counted in; ``author_key`` the fingerprint of the key
    behind the pseudonyms, empty where there is none; ``key_file`` is there when the key travels in the folder.
    """

    format: int = FORMAT
    weibowatch: str
    origin: Literal["embedded", "cluster"]
    created_at: str
    bin_s: int
    author_key: str
    key_file: File | None
    files: dict[Name, File]

    @property
    def rows(self) -> int:
        """Rows of all data sets."""
        return sum(file.rows for file in self.files.values())

    @property
    def digest(self) -> str:
        """A name for this export and no other."""
        return sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


class _Head(msgspec.Struct):
    format: int
    weibowatch: str = ""


def fingerprint(key: bytes) -> str:
    """What tells one author key from another and gives none away."""
    return sha256(b"weibowatch author key\x00" + key).hexdigest()[:16]


def save(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest`` to the disk."""
    with (folder / MANIFEST).open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def load(folder: Path) -> Manifest:
    """The manifest in ``folder``. Raises ``Failure``."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Failure(f"{folder} is no export: {MANIFEST} cannot be read ({error.strerror})") from error
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format > FORMAT:
            raise Failure(
                f"{folder} has format {head.format}, made by weibowatch {head.weibowatch}; this one reads format "
                f"{FORMAT}. Import it with that version or a newer one."
            )
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise Failure(f"{path} is damaged: {error}. Export again.") from error


def described(path: Path, rows: int) -> File:
    """The entry for the file at ``path``."""
    return File(path.name, rows, path.stat().st_size, _digest(path))


def verified(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Look at each file, and yield its name. Raises ``Failure`` for the first one that is not as it was written."""
    for name in NAMES:
        file = manifest.files.get(name)
        if file is None and manifest.format < NEWER.get(name, 0):
            continue
        if file is None or file.name not in {f"{name}{suffix}" for suffix in SUFFIXES.values()}:
            raise Failure(f"{folder / MANIFEST} is damaged: it names no file of {name}. Export again.")
    for file in [*manifest.files.values(), *([manifest.key_file] if manifest.key_file else [])]:
        path = folder / Path(file.name).name
        if not path.is_file():
            raise Failure(f"{path} is missing. Copy the whole folder again, or export again.")
        if path.stat().st_size != file.bytes or _digest(path) != file.sha256:
            raise Failure(f"{path} is damaged: it is not what was exported. Copy it again, or export again.")
        yield file.name


def _digest(path: Path) -> str:
    found = sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()
