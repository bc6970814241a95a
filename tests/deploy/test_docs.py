"""What exists is documented: every setting, command, option, route, metric and source stands in README.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from deploy.cli import app
from deploy.settings import Settings, flat
from ingest.sources import KINDS
from stream.contract import signals
from stream.contract.records import REASONS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def all_commands() -> list[tuple[str, Any]]:
    return list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", flat(Settings()))
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    assert f"| `{name}` |" in README, f"README's table of settings lacks {name}"


def test_the_readme_lists_no_setting_that_does_not_exist() -> None:
    listed = re.findall(r"^\| `([a-z_]+\.[a-z_0-9]+)` \|", README, flags=re.MULTILINE)
    assert set(listed) == set(flat(Settings()))


@pytest.mark.parametrize(("name", "command"), all_commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_is_documented_and_explains_itself(name: str, command: Any) -> None:
    assert f"weibowatch {name}" in README, f"README does not mention: weibowatch {name}"
    assert command.help, f"{name} has no help"
    assert command.epilog, f"{name} shows no example"
    assert "xample" in command.epilog


@pytest.mark.parametrize("name", [*signals.COUNTERS, *signals.HISTOGRAMS, *signals.GAUGES])
def test_every_metric_is_documented(name: str) -> None:
    assert f"`{name}`" in README


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_is_documented(kind: str) -> None:
    assert f"`{kind}" in README


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_for_a_dead_letter_is_documented(reason: str) -> None:
    assert f"`{reason}`" in README


def test_every_link_to_a_file_of_the_repository_leads_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "ARCHITECTURE.md"):
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), f"{page.name} links to {target}"
