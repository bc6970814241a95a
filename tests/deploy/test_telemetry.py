"""Logs of the command."""

from __future__ import annotations

import json

import pytest
import structlog

from deploy.settings import LogSettings
from deploy.telemetry import Telemetry, set_up_logging
from stream.contract.records import Coverage, Drift, Observation
from stream.runtime.told import tell
from stream.runtime.totals import Totals


def test_what_sources_saw_is_measured() -> None:
    metrics = Telemetry()
    line = Coverage(source="weibo:hot", observed_ms=1, outcome="captcha", from_ms=0, through_ms=1)
    seen = Observation(source="weibo:hot", post_id="1", observed_ms=1)
    tell(Totals(), metrics, notes=[line, line, seen], counts={}, covered=0.25)
    tell(Totals(), metrics, counts={})
    labels = {"source": "weibo:hot", "outcome": "captcha"}
    assert metrics.registry.get_sample_value("weibowatch_source_requests_total", labels) == 2
    assert metrics.registry.get_sample_value("weibowatch_observations_total") == 1
    assert metrics.registry.get_sample_value("weibowatch_covered_ratio") == 0.25, "no bin was closed since"


def test_drift_of_the_model_is_measured_by_type() -> None:
    metrics = Telemetry()
    notes = [
        Drift(source="m", type=kind, observed_ms=hour, state="ok" if hour == 1 else "alert", psi=400, psi_noise=100)
        for hour in (1, 2)
        for kind in ("PER", "")
    ]
    tell(Totals(), metrics, notes=notes, counts={})
    for kind in ("PER", "none"):
        assert metrics.registry.get_sample_value("weibowatch_model_drift_psi", {"type": kind}) == 0.3
        assert metrics.registry.get_sample_value("weibowatch_model_drift_state", {"type": kind}) == 3
    learning = Drift(source="m", type="LOC", observed_ms=1, state="learning")
    tell(Totals(), metrics, notes=[learning], counts={})
    assert metrics.registry.get_sample_value("weibowatch_model_drift_state", {"type": "LOC"}) == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_names_the_lines_but_not_what_people_wrote(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(LogSettings(json=as_json))
    posts = ["the words of an author"] * 10_000
    try:
        posts.index("something else")
    except ValueError:
        structlog.get_logger().exception("batch_failed", place="weibo/1")
    told = capsys.readouterr().err
    assert "batch_failed" in told and "weibo/1" in told
    assert "Traceback" in told and "posts.index(" in told
    assert "the words of an author" not in told and len(told) < 2_000
    if as_json:
        assert json.loads(told)["event"] == "batch_failed"
