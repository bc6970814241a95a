"""One run of the embedded monitor from start to clean end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from deploy import wiring
from deploy.channels import channels as made_channels
from deploy.deliveries import OfStore
from deploy.progress import Progress
from deploy.rulewatch import RuleWatch
from deploy.settings import Settings
from deploy.silencing import InStore, Silencing
from deploy.telemetry import Telemetry, set_up_logging
from stream.core.silences import Silence, from_payload
from stream.notify.deliver import Deliverer
from stream.runtime.embedded import Embedded, Parts
from stream.runtime.sqlite import DATABASE, DatabaseError, Store, StoreError, drop_in_inbox, translated
from stream.runtime.sqlite_in_force import silences_of_state
from stream.runtime.sqlite_journal import Journal
from stream.runtime.sqlite_outbox import SqliteOutbox
from stream.runtime.totals import Totals

_log = structlog.get_logger(__name__)
DAY_MS = 86_400_000
EXPIRE_ROWS_MAX = 2_000
LAST_DELIVERY_S = 5.0
SWITCH_S = 0.001
"""How long one thread may keep the interpreter from the others: ONNX Runtime's threads need it only for a moment."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line chose. ``port`` None is no dashboard, −1 the port of the settings, 0 a free one."""

    sources: tuple[str, ...]
    directory: Path
    speed: float | None
    port: int | None
    once: bool
    rules: Path | None
    quiet: bool = False
    model: Path | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did; with ``--json`` the last line of standard output. ``seconds`` starts after loading."""

    posts: int
    documents: int
    mentions: int
    rejects: int
    alerts: int
    seconds: float
    posts_per_second: float


def sentence(summary: Summary) -> str:
    """``summary`` for people."""
    return (
        f"{summary.posts} posts in {summary.seconds:.1f} s ({summary.posts_per_second:.0f}/s): "
        f"{summary.documents} documents, {summary.mentions} mentions, "
        f"{summary.alerts} alerts, {summary.rejects} rejects"
    )


async def run(options: Options, settings: Settings) -> Summary:
    """Run until drained, Ctrl-C or SIGTERM. Raises ``SourceError`` or ``StoreError`` for what the user must mend."""
    set_up_logging(settings.log)
    wiring.check_sources(options.sources)
    tune_interpreter()
    store = await asyncio.to_thread(Store, options.directory)
    try:
        async with wiring.opened_sources(
            options.sources, settings, options.directory, options.speed, once=options.once
        ) as opened:
            return await _run_on(store, options, settings, opened)
    except DatabaseError as error:
        raise translated(error, store.path) from error
    finally:
        await asyncio.to_thread(store.close)


def tune_interpreter() -> None:
    """Let threads take turns quickly, and look for garbage less often."""
    sys.setswitchinterval(SWITCH_S)
    # What is loaded stays; a look through all of it for garbage, again and again, costs a twentieth of the time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _run_on(store: Store, options: Options, settings: Settings, opened: wiring.Opened) -> Summary:
    from index.live import Broadcast
    from index.schema import create_schema

    telemetry = Telemetry()
    feed = Broadcast()
    create_schema(store.connection)
    SqliteOutbox(store).release_claims()
    _check_bins(store, settings)
    loader = wiring.ModelLoader(settings, options.model, telemetry)
    runtime = Embedded(await _parts(store, opened, settings, telemetry, feed, loader))
    watch = _rule_watch(runtime, options, settings, telemetry)
    controls = _controls(runtime, options, settings)
    started = time.monotonic()
    stop = stop_on_signals()
    async with _dashboard(runtime, options, settings, telemetry, feed, watch) as address:
        deliverer = _deliverer(runtime, store, settings, telemetry)
        background = [
            asyncio.create_task(Progress(runtime.totals, address=address, quiet=options.quiet).run()),
            asyncio.create_task(_keep_house(runtime, store, settings, telemetry)),
            asyncio.create_task(deliverer.run()),
            *([asyncio.create_task(watch.run())] if watch else []),
        ]
        try:
            totals = await runtime.run(once=options.once, stop=stop, first=controls)
            seconds = time.monotonic() - started
            if options.once:
                await _tidy(runtime, store, settings)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await deliverer.finish(LAST_DELIVERY_S)
            await runtime.close()
    return summary_of(totals, seconds)


def _check_bins(store: Store, settings: Settings) -> None:
    """Bins of one width per store: counts of another width cannot be compared with what was learned."""
    width = store.meta("bin_s")
    if width is None:
        store.set_meta("bin_s", str(settings.core.bin_s))
    elif int(width) != settings.core.bin_s:
        raise StoreError(
            f"{store.path} counts in bins of {width} s, the settings say core.bin_s = {settings.core.bin_s}. "
            "Set it back, or use a new --store."
        )


async def _parts(
    store: Store, opened: wiring.Opened, settings: Settings, telemetry: Telemetry, feed: Any, loader: wiring.ModelLoader
) -> Parts:
    from index.sqlite import SqliteIndex
    from stream.runtime.sqlite_in_force import enrich_state

    model = enrich_state(store.connection).model
    return Parts(
        store=store,
        index=SqliteIndex(store.connection, now_ms=wiring.now_ms),
        tagger=await asyncio.to_thread(loader.in_force, model),
        model=model,
        load_model=loader,
        sources=opened.sources,
        changes=opened.changes,
        channels=made_channels(settings, wiring.now_ms),
        metrics=telemetry,
        t2s=wiring.traditional_to_simplified(),
        now_ms=wiring.now_ms,
        core=settings.core,
        worker=settings.worker,
        observer=lambda committed: feed.publish_commit(committed.documents, committed.flips),
    )


def _rules_of(options: Options, settings: Settings) -> Path | None:
    """The rules file that somebody chose, None for the built-in ones."""
    return options.rules or (Path(settings.rules.file) if settings.rules.file else None)


def _rule_watch(runtime: Embedded, options: Options, settings: Settings, telemetry: Telemetry) -> RuleWatch | None:
    """What looks after the rules file; a run that ends by itself keeps the rules that it began with."""
    path = _rules_of(options, settings)
    if path is None or options.once:
        return None
    return RuleWatch(
        path,
        wiring.channel_names(settings),
        in_force=lambda: runtime.on_writer(runtime.rules_in_force),
        put=lambda control: runtime.append([control]),
        metrics=telemetry,
    )


def _controls(runtime: Embedded, options: Options, settings: Settings) -> list[Any]:
    """Control records that must stand in the log before the first post: rules that changed."""
    configured = _rules_of(options, settings)
    builtin = wiring.DEMO_RULES if options.sources == ("demo",) else wiring.DEFAULT_RULES
    control = wiring.rules_control(
        configured or builtin, runtime.rules_in_force(), wiring.channel_names(settings)
    )
    return [control] if control else []


def stop_on_signals() -> asyncio.Event:
    """An event set by the first Ctrl-C or SIGTERM; a second Ctrl-C ends at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, ask)
    return stop


@contextlib.asynccontextmanager
async def _dashboard(
    runtime: Embedded, options: Options, settings: Settings, telemetry: Telemetry, feed: Any, watch: RuleWatch | None
) -> AsyncIterator[str]:
    """Serve the dashboard meanwhile; yields its address, or an empty text when there is none."""
    if options.port is None:
        yield ""
        return
    from deploy.replay import replay
    from deploy.web import serving
    from index.reader import SqliteReader

    port = settings.web.port if options.port < 0 else options.port
    reader = SqliteReader(options.directory / DATABASE)
    again = functools.partial(
        replay, reader, settings, options.directory, functools.partial(drop_in_inbox, options.directory)
    )
    async with serving(
        reader, settings, port, telemetry, feed, status=lambda: _status(runtime, watch), replay=again,
        silencing=Silencing(InStore(options.directory), wiring.now_ms), deliveries=OfStore(options.directory),
    ) as address:
        yield address


def _status(runtime: Embedded, watch: RuleWatch | None) -> dict[str, Any]:
    """What ``/healthz`` and the dashboard show of the worker, which works on where its rules file is broken."""
    totals = runtime.totals
    return {
        "state": "failed" if totals.problem else ("drained" if runtime.drained else "running"),
        "problem": totals.problem or (watch.problem if watch else ""),
        "lag_records": totals.lag_records,
        "watermark_ms": totals.watermark_ms,
        "posts": totals.posts,
        "expected": totals.expected,
    }


def _deliverer(runtime: Embedded, store: Store, settings: Settings, telemetry: Telemetry) -> Deliverer:
    from index.reader import SqliteReader

    reader = functools.partial(SqliteReader, store.path)
    found = {channel.name: channel for channel in made_channels(settings, wiring.now_ms, reader)}

    async def silences() -> Sequence[Silence]:
        control = await runtime.on_writer(lambda: silences_of_state(store.connection))
        return from_payload(control.payload)

    return Deliverer(SqliteOutbox(store), found, runtime.on_writer, wiring.now_ms, telemetry, silences)


async def _keep_house(runtime: Embedded, store: Store, settings: Settings, telemetry: Telemetry) -> None:
    """Retention and the gauges that nothing else sets, from time to time."""
    while True:
        await _tidy(runtime, store, settings)
        telemetry.gauge("weibowatch_store_bytes", store.path.stat().st_size)
        await asyncio.sleep(settings.retention.every_s)


async def _tidy(runtime: Embedded, store: Store, settings: Settings) -> None:
    """Take away what is too old; small steps on the writer thread, between batches."""
    from index.sqlite import SqliteIndex

    index = SqliteIndex(store.connection, now_ms=wiring.now_ms)
    keep = settings.retention
    now = wiring.now_ms()
    ages = {
        "documents": keep.documents_days,
        "pictures": keep.pictures_days,
        "points": keep.trends_days,
        "flips": keep.alerts_days,
        "rejects": keep.rejects_days,
        "notes": keep.notes_days,
    }
    for kind, days in ages.items():
        if days > 0:
            await _in_steps(runtime, _expiring(store, index, kind, now - round(days * DAY_MS)))
    if keep.documents_days > 0:
        journal, before = Journal(store.connection), now - round(keep.documents_days * DAY_MS)
        await _in_steps(runtime, functools.partial(journal.trim, before, rows_max=EXPIRE_ROWS_MAX))
    if keep.alerts_days > 0:
        before = now - round(keep.alerts_days * DAY_MS)
        await _in_steps(runtime, functools.partial(SqliteOutbox(store).trim, before, rows_max=EXPIRE_ROWS_MAX))
    if keep.log_days > 0:
        before = now - round(keep.log_days * DAY_MS)
        await _in_steps(runtime, functools.partial(store.trim_log, before, rows_max=EXPIRE_ROWS_MAX))


def _expiring(store: Store, index: Any, kind: str, before_ms: int) -> Callable[[], int]:
    def step() -> int:
        with store.transaction():
            return int(index.expire(before_ms, kind=kind, rows_max=EXPIRE_ROWS_MAX))

    return step


async def _in_steps(runtime: Embedded, step: Callable[[], int]) -> None:
    try:
        while await runtime.on_writer(step) >= EXPIRE_ROWS_MAX:
            await asyncio.sleep(0)
    except Exception:  # retention works on at its next turn; the watch must not end with it
        _log.exception("retention_failed")


def summary_of(totals: Totals, seconds: float) -> Summary:
    return Summary(
        posts=totals.posts,
        documents=totals.documents,
        mentions=totals.mentions,
        rejects=totals.rejects,
        alerts=totals.alerts,
        seconds=round(seconds, 3),
        posts_per_second=round(totals.posts / seconds, 1) if seconds > 0 else 0.0,
    )
