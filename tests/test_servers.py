"""The fixtures of real servers keep their promise: nothing survives a run."""

from __future__ import annotations

from deploy.services.daemon import Daemon, make_folder
from tests.servers import ELASTIC, KAFKA, Run


def test_what_a_killed_worker_has_left_is_stopped_at_the_end_of_the_run() -> None:
    run = Run.make()
    left = [
        Daemon(make_folder(run.folder / f"own-{KAFKA}-1" / "broker-2"), "kafka"),
        Daemon(make_folder(run.folder / f"{ELASTIC}-9"), "elasticsearch"),
    ]
    try:
        for daemon in left:
            daemon.start(["tail", "-f", str(daemon.log_path)], {})
        assert all(daemon.alive() for daemon in left)
    finally:
        run.end()
    assert not any(daemon.alive() for daemon in left)
    assert not run.folder.exists()
