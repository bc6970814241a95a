"""Disks that are too small, real ones: a tmpfs where it may be mounted, else a limit on the size of files."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from tests.deploy.processes import started

Running = contextlib.AbstractContextManager[subprocess.Popen[bytes]]


class Disk(Protocol):
    """A folder with little room, until there is ``make_room``."""

    path: Path

    def run(
        self, *words: str, environment: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        """``processes.started`` under the limits of this disk."""

    def leave(self, bytes_max: int) -> None:
        """From now on there is room for only so much more, for what is started later."""

    def make_room(self, process: subprocess.Popen[bytes] | None = None) -> None:
        """From now on there is room, for ``process`` and for those that are started later."""


class Tmpfs:
    """A file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(
        self, *words: str, environment: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        return started(*words, environment=environment)

    def leave(self, bytes_max: int) -> None:
        free = os.statvfs(self.path)
        with contextlib.suppress(OSError):  # somebody else took some of it meanwhile
            (self.path / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - bytes_max))

    def make_room(self, process: subprocess.Popen[bytes] | None = None) -> None:
        _mount("-o", "remount,size=256m", str(self.path))


class FileLimit:
    """Any folder, and processes whose files may not grow beyond ``bytes_max``."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        self.path = path
        self._bytes_max = bytes_max

    @contextlib.contextmanager
    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        with started(*words, environment=environment) as process:
            self._limit(process, self._bytes_max)
            yield process

    def leave(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max

    def make_room(self, process: subprocess.Popen[bytes] | None = None) -> None:
        self._bytes_max = resource.RLIM_INFINITY
        if process:
            self._limit(process, self._bytes_max)

    def _limit(self, process: subprocess.Popen[bytes], bytes_max: int) -> None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (bytes_max, resource.RLIM_INFINITY))


def _mount(*words: str) -> bool:
    """Whether it worked; it needs root and the right to mount."""
    try:
        return subprocess.run(["mount", "-t", "tmpfs", *words], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def small_disk(path: Path, bytes_max: int, *, mounted: bool = True) -> Iterator[Disk]:
    """A disk of ``bytes_max`` at ``path``. Where nothing may be ``mounted`` it is a limit on files."""
    path.mkdir()
    if not (mounted and _mount("-o", f"size={bytes_max}", "none", str(path))):
        yield FileLimit(path, bytes_max)
        return
    try:
        yield Tmpfs(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, capture_output=True)  # a server may just be ending
