"""Files for replay: opened once, read at any place from any thread, decompressed aside when they are ``.gz``."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tempfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final

from numpy.typing import NDArray

from stream.contract.ports import SourceError

SPOOL_BYTES_MAX: Final = 16 * 1024**3
"""What a ``.gz`` may unpack to; a few kilobytes can unpack to anything."""
_FINGERPRINT_BYTES: Final = 4096
_BLOCK_BYTES: Final = 1 << 20


class FileHandle:
    """An open file. It closes when the last one who reads from it lets go: a cancelled replay may leave a thread
    in the middle of a read, and closing under it could let that thread read another file.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)

    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._descriptor).st_size

    def read(self, start: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``start``; fewer only at the end of the file."""
        data = os.pread(self._descriptor, size, start)
        while 0 < len(data) < size:
            more = os.pread(self._descriptor, size - len(data), start + len(data))
            if not more:
                break
            data += more
        return data

    def reader(self) -> BinaryIO:
        """A buffered file object over the same file, with a place of its own only as long as it is the only one."""
        return open(os.dup(self._descriptor), "rb", buffering=_BLOCK_BYTES)


def open_file(path: Path) -> FileHandle:
    """``path``, unpacked when it ends in ``.gz``. Raises ``SourceError``. Blocking."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SourceError(f"{path} is no regular file; give a file, or - to read standard input")
        if path.suffix == ".gz":
            return _unpacked(path)
        return FileHandle(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error


def _unpacked(path: Path) -> FileHandle:
    written = 0
    with tempfile.TemporaryFile(prefix="weibowatch-") as spool:
        try:
            with gzip.open(path, "rb") as packed:
                while block := packed.read(_BLOCK_BYTES):
                    written += len(block)
                    if written > SPOOL_BYTES_MAX:
                        raise SourceError(f"{path} unpacks to more than {SPOOL_BYTES_MAX} bytes; unpack and split it")
                    spool.write(block)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SourceError(f"{path} is damaged after {written} unpacked bytes ({error}); fetch it again") from error
        spool.flush()
        return FileHandle(os.dup(spool.fileno()))


def fingerprint(handle: FileHandle, start: int, end: int) -> str:
    """Digest of the first and last 4 KiB of [``start``, ``end``): tells a file that grew from one that was replaced."""
    first = handle.read(start, min(_FINGERPRINT_BYTES, end - start))
    tail = max(start, end - _FINGERPRINT_BYTES)
    return hashlib.sha256(first + handle.read(tail, end - tail)).hexdigest()[:32]


def crc_of(*columns: NDArray[Any]) -> int:
    """Checksum of the columns of an index."""
    crc = 0
    for column in columns:
        crc = zlib.crc32(column.tobytes(), crc)
    return crc
