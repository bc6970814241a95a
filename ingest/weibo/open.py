"""All sources of one session: made, started and ended together; a list file that is watched."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import structlog

from ingest.clean import Edge
from ingest.weibo.client import Client
from ingest.weibo.desk import Desk
from ingest.weibo.listing import Listing
from ingest.weibo.memory import Memory
from ingest.weibo.session import Session
from ingest.weibo.settings import WeiboSettings
from ingest.weibo.single import Hot, Single
from ingest.weibo.source import Parts, Pictures, WeiboSource
from ingest.weibo.spec import Spec, parse_spec, read_list
from stream.contract.ports import Change, Source, SourceError

_log = structlog.get_logger(__name__)
LOCK: Final = "weibo.lock"
LOOK_S: Final = 2.0
"""So often a list file is looked at."""


def make_source(spec: Spec, parts: Parts) -> WeiboSource:
    """The source behind ``spec``, which is no list."""
    kinds: dict[str, type[WeiboSource]] = {"hot": Hot, "post": Single}
    return kinds.get(spec.kind, Listing)(spec, parts)


def read_lists(specs: Sequence[Spec]) -> tuple[dict[str, Spec], list[str]]:
    """(sources by name, errors) of ``specs``, lists opened. Blocking."""
    found: dict[str, Spec] = {}
    errors: list[str] = []
    for spec in specs:
        if spec.kind != "list":
            found.setdefault(spec.name, spec)
            continue
        try:
            listed, wrong = read_list(Path(spec.target).expanduser().read_text(encoding="utf-8"))
        except (OSError, UnicodeError) as error:
            errors.append(f"{spec.name}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}")
            continue
        errors += [f"{spec.target}: {problem}" for problem in wrong]
        for one in listed:
            found.setdefault(one.name, one)
    return found, errors


def _locked(directory: Path) -> IO[bytes]:
    """The open file that keeps a second monitor from spending the same budget. Raises ``SourceError``."""
    directory.mkdir(parents=True, exist_ok=True)
    file = (directory / LOCK).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SourceError(
            f"another process asks Weibo with what is remembered in {directory}. Stop it, or use another store; "
            "two that share a session would ask twice as much as it allows"
        ) from error
    return file


class Weibo:
    """An async context manager: inside of it ``sources`` may be read and ``changes`` followed."""

    def __init__(
        self,
        specs: Sequence[str],
        settings: WeiboSettings,
        directory: Path | None,
        *,
        edge_at: Callable[[str, int], Edge],
        now_ms: Callable[[], int],
        pictures: Pictures | None = None,
        once: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raises ``SourceError`` for a spec or a list that cannot be read, and for a cookie that is none."""
        self._specs = [parse_spec(spec) for spec in specs]
        self._named, errors = read_lists(self._specs)
        if errors:
            raise SourceError("\n  ".join(errors))
        self._session = Session(settings.cookie, settings.cookie_file)
        self._lock = None if directory is None else _locked(directory)
        self._memory = Memory(directory)
        self._client = Client(lambda: self._session.cookies, now_ms, settings.timeout_s)
        self._desk = Desk(settings, self._session, self._memory, self._client.send, now_ms=now_ms, sleep=sleep)
        self._parts = Parts(
            settings=settings, desk=self._desk, edge_at=edge_at, now_ms=now_ms, pictures=pictures, once=once
        )
        self._stack = contextlib.AsyncExitStack()

    @property
    def sources(self) -> tuple[Source, ...]:
        """Those that were named, lists opened."""
        return tuple(make_source(spec, self._parts) for spec in self._named.values())

    @property
    def has_lists(self) -> bool:
        """Whether ``changes`` may tell of anything."""
        return any(spec.kind == "list" for spec in self._specs)

    async def __aenter__(self) -> Weibo:
        if self._lock is not None:
            self._stack.callback(self._lock.close)
        self._stack.callback(self._memory.close)
        await self._stack.enter_async_context(self._client)
        await self._stack.enter_async_context(self._desk)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def changes(self) -> AsyncIterator[Change]:
        """Sources that were added to a list or taken away. While a list has errors, its sources stay as they are."""
        told: list[str] = []
        while True:
            await asyncio.sleep(LOOK_S)
            now, errors = await asyncio.to_thread(read_lists, self._specs)
            if errors != told:
                told = errors
                for problem in errors:
                    _log.error("weibo_list", problem=problem)
            if errors or now.keys() == self._named.keys():
                continue
            removed = tuple(name for name in self._named if name not in now)
            added = tuple(make_source(spec, self._parts) for name, spec in now.items() if name not in self._named)
            self._named = now
            yield Change(added=added, removed=removed)
