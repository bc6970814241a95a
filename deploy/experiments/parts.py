"""Parts of an experiment: each is run in a process of its own and kept, so that a run that was stopped goes on."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Final, Generic, TypeAlias, TypeVar

import msgspec

from deploy import __version__
from deploy.application import tune_interpreter

P = TypeVar("P")
"""What a part gives: a struct that can be kept as JSON."""

Told = Callable[[int, int], None]
"""Is told how much of how much is done."""

FOLDER: Final = "parts"


@dataclass(frozen=True)
class Plan(Generic[P]):
    """What is run. ``digest`` differs wherever anything that is run does: settings, data, model.

    ``work`` gives a part by its name, in a process of its own: it can be pickled, such as a ``functools.partial`` of a
    function of a module. ``made`` is the type of what it gives.
    """

    digest: str
    names: tuple[str, ...]
    work: Callable[[str, Told], P]
    made: type[P]


class PartStore(Generic[P]):
    """Parts of a run as files of ``folder``, each with the digest of what it was run with."""

    def __init__(self, folder: Path, digest: str, made: type[P]) -> None:
        self._folder = folder / FOLDER
        self._digest = f"{__version__}-{digest}"
        self._made = made

    def kept(self, name: str) -> P | None:
        """The part that was kept, None when there is none or it was run with something else."""
        try:
            return msgspec.json.decode(self._path(name).read_bytes(), type=self._made)
        except (OSError, msgspec.DecodeError):
            return None

    def keep(self, name: str, part: P) -> None:
        """Write it whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(name)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(part))
        fresh.replace(path)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}-{self._digest}.json"


LOOK_S: Final = 0.2
Heard: TypeAlias = "multiprocessing.Queue[tuple[str, int, int]]"


def run_parts(
    work: Callable[[str, Told], P],
    names: Sequence[str],
    told: Callable[[str, int, int], None],
    done: Callable[[str, P], None],
    workers: int | None = None,
) -> None:
    """Run the parts ``names`` at the same time, as many as there are cores or ``workers``.

    ``told`` hears (part, done, total), ``done`` gets each part when it has ended. Raises what ``work`` raises.
    """
    fresh = multiprocessing.get_context("spawn")
    heard: Heard = fresh.Queue()
    with ProcessPoolExecutor(workers or os.cpu_count(), fresh, _end_with_parent, (heard,)) as pool:
        running = {pool.submit(_run_part, work, name): name for name in names}
        try:
            while running:
                ended, _ = wait(running, LOOK_S, FIRST_COMPLETED)
                with contextlib.suppress(queue.Empty):
                    while True:
                        told(*heard.get_nowait())
                for one in ended:
                    done(running.pop(one), one.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_heard: Heard | None = None
"""In a process that runs parts: where it tells how far it is."""


def _end_with_parent(heard: Heard) -> None:
    """Part with a parent that was killed: nobody would take what comes out."""
    global _heard
    _heard = heard
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    # Last of all, so that what libraries say at the end of an interpreter with threads does not reach the user.
    Finalize(None, os._exit, args=(0,), exitpriority=-100)


def _run_part(work: Callable[[str, Told], P], name: str) -> P:
    tune_interpreter()

    def told(done: int, total: int) -> None:
        assert _heard is not None
        _heard.put((name, done, total))

    return work(name, told)
