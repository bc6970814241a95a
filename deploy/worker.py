"""A worker of the cluster mode from start to clean end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy import wiring
from deploy.application import Summary, stop_on_signals, summary_of, tune_interpreter
from deploy.channels import channels as made_channels
from deploy.cluster import shown
from deploy.errors import Failure
from deploy.settings import RetentionSettings, Settings
from deploy.telemetry import Telemetry, set_up_logging
from index.elastic import ElasticError, ElasticIndex, ElasticReader
from index.elastic_schema import Kind
from stream.contract.ports import ModelError, Tagger
from stream.contract.records import Reject
from stream.core.models import Model
from stream.core.silences import TOPIC, Silence, from_payload
from stream.notify.deliver import Deliverer
from stream.runtime.cluster import ClusterWorker, WorkerParts
from stream.runtime.ingest import controls_in_force

SLOTS_MAX: Final = 256
DRAIN_S: Final = 25.0
"""How long a worker that was told to end may wait for Elasticsearch; supervisors kill after 30 s and more."""


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line chose. ``slot`` None takes the first free one of this machine."""

    slot: int | None = None
    once: bool = False
    quiet: bool = False
    model: Path | None = None


async def work(options: WorkerOptions, settings: Settings) -> Summary:
    """Work off the log until Ctrl-C or SIGTERM, or ``once`` nothing is left; what is under way is finished.

    Raises ``ElasticError``, ``KafkaProblem`` and ``Failure`` for what the user must mend.
    """
    set_up_logging(settings.log)
    tune_interpreter()
    telemetry = Telemetry()
    stop, stopping = stop_on_signals(), threading.Event()
    refused: deque[Reject] = deque()
    index = ElasticIndex(settings.elastic, metrics=telemetry, stopping=stopping, refused=refused.extend)
    with slot(Path(settings.store.directory), options.slot) as (directory, name):
        loader = wiring.ModelLoader(settings, options.model, telemetry)
        tagger = await asyncio.to_thread(loader, Model())
        await _unless(stop, stopping, asyncio.to_thread(index.ensure))
        instance = f"{settings.kafka.prefix}-{name}"
        parts = _parts(settings, telemetry, index, refused, (tagger, loader), directory, instance)
        worker = ClusterWorker(parts)
        started = time.monotonic()
        http = settings.worker
        totals = worker.totals
        async with shown(totals, telemetry, http.http_host, http.http_port, "worker.http_port", options.quiet):
            patience = asyncio.create_task(_patience(stop, stopping))
            try:
                await worker.run(stop, once=options.once)
            finally:
                patience.cancel()
        seconds = time.monotonic() - started
        index.close()
    return summary_of(totals, seconds)


def _parts(
    settings: Settings,
    telemetry: Telemetry,
    index: ElasticIndex,
    refused: deque[Reject],
    models: tuple[Tagger, wiring.ModelLoader],
    directory: Path,
    instance: str,
) -> WorkerParts:
    reader = functools.partial(ElasticReader, settings.elastic)
    channels = {channel.name: channel for channel in made_channels(settings, wiring.now_ms, reader)}
    keep = settings.retention

    async def silences() -> Sequence[Silence]:
        control = (await asyncio.to_thread(controls_in_force, settings.kafka)).get(TOPIC)
        return from_payload(control.payload) if control else ()

    return WorkerParts(
        kafka=settings.kafka,
        worker=settings.worker,
        core=settings.core,
        index=index,
        refused=refused,
        hopeless=(ElasticError, ModelError),
        tagger=models[0],
        load_model=models[1],
        channels=tuple(channels),
        deliverer=lambda outbox: Deliverer(outbox, channels, outbox.on_loop, wiring.now_ms, telemetry, silences),
        keep_house=lambda: index.expire(_ages(keep)),
        house_s=keep.every_s,
        alerts_days=keep.alerts_days,
        metrics=telemetry,
        t2s=wiring.traditional_to_simplified(),
        now_ms=wiring.now_ms,
        directory=directory,
        instance=instance,
    )


def _ages(keep: RetentionSettings) -> dict[Kind, float]:
    return {
        "documents": keep.documents_days,
        "pictures": keep.pictures_days,
        "points": keep.trends_days,
        "flips": keep.alerts_days,
        "rejects": keep.rejects_days,
        "notes": keep.notes_days,
    }


async def _unless(stop: asyncio.Event, stopping: threading.Event, work: Any) -> None:
    """``work``, which gives up waiting when the user stops."""

    async def give_up() -> None:
        await stop.wait()
        stopping.set()

    waiting = asyncio.create_task(give_up())
    try:
        await work
    finally:
        waiting.cancel()


async def _patience(stop: asyncio.Event, stopping: threading.Event) -> None:
    """Let the index finish what is under way, but not wait for ever when it is away."""
    await stop.wait()
    await asyncio.sleep(DRAIN_S)
    stopping.set()


@contextlib.contextmanager
def slot(store: Path, number: int | None) -> Iterator[tuple[Path, str]]:
    """(folder of the worker's tables, its name in the group), held by a lock as long as the worker lives.

    A given number is the whole name, the same wherever the worker runs (StatefulSet); a number found here belongs to
    this machine. Two workers of one name would fence each other out. Raises ``Failure``.
    """
    for chosen in range(SLOTS_MAX) if number is None else (number,):
        directory = store / f"worker-{chosen}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Failure(
                f"{directory} cannot hold a worker's tables ({error.strerror}). Make room, or choose another "
                "store.directory (WEIBOWATCH_STORE__DIRECTORY)."
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if number is not None:
                raise Failure(
                    f"slot {number} in {store} is taken by another worker. Choose another --slot, or none."
                ) from error
            continue
        try:
            yield directory, str(chosen) if number is not None else f"{socket.gethostname()}-{chosen}"
        finally:
            os.close(handle)
        return
    raise Failure(f"all {SLOTS_MAX} slots in {store} are taken")
