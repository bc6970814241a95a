"""A server process that outlives the command that started it, found again by pid, start time and command line."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from deploy.errors import Failure

NOBODY: Final = 65_534
PORTS: Final = (20_000, 32_000)
"""Below the ports that the system gives to clients: one of them could be taken while its server is down."""
READY_S_MAX: Final = 120.0
STOP_S_MAX: Final = 40.0
COMMAND_S_MAX: Final = 1.0
QUICK: Final = "-XX:TieredStopAtLevel=1"
"""Of a JVM that lives for minutes or less: half of what starting takes is thorough compiling."""
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Daemon:
    """One process with its own group, in ``folder``, which it owns. As root it runs as nobody.

    ``folder`` is absolute and stands in the command line of whatever it starts: by that they are known as ours.
    """

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
        found = _process(process.pid)
        self._state.write_text(json.dumps({"pid": process.pid, "started": found.started if found else 0}))

    def hand_over(self) -> None:
        """Give the folder to the user that the process runs as. Raises ``Failure`` when that user cannot get there."""
        if os.geteuid() != 0:
            return
        give_to_nobody(self.folder)
        for parent in self.folder.parents:
            if not parent.stat().st_mode & 0o001:
                raise Failure(
                    f"{parent} lets no other user in, and {self.name} must not run as root. "
                    "Choose another --data, such as /var/tmp/weibowatch-services."
                )

    def pid(self) -> int | None:
        """Its process id while it runs; of what it has started, should that have survived it."""
        return next(self._members(), None)

    def alive(self) -> bool:
        """Whether it, or anything it has started, runs."""
        return self.pid() is not None

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, if it runs. Raises ``Failure`` when it is another user's."""
        if self.alive():
            try:
                os.killpg(self._recorded()[0], number)
            except ProcessLookupError:
                return
            except PermissionError as error:
                raise Failure(f"{self.name} in {self.folder} is another user's, who has to stop it") from error

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
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _recorded(self) -> tuple[int, int]:
        """(pid, start time) as written when it was started; zeros when it never was."""
        try:
            state = json.loads(self._state.read_text())
            return int(state["pid"]), int(state["started"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 0

    def _members(self) -> Iterator[int]:
        """Its group, itself first. The numbers may be another's by now: start time and command line tell."""
        group, started = self._recorded()
        if not group:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(group, os.WNOHANG)
        own = os.fsencode(self.folder)
        for pid in (group, *_others(group)):
            found = _process(pid)
            if pid == group and found is not None and found.started != started:
                return  # the number was given to another
            if found is None or found.group != group or found.started < started:
                continue
            command = _command(pid)
            if command is not None and (not command or own in command):
                yield pid

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


class _Process(NamedTuple):
    group: int
    started: int
    """Clock ticks since boot."""


def _process(pid: int) -> _Process | None:
    """What the system tells of a process; None when there is none, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else _Process(int(fields[2]), int(fields[19]))


def _command(pid: int) -> bytes | None:
    """The command line; None when the process has ended, empty when its end takes long.

    It is empty for a moment, too, while a process becomes another program: so look again before that means anything.
    """
    for _ in range(int(COMMAND_S_MAX / 0.01)):
        if _process(pid) is None:
            return None
        with contextlib.suppress(OSError):
            if command := Path(f"/proc/{pid}/cmdline").read_bytes():
                return command
        time.sleep(0.01)
    return b""


def _others(group: int) -> Iterator[int]:
    """Processes besides the group's first, if there is such a group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return
    except PermissionError:
        return  # another user's: not ours
    for path in Path("/proc").glob("[0-9]*"):
        if int(path.name) != group:
            yield int(path.name)


def make_folder(folder: Path) -> Path:
    """Make ``folder``; as root so that others may enter what is made, whatever the umask. Returns it absolute."""
    folder = folder.resolve()
    for one in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        one.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            one.chmod(0o755)
    return folder


def give_to_nobody(folder: Path) -> None:
    """As root: let the user of the servers own ``folder`` and all in it."""
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


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


def check_ports(ports: Sequence[int], folder: Path) -> None:
    """Raises ``Failure`` when another program listens on one of the ports that ``folder`` remembers."""
    for port in ports:
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError as error:
                raise Failure(
                    f"port {port} is taken by another program. Stop that, or let other ports be chosen: "
                    f"stop the services and delete {folder / 'ports.json'}"
                ) from error
