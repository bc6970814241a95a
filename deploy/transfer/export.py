"""Everything of an origin into a folder, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, Protocol

from deploy import __version__
from deploy.errors import Failure
from deploy.transfer import files, manifest
from deploy.transfer.files import SUFFIXES, Form
from deploy.transfer.items import KINDS, NAMES, Item, Name
from deploy.transfer.manifest import KEY_FILE, MANIFEST, File, Manifest
from stream.core.partitioning import NotAtRest

Moved = Callable[[str, int], None]
"""Is told of progress: name of a data set or file, rows since the last time."""


class Origin(Protocol):
    """What is exported, at rest: nobody else writes to it."""

    @property
    def kind(self) -> Literal["embedded", "cluster"]:
        """Which mode it is of."""

    @property
    def bin_s(self) -> int:
        """Width of the bins that it counts in."""

    def items(self, name: Name) -> Iterable[Item]:
        """All items of a data set. Raises ``NotAtRest``."""

    def check(self) -> None:
        """Raise ``Failure`` when someone wrote to it meanwhile."""


def export(
    origin: Origin, folder: Path, form: Form, *, author_key: bytes | None, key_travels: bool, moved: Moved
) -> Manifest:
    """Write ``origin`` to ``folder``, which must not exist yet. ``key_travels`` puts the author key beside it.

    Raises ``Failure``. What was begun and not finished lies in ``FOLDER.part`` and goes with the next export.
    """
    files.check_form(form)
    if folder.exists() or folder.is_symlink():
        raise Failure(f"{folder} exists already; name a new folder")
    part = folder.with_name(f"{folder.name}.part")
    try:
        _make_anew(part)
        made = _write(origin, part, form, author_key, key_travels, moved)
        origin.check()
        manifest.save(part, made)
        _sync(part)
        part.rename(folder)
        _sync(folder.absolute().parent)
    except OSError as error:
        raise Failure(f"{folder} cannot be written: {error.strerror or error}. Nothing was exported.") from error
    except NotAtRest as error:
        raise Failure(f"{error}. Let the workers take everything there is (lag 0), then export again.") from error
    return made


def _write(
    origin: Origin, part: Path, form: Form, author_key: bytes | None, key_travels: bool, moved: Moved
) -> Manifest:
    written: dict[Name, File] = {}
    for name in NAMES:
        path = part / f"{name}{SUFFIXES[form]}"
        rows = 0
        for count in files.write(path, KINDS[name], origin.items(name)):
            rows += count
            moved(name, count)
        _sync(path)
        written[name] = manifest.described(path, rows)
    key_file = _write_key(part / KEY_FILE, author_key) if author_key and key_travels else None
    return Manifest(
        weibowatch=__version__,
        origin=origin.kind,
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        bin_s=origin.bin_s,
        author_key=manifest.fingerprint(author_key) if author_key else "",
        key_file=key_file,
        files=written,
    )


def _write_key(path: Path, key: bytes) -> File:
    write_secret(path, key)
    return manifest.described(path, 0)


def write_secret(path: Path, data: bytes) -> None:
    """A file that only its owner may read, on the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_anew(part: Path) -> None:
    """An empty folder at ``part``; what lies there is removed when it is the rest of an export and nothing else."""
    if part.exists():
        known = {f"{name}{suffix}" for name in NAMES for suffix in SUFFIXES.values()} | {MANIFEST, KEY_FILE}
        if not part.is_dir() or not {entry.name for entry in part.iterdir()} <= known:
            raise Failure(f"{part} is in the way and is no unfinished export. Move it, or name another folder.")
        shutil.rmtree(part)
    part.mkdir(mode=0o700, parents=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Bring ``path``, a file or the names in a folder, to the disk."""
    _sync(path)


def items_of(folder: Path, made: Manifest, name: Name, moved: Moved) -> Iterator[Item]:
    """The items of a data set. Raises ``Failure`` when there are not as many as were written."""
    if name not in made.files:  # an older format had none of it
        return
    rows = 0
    for item in files.read(folder / made.files[name].name, KINDS[name]):
        rows += 1
        moved(name, 1)
        yield item
    if rows != made.files[name].rows:
        raise Failure(f"{folder / made.files[name].name} holds {rows} rows, not {made.files[name].rows}. Export again.")
