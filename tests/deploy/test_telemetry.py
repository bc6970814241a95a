"""Logs of the command."""

from __future__ import annotations

import json

import pytest
import structlog

from deploy.settings import LogSettings
from deploy.telemetry import set_up_logging


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
