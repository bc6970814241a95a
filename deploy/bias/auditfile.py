"""The audit in a file, as a running monitor uses it: read at the start, and again once it has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from deploy.errors import Failure, UsageFailure
from stream.bias.audit import Audit, AuditError, read
from stream.bias.correction import Corrections

_log = structlog.get_logger(__name__)
SETTLED_MS: Final = 2_000
"""A file that was written to so lately may not be whole yet, and half of an audit may be a valid one."""


def read_audit(path: Path) -> Audit:
    """The audit in ``path``. Raises ``Failure`` that names line and reason."""
    try:
        return read(path.read_bytes(), path.name)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error
    except AuditError as error:
        raise UsageFailure(f"{error}. What an audit may hold: docs/bias.md") from error


class InUse(NamedTuple):
    """The audit that counts are corrected by, and why the file as it is now is not that one; mostly empty."""

    corrections: Corrections
    problem: str


class AuditFile:
    """Looks after ``path`` whenever it is asked, from any thread. A file that broke leaves the audit before in use.

    Raises ``Failure`` at the start where there is no usable audit.
    """

    def __init__(self, path: Path, now_ms: Callable[[], int]) -> None:
        self.path = path
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._taken = self._looks()
        self._in_use = InUse(Corrections(read_audit(path)), "")

    def current(self) -> InUse:
        """What is in use now. Blocking: it looks at the file, and reads one that has changed."""
        with self._lock:
            looks = self._looks()
            if looks != self._taken and self._settled(looks):
                self._take()
                self._taken = looks
            return self._in_use

    def _take(self) -> None:
        try:
            self._in_use = InUse(Corrections(read_audit(self.path)), "")
            _log.info("audit_in_use", file=str(self.path))
        except Failure as error:
            self._in_use = self._in_use._replace(problem=str(error))
            instead = "the audit before stays in use"
            _log.error("audit_refused", file=str(self.path), problem=str(error), instead=instead)

    def _settled(self, looks: tuple[int, ...]) -> bool:
        return not looks or abs(self._now_ms() - looks[0] // 1_000_000) >= SETTLED_MS

    def _looks(self) -> tuple[int, ...]:
        """What changes with the file: when it was written, its size and place; empty where there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_size, found.st_ino)
