"""``make run-cluster``: everything on one machine, by the script that it calls."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.clusters import get
from tests.deploy.processes import ROOT, WAIT_S, free_port, wait_for
from tests.servers import Run


@pytest.mark.services
def test_one_command_starts_everything_and_one_signal_stops_it(servers: Run, tmp_path: Path) -> None:
    port = free_port()
    services = servers.folder / "run-cluster"
    environment = {
        **os.environ,
        "WEIBOWATCH": str(Path(sys.executable).with_name("weibowatch")),
        "SERVICES": str(services),
        "WEIBOWATCH_WEB__PORT": str(port),
        "WEIBOWATCH_WORKER__HTTP_PORT": "0",
        "WEIBOWATCH_INGEST__HTTP_PORT": "0",
    }

    def posts() -> int:
        try:
            return int(json.loads(get(f"http://127.0.0.1:{port}", "/api/stats")[1]).get("posts", 0))
        except OSError:
            return 0

    try:
        with (tmp_path / "log").open("wb") as log:
            script = [shutil.which("bash") or "bash", str(ROOT / "deploy" / "run_cluster.sh")]
            process = subprocess.Popen(script, cwd=tmp_path, env=environment, stdout=log, stderr=log)
            wait_for(process, lambda: posts() == 1006, 4 * WAIT_S)  # servers, workers and all start first
            process.send_signal(signal.SIGTERM)
            assert process.wait(90) == 0, (tmp_path / "log").read_text()
        assert posts() == 0
        assert "stopped: " in (tmp_path / "log").read_text()
    finally:
        down = [environment["WEIBOWATCH"], "services", "down", "--data", str(services), "--delete"]
        subprocess.run(down, check=False)
        shutil.rmtree(services, ignore_errors=True)
