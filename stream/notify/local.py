"""Alerts on this machine: a file, and standard output. A JSON object a line, with the fields of the record."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from pathlib import Path

import msgspec

from stream.contract.ports import Limit, Telling
from stream.contract.records import Flip
from stream.notify.aside import Aside


class FileChannel:
    """Appends each alert as a line of JSON; a repeated flip writes the same line again, told apart by its id."""

    limits: tuple[Limit, ...] = ()

    def __init__(self, path: Path, name: str = "") -> None:
        self._path = path
        self._aside = Aside()
        self.name = name or f"file:{path}"

    async def send(self, telling: Telling) -> None:
        """See ``Channel``."""
        await self.deliver(telling)

    async def deliver(self, telling: Telling) -> str:
        """Append the alerts; they are on the disk when this returns. Raises ``OSError``."""
        await self._aside(lambda: self._append(b"".join(msgspec.json.encode(flip) + b"\n" for flip in telling.flips)))
        return f"appended to {self._path}"

    def _append(self, lines: bytes) -> None:
        with self._path.open("ab") as handle:
            handle.write(lines)
            handle.flush()
            os.fsync(handle.fileno())


class Stdout:
    """Standard output. Nothing that a terminal could obey is written as it is."""

    def __init__(self) -> None:
        self._aside = Aside()

    async def deliver(self, telling: Telling) -> str:
        """Print the alerts. Raises ``OSError``."""
        lines = "\n".join(safe_json(flip) for flip in telling.flips)
        await self._aside(lambda: print(lines, file=sys.stdout, flush=True))
        return "printed"


def safe_json(flip: Flip) -> str:
    """``flip`` as JSON in which everything that is not seen is escaped; parsed it is the same."""
    text = json.dumps(msgspec.to_builtins(flip), ensure_ascii=False, separators=(",", ":"))
    return "".join(one if unicodedata.category(one)[0] != "C" else json.dumps(one)[1:-1] for one in text)
