"""A rules file that changes under a monitor: taken once it stays as it is, refused with its reasons, taken again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest
import structlog

from deploy.errors import Failure
from deploy.rulewatch import RuleWatch
from deploy.telemetry import Telemetry
from stream.contract.ports import EngineError
from stream.contract.records import Control
from stream.core.rules import RuleSet
from stream.runtime.sqlite import DATABASE
from stream.runtime.wire import decoded
from tests.deploy.processes import ended, free_port, health, rows, started, wait_for

ONE = "version: 1\nrules:\n- {id: one, kind: burst}\n"
TWO = ONE + "- {id: two, kind: burst}\n"


class Log:
    """Where rules are put in force; the worker comes to them when a test says so, or never."""

    def __init__(self, path: Path) -> None:
        self.telemetry = Telemetry()
        self.told: list[Control] = []
        self.in_force = ("", 1)
        self.away = False
        self.watch = RuleWatch(path, ["ops"], self._in_force, self._put, self.telemetry)

    async def _in_force(self) -> tuple[str, int]:
        return self.in_force

    async def _put(self, control: Control) -> None:
        if self.away:
            raise EngineError("no answer from Kafka")
        self.told.append(control)

    def ids(self) -> list[list[str]]:
        return [[rule.id for rule in RuleSet.from_payload(control.payload).rules] for control in self.told]

    def metric(self, name: str, **labels: str) -> float:
        return self.telemetry.registry.get_sample_value(name, labels) or 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(ONE)
    return path


async def test_a_changed_file_is_taken_once_it_stays_as_it_is(path: Path) -> None:
    log = Log(path)
    await log.watch.look()
    assert log.told == []
    path.write_text(TWO)
    await log.watch.look()
    assert log.told == [], "it may be half written"
    await log.watch.look()
    await log.watch.look()
    assert log.ids() == [["one", "two"]] and log.told[0].version == 2 and log.told[0].topic == "rules"
    path.write_text(ONE.replace("one", "six"))
    for _ in range(3):
        await log.watch.look()
    assert log.ids()[1:] == [["six"]] and log.told[1].version == 3, "also before the worker has come to the first"
    assert log.metric("weibowatch_rules_changes_total", outcome="in_force") == 2


async def test_the_same_content_and_the_rules_in_force_change_nothing(path: Path) -> None:
    log = Log(path)
    os.utime(path, ns=(1, 1))
    for _ in range(3):
        await log.watch.look()
    path.write_text("# a remark\n" + TWO)
    for _ in range(3):
        await log.watch.look()
    path.write_text(TWO)
    for _ in range(3):
        await log.watch.look()
    assert log.ids() == [["one", "two"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ONE + "- {id: two, kind: brust}\n- {kind: burst}\n", ("yaml:4: rules[1].kind", "yaml:5: rules[2].id")),
        (ONE.replace("burst}", "burst, route: {receivers: [oops]}}"), ("no channel oops in the settings",)),
        (None, ("cannot be read",)),
    ],
)
async def test_a_broken_file_leaves_the_old_rules_and_says_why(
    path: Path, text: str | None, words: tuple[str, ...]
) -> None:
    log = Log(path)
    path.unlink()
    if text is not None:
        path.write_text(text)
    with structlog.testing.capture_logs() as logs:
        for _ in range(4):
            await log.watch.look()
    assert log.told == [] and all(word in log.watch.problem for word in words)
    assert [line["event"] for line in logs] == ["rules_refused"] and logs[0]["problem"] == log.watch.problem
    assert log.metric("weibowatch_rules_broken") == log.metric("weibowatch_rules_changes_total", outcome="refused") == 1
    path.write_text(TWO)
    for _ in range(3):
        await log.watch.look()
    assert log.ids() == [["one", "two"]] and log.watch.problem == "" and log.metric("weibowatch_rules_broken") == 0


async def test_what_could_not_be_written_is_written_later(path: Path) -> None:
    log = Log(path)
    log.away = True
    path.write_text(TWO)
    for _ in range(3):
        await log.watch.look()
    assert log.watch.problem.endswith("could not be put in force: no answer from Kafka")
    log.away = False
    await log.watch.look()
    assert log.ids() == [["one", "two"]] and log.watch.problem == ""


async def test_it_looks_by_itself_and_goes_on_after_a_defect(path: Path) -> None:
    log = Log(path)
    failures = [ZeroDivisionError(), Failure("x")]

    async def put(control: Control) -> None:
        if failures:
            raise failures.pop(0)
        log.told.append(control)

    log.watch._put = put
    path.write_text(TWO)
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(log.watch.run(0.01))
        while len(logs) < 2:
            await asyncio.sleep(0.01)
        path.write_text(ONE.replace("one", "six"))
        while not log.told:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [line["event"] for line in logs][:2] == ["rules_not_looked_at", "rules_refused"]
    assert log.ids() == [["six"]]


def test_a_running_monitor_takes_a_changed_file_and_tells_of_a_broken_one(path: Path, tmp_path: Path) -> None:
    store, port = tmp_path / "store", free_port()
    words = ("run", "--source", "jsonl:-", "--store", str(store), "--rules", str(path), "--port", str(port), "--json")

    def in_force() -> list[str]:
        found = rows(store, "SELECT record FROM log ORDER BY id") if (store / DATABASE).exists() else []
        controls = [one for (data,) in found if isinstance(one := decoded(data), Control)]
        return [rule.id for rule in RuleSet.from_payload(controls[-1].payload).rules] if controls else []

    with started(*words, stdin=subprocess.PIPE) as process:
        wait_for(process, lambda: health(port)[0] == 200 and in_force() == ["one"])
        path.write_text(TWO)
        wait_for(process, lambda: in_force() == ["one", "two"])
        path.write_text(TWO.replace("two,", "two, kindd: x,"))
        wait_for(process, lambda: "rules.yaml:4: rules[1].kindd" in health(port)[1]["problem"])
        assert health(port)[0] == 200 and in_force() == ["one", "two"], "it works on"
        process.send_signal(signal.SIGTERM)
        code, _, error = ended(process)
    assert code == 0 and "rules_refused" in error
