"""A server process that outlives the command that started it, found again by its pid and start time."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.errors import Failure

NOBODY: Final = 65_534
PORTS: Final = (20_000, 32_000)
"""Below the ports that the system gives to clients: one of them could be taken while its server is down."""
READY_S_MAX: Final = 120.0
STOP_S_MAX: Final = 40.0
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Daemon:
    """One process with its own group, in ``folder``, which it owns. As root it runs as nobody."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._state = folder / f"{name}.pid.json"

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it unless it runs. Raises ``Failure``."""
        if self.alive():
            return
        self.hand_over()
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        root = os.geteuid() == 0
        try:
            process = subprocess.Popen(
                command, cwd=self.folder, env={"PATH": _PATH, "HOME": str(self.folder), **environment}, stdout=log,
                stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, user=NOBODY if root else None,
                group=NOBODY if root else None, extra_groups=[] if root else None,
            )  # fmt: skip
        except OSError as error:
            raise Failure(
                f"{self.name} cannot be started in {self.folder}: {error.strerror}. "
                "Choose a --data folder that every user may enter."
            ) from error
        finally:
            os.close(log)
        process.returncode = 0  # it outlives this object, which would complain
        self._state.write_text(json.dumps({"pid": process.pid, "started": _started(process.pid)}))

    def hand_over(self) -> None:
        """Give the folder to the user that the process runs as."""
        if os.geteuid() != 0:
            return
        for path in (self.folder, *self.folder.rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        for parent in self.folder.absolute().parents:
            if not parent.stat().st_mode & 0o001:
                raise Failure(
                    f"{parent} lets no other user in, and {self.name} must not run as root. Choose another --data."
                )

    def pid(self) -> int | None:
        """Its process id while it runs."""
        try:
            state = json.loads(self._state.read_text())
        except (OSError, ValueError):
            return None
        with contextlib.suppress(ChildProcessError):
            os.waitpid(state["pid"], os.WNOHANG)
        return int(state["pid"]) if state["started"] and state["started"] == _started(state["pid"]) else None

    def alive(self) -> bool:
        """Whether it runs."""
        return self.pid() is not None

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, if it runs."""
        pid = self.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.signal(signal.SIGKILL)
        self._gone(STOP_S_MAX)

    def stop(self) -> None:
        """SIGTERM; SIGKILL if it takes too long."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if not self._gone(STOP_S_MAX):
            self.kill()

    def _gone(self, wait_s: float) -> bool:
        """Whether its whole group has ended: what it started may hold ports and locks a little longer."""
        deadline = time.monotonic() + wait_s
        while self.alive() or _group_alive(self._group()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _group(self) -> int:
        try:
            return int(json.loads(self._state.read_text())["pid"])
        except (OSError, ValueError):
            return 0

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Until ``ready()``. Raises ``Failure`` with the end of the log when it dies or takes too long."""
        deadline = time.monotonic() + READY_S_MAX
        while not ready():
            if not self.alive():
                raise Failure(f"{self.name} ended while starting; the end of {self.log_path}:\n{self.tail(15)}")
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} is not ready after {READY_S_MAX:.0f} s; see {self.log_path}")
            time.sleep(0.1)

    def tail(self, lines: int) -> str:
        """The last lines of its log."""
        try:
            text = self.log_path.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def _started(pid: int) -> int:
    """When process ``pid`` was started, in clock ticks since boot; 0 when there is none (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def _group_alive(group: int) -> bool:
    """Whether any process of ``group`` is there that is no zombie."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on just now."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(*PORTS)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def remembered_ports(folder: Path, count: int) -> list[int]:
    """The ports of ``folder``: chosen once, then always the same."""
    path = folder / "ports.json"
    if path.exists():
        return [int(port) for port in json.loads(path.read_text())]
    ports = free_ports(count)
    path.write_text(json.dumps(ports))
    return ports
