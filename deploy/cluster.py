"""The processes of the cluster mode from start to clean end: ingest, worker, serve."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from deploy import wiring
from deploy.application import SWITCH_S, Summary, stop_on_signals, summary_of
from deploy.errors import Failure, UsageFailure
from deploy.probes import probes
from deploy.progress import Progress
from deploy.settings import Settings
from deploy.telemetry import Telemetry, set_up_logging
from stream.contract.records import Control
from stream.runtime import topics
from stream.runtime.ingest import InForce, Ingester
from stream.runtime.totals import Totals

SLOTS_MAX = 1_000


class IngestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line chose. ``rules`` None: those of the settings, else the built-in ones."""

    sources: tuple[str, ...]
    speed: float | None
    rules: Path | None
    quiet: bool = False


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line chose. ``slot`` None takes the first free one of this machine."""

    slot: int | None
    quiet: bool = False


def wanted_topics(settings: Settings) -> list[topics.Topic]:
    """The topics that ``settings`` ask for."""
    keep = settings.retention
    return topics.topics(
        settings.kafka, log_days=keep.log_days, alerts_days=keep.alerts_days, rejects_days=keep.rejects_days
    )


async def ingest(options: IngestOptions, settings: Settings) -> Summary:
    """Feed sources into Kafka until they are drained, Ctrl-C or SIGTERM."""
    set_up_logging(settings.log)
    if twice := [spec for spec, count in Counter(options.sources).items() if count > 1]:
        raise UsageFailure(f"--source {twice[0]} is given twice")
    for spec in options.sources:
        wiring.check_source(spec)
    telemetry = Telemetry()
    sources = wiring.open_sources(list(options.sources), settings, Path(settings.store.directory), options.speed)
    ingester = Ingester(settings.kafka, sources, session=wiring.now_ms(), metrics=telemetry)
    configured = options.rules or (Path(settings.rules.file) if settings.rules.file else None)

    def controls(in_force: InForce) -> Sequence[Control]:
        """The rules of the settings; the built-in ones only where none were ever put in force."""
        before = in_force.get("rules")
        if before is not None and configured is None:
            return ()
        builtin = wiring.DEMO_RULES if options.sources == ("demo",) else wiring.DEFAULT_RULES
        payload, version = (before.payload, before.version) if before is not None else ("", 0)
        control = wiring.rules_control(configured or builtin, (payload, version))
        return () if control is None else (control,)

    stop = stop_on_signals()
    started = time.monotonic()
    http = settings.ingest
    async with _shown(ingester.totals, telemetry, http.http_host, http.http_port, "ingest.http_port", options.quiet):
        totals = await ingester.run(stop, controls)
    return summary_of(totals, time.monotonic() - started)


async def worker(options: WorkerOptions, settings: Settings) -> Summary:
    """Work off the log until Ctrl-C or SIGTERM; what is under way is finished."""
    from index.elastic import ElasticIndex
    from stream.runtime.cluster import ClusterWorker, WorkerParts

    set_up_logging(settings.log)
    sys.setswitchinterval(SWITCH_S)
    telemetry = Telemetry()
    stopping = threading.Event()
    with slot(Path(settings.store.directory), options.slot) as (directory, name):
        tagger = await asyncio.to_thread(wiring.load_tagger, settings)
        index = ElasticIndex(settings.elastic, metrics=telemetry, stopping=stopping)
        await asyncio.to_thread(index.ensure)
        running = ClusterWorker(
            WorkerParts(
                kafka=settings.kafka,
                worker=settings.worker,
                core=settings.core,
                index=index,
                tagger=tagger,
                channels=wiring.channels(settings),
                metrics=telemetry,
                t2s=wiring.traditional_to_simplified(),
                now_ms=wiring.now_ms,
                directory=directory,
                instance=f"{settings.kafka.prefix}-{name}",
            )
        )
        stop = stop_on_signals()
        started = time.monotonic()
        http = settings.worker
        async with _shown(running.totals, telemetry, http.http_host, http.http_port, "worker.http_port", options.quiet):
            totals = await running.run(stop)
    return summary_of(totals, time.monotonic() - started)


@contextlib.asynccontextmanager
async def _shown(
    totals: Totals, telemetry: Telemetry, host: str, port: int, setting: str, quiet: bool
) -> AsyncIterator[None]:
    """Probes and a progress line meanwhile."""

    def status() -> dict[str, Any]:
        return {"status": "failed" if totals.problem else "ok", **msgspec.structs.asdict(totals)}

    async with probes(host, port, setting=setting, status=status, registry=telemetry.registry) as address:
        shown = asyncio.create_task(Progress(totals, address=address, quiet=quiet).run())
        try:
            yield
        finally:
            shown.cancel()
            await asyncio.gather(shown, return_exceptions=True)


@contextlib.contextmanager
def slot(store: Path, number: int | None) -> Iterator[tuple[Path, str]]:
    """(folder of the worker's tables, its name in the group), held by a lock as long as the worker lives.

    A given number is the whole name, the same wherever the worker runs (StatefulSet); a number found here belongs to
    this machine. Two workers of one name would fence each other out. Raises ``Failure``.
    """
    for chosen in range(SLOTS_MAX) if number is None else (number,):
        directory = store / f"worker-{chosen}"
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
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
