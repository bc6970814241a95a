"""The cluster mode: its topics, the ingester from start to clean end, and what orders and questions need."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from deploy import wiring
from deploy.application import Summary, stop_on_signals, summary_of
from deploy.probes import probes
from deploy.progress import Progress
from deploy.rulewatch import RuleWatch
from deploy.settings import Settings
from deploy.telemetry import Telemetry, set_up_logging
from stream.contract.records import Control
from stream.runtime import topics
from stream.runtime.ingest import InForce, Ingester
from stream.runtime.totals import Totals


class IngestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line chose. ``rules`` None: those of the settings, else the built-in ones."""

    sources: tuple[str, ...]
    speed: float | None
    rules: Path | None
    quiet: bool = False
    once: bool = False


def wanted_topics(settings: Settings) -> list[topics.Topic]:
    """The topics that ``settings`` ask for."""
    keep = settings.retention
    return topics.topics(
        settings.kafka, log_days=keep.log_days, documents_days=keep.documents_days, alerts_days=keep.alerts_days,
        rejects_days=keep.rejects_days,
    )  # fmt: skip


async def ingest(options: IngestOptions, settings: Settings) -> Summary:
    """Feed sources into Kafka until they are drained, Ctrl-C or SIGTERM."""
    set_up_logging(settings.log)
    wiring.check_sources(options.sources)
    telemetry = Telemetry()
    configured = options.rules or (Path(settings.rules.file) if settings.rules.file else None)

    def controls(in_force: InForce) -> Sequence[Control]:
        """The rules of the settings; the built-in ones only where none were ever put in force."""
        before = in_force.get("rules")
        if before is not None and configured is None:
            return ()
        builtin = wiring.DEMO_RULES if options.sources == ("demo",) else wiring.DEFAULT_RULES
        payload, version = (before.payload, before.version) if before is not None else ("", 0)
        # Workers deliver; an ingester may know nothing of channels.
        channels = wiring.channel_names(settings) or None
        control = wiring.rules_control(configured or builtin, (payload, version), channels)
        return () if control is None else (control,)

    watch = None if configured is None or options.once else _rule_watch(configured, settings, telemetry)
    stop = stop_on_signals()
    started = time.monotonic()
    http = settings.ingest
    directory = Path(settings.store.directory)
    async with wiring.opened_sources(options.sources, settings, directory, options.speed, once=options.once) as opened:
        ingester = Ingester(
            settings.kafka, opened.sources, session=wiring.now_ms(), metrics=telemetry, changes=opened.changes
        )
        async with shown(
            ingester.totals, telemetry, http.http_host, http.http_port, "ingest.http_port", options.quiet, watch
        ):
            watching = asyncio.create_task(watch.run()) if watch else None
            try:
                totals = await ingester.run(stop, controls)
            finally:
                if watching:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
    return summary_of(totals, time.monotonic() - started)


def _rule_watch(path: Path, settings: Settings, telemetry: Telemetry) -> RuleWatch:
    """What looks after the rules file of an ingester."""
    from deploy import orders

    async def in_force() -> tuple[str, int]:
        found = await asyncio.to_thread(orders.in_force, settings, "rules")
        return (found.payload, found.version) if found else ("", 0)

    return RuleWatch(
        path,
        wiring.channel_names(settings) or None,
        in_force,
        put=lambda control: asyncio.to_thread(orders.put_in_force, settings, control),
        metrics=telemetry,
    )


@contextlib.asynccontextmanager
async def shown(
    totals: Totals, telemetry: Telemetry, host: str, port: int, setting: str, quiet: bool,
    watch: RuleWatch | None = None,
) -> AsyncIterator[None]:  # fmt: skip
    """Probes and a progress line meanwhile."""

    def status() -> dict[str, Any]:
        found = {"status": "failed" if totals.problem else "ok", **msgspec.structs.asdict(totals)}
        return {**found, "rules_problem": watch.problem} if watch else found

    async with probes(host, port, setting=setting, status=status, registry=telemetry.registry) as address:
        line = asyncio.create_task(Progress(totals, address=address, quiet=quiet).run())
        try:
            yield
        finally:
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)
