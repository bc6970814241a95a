"""A cluster worker whose index is a file of facts: ``python -m tests.runtime.worker_process FOLDER SLOT``.

``settings.json`` in the folder holds ``bootstrap``, ``prefix``, ``session_timeout_s`` and ``tagger`` (``demo`` or
``marks``).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from deploy import wiring
from deploy.application import stop_on_signals
from deploy.settings import LogSettings, Settings
from deploy.telemetry import Telemetry, set_up_logging
from stream.contract.ports import TagInput
from stream.contract.records import Span
from stream.notify.deliver import Deliverer
from stream.notify.local import FileChannel
from stream.runtime.cluster import ClusterWorker, WorkerParts
from stream.runtime.settings import KafkaSettings, WorkerSettings
from tests.core.harness import QUICK, tag
from tests.runtime.facts import FactsFile


class Marked:
    """The tagger of the core's tests, of any version."""

    def __init__(self, version: str = "m1") -> None:
        self.model_version = version

    def prepare(self, posts: Sequence[TagInput]) -> Sequence[str]:
        return [post.text for post in posts]

    def infer(self, prepared: Sequence[str]) -> Sequence[str]:
        return prepared

    def decode(self, prepared: Sequence[str], scores: Sequence[str]) -> list[list[Span]]:
        return [tag(text) or [] for text in prepared]


async def main(folder: Path, slot: str) -> None:
    chosen = json.loads((folder / "settings.json").read_text())
    set_up_logging(LogSettings(level="info"))
    settings = Settings(
        kafka=KafkaSettings(
            bootstrap=chosen["bootstrap"], prefix=chosen["prefix"], session_timeout_s=chosen["session_timeout_s"]
        ),
        worker=WorkerSettings(stuck_s=30),
    )
    telemetry = Telemetry()
    channel = FileChannel(folder / "alerts.jsonl")
    worker = ClusterWorker(
        WorkerParts(
            kafka=settings.kafka,
            worker=settings.worker,
            core=settings.core if chosen["tagger"] == "demo" else QUICK,
            index=FactsFile(folder / f"{slot}-{os.getpid()}.facts"),
            tagger=wiring.load_tagger(settings) if chosen["tagger"] == "demo" else Marked(),
            channels=(channel.name,),
            deliverer=lambda outbox: Deliverer(
                outbox, {channel.name: channel}, outbox.on_loop, wiring.now_ms, telemetry
            ),
            refused=deque(),
            hopeless=(),
            keep_house=lambda: None,
            house_s=3600,
            alerts_days=0,
            metrics=telemetry,
            t2s=wiring.traditional_to_simplified(),
            now_ms=wiring.now_ms,
            directory=folder / f"worker-{slot}",
            instance=f"{settings.kafka.prefix}-{slot}",
            load_model=lambda model: Marked(model.version or "m1"),
        )
    )
    stop = stop_on_signals()
    print("started", flush=True)
    totals = await worker.run(stop)
    print(totals, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
