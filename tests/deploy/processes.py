"""The real command as a process that goes on while the test looks at it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stream.runtime.sqlite import DATABASE

ROOT = Path(__file__).parents[2]
WAIT_S = 90.0
"""For a machine that trains a model meanwhile."""
ENVIRONMENT = {**os.environ, "WEIBOWATCH_PRIVACY__AUTHOR_KEY": "the same pseudonyms in every store"}


PROGRAM = "deploy.cli"


def command(*words: str, program: str = PROGRAM) -> list[str]:
    return [sys.executable, "-m", program, *words]


@contextlib.contextmanager
def started(
    *words: str,
    stdin: int = subprocess.DEVNULL,
    stderr: int = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
    program: str = PROGRAM,
) -> Iterator[subprocess.Popen[bytes]]:
    """The command under way; whatever happens it is over after the block. ``environment``: more of it."""
    everything = {**ENVIRONMENT, **(environment or {})}
    with subprocess.Popen(
        command(*words, program=program), cwd=ROOT, env=everything, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ended(process: subprocess.Popen[bytes], wait_s: float = WAIT_S) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) once it is over."""
    out, err = process.communicate(timeout=wait_s)
    return process.returncode, out.decode(), (err or b"").decode()


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes], met: Callable[[], bool], wait_s: float = WAIT_S) -> None:
    """Look again and again until ``met``. What another process does can only be looked at."""
    until = time.monotonic() + wait_s
    while not met():
        assert process.poll() is None, ended(process)
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.02)


def health(port: int) -> tuple[int, dict[str, Any]]:
    """(status, body) of ``/healthz``; (0, {}) before there is a server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except ConnectionError:
        return 0, {}
    finally:
        connection.close()


def rows(store: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What the store holds; nothing before there is one."""
    if not (store / DATABASE).exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{store / DATABASE}?mode=ro", uri=True)) as connection:
        return connection.execute(query, values).fetchall()
