"""Dashboard and API of the cluster mode: answers from Elasticsearch, the live stream from Kafka."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Any, Final

import structlog
import typer

from deploy import wiring
from deploy.application import stop_on_signals
from deploy.deliveries import OfCluster
from deploy.orders import deliveries, hand_over, in_force, put_in_force
from deploy.replay import replay
from deploy.settings import Settings
from deploy.silencing import InCluster, Silencing
from deploy.telemetry import Telemetry, set_up_logging
from deploy.web import serving
from index.elastic import ElasticReader
from index.live import Broadcast
from stream.runtime.kafka import KafkaProblem, lag
from stream.runtime.live import LiveTail

_log = structlog.get_logger(__name__)
LAG_S: Final = 5.0


async def serve(settings: Settings, port: int) -> None:
    """Until Ctrl-C or SIGTERM. Keeps nothing, so that any number may run. Raises ``Failure``."""
    set_up_logging(settings.log)
    stop = stop_on_signals()
    telemetry, feed, engines = Telemetry(), Broadcast(), _Engines(settings)
    reader = ElasticReader(settings.elastic)
    again = functools.partial(
        replay, reader, settings, Path(settings.store.directory), functools.partial(hand_over, settings)
    )
    place = InCluster(functools.partial(in_force, settings), functools.partial(put_in_force, settings))
    async with serving(
        reader, settings, port, telemetry, feed, status=engines.status, replay=again,
        silencing=Silencing(place, wiring.now_ms),
        deliveries=OfCluster(functools.partial(deliveries, settings, "")),
    ) as address:  # fmt: skip
        typer.echo(address, err=True)
        tail = LiveTail(settings.kafka, feed.publish_commit)
        background = [asyncio.create_task(tail.run()), asyncio.create_task(engines.watch(telemetry))]
        try:
            await stop.wait()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)


class _Engines:
    """How the workers are doing, as Kafka tells it. Pages answer without it, so it never makes this process ill."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lag: int | None = None
        self._problem = ""

    def status(self) -> dict[str, Any]:
        """What ``/healthz`` and the dashboard show."""
        found: dict[str, Any] = {"state": "running", "problem": self._problem}
        return found if self._lag is None else {**found, "lag_records": self._lag}

    async def watch(self, telemetry: Telemetry) -> None:
        """Ask for the lag from time to time."""
        while True:
            try:
                self._lag = sum((await asyncio.to_thread(lag, self._settings.kafka)).values())
                self._problem = ""
                telemetry.gauge("weibowatch_lag_records", self._lag)
            except KafkaProblem as error:
                self._lag, self._problem = None, str(error)
                _log.warning("lag_unknown", error=self._problem)
            await asyncio.sleep(LAG_S)
