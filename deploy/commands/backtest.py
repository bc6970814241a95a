"""``weibowatch backtest``: what these rules would have told of the facts that are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.common import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    StoreOption,
    cluster_libraries,
    existing_database,
    in_cluster,
    moment,
    print_json,
    reports_failures,
    settings_for,
)
from deploy.errors import Failure, UsageFailure

if TYPE_CHECKING:
    from deploy.backtest.facts import Facts
    from deploy.settings import Settings
    from stream.backtest.retold import Find, Found
    from stream.contract.records import Control, Document
    from stream.core.enrich import T2s
    from stream.core.entities import Aliases

OldNewOption = Annotated[
    tuple[Path, Path] | None, typer.Option("--diff", help="Two rules files: what one tells and the other does not.")
]


def register(app: typer.Typer) -> None:
    """Add ``backtest`` to ``app``."""
    app.command(
        epilog="Examples: weibowatch backtest --rules new.yaml --from 2022-03-01   ·   "
        "weibowatch backtest --diff old.yaml new.yaml --labels events.csv"
    )(backtest)


@reports_failures
def backtest(
    store: StoreOption = None,
    cluster: ClusterOption = False,
    rules: Annotated[
        Path | None, typer.Option("--rules", help="Rules file (YAML).", dir_okay=False, show_default="as they were")
    ] = None,
    diff: OldNewOption = None,
    from_: Annotated[str | None, typer.Option("--from", help="Alerts from this time on (ISO; UTC).")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Alerts before this time.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="CSV or JSON lines: entity, start, end.", dir_okay=False)
    ] = None,
    early: Annotated[
        float, typer.Option("--early", min=0, max=8760, help="Hours before a label in which an alert is about it.")
    ] = 6,
    late: Annotated[
        float, typer.Option("--late", min=0, max=8760, help="Hours after a label in which an alert is about it.")
    ] = 1,
    aliases: Annotated[
        Path | None, typer.Option("--aliases", help="Alias file: which alerts it would change.", dir_okay=False)
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Model folder: which alerts it would change.", file_okay=False)
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Replay what is kept, as it was seen at the time, under these rules: alerts per day, and how good they are.

    Without rules those of the log are replayed, which gives the alerts of the live run.
    """
    from deploy import wiring
    from deploy.backtest import labelfile
    from deploy.backtest.bench import Bench, Question, Wanted
    from deploy.backtest.report import HOUR_MS
    from deploy.telemetry import set_up_logging
    from stream.backtest.labels import Slack
    from stream.backtest.retold import Retelling

    retold = aliases is not None or model is not None
    if diff is not None and (rules is not None or retold):
        raise UsageFailure("--diff compares two rules files; leave out --rules, --aliases and --model")
    from_ms, to_ms = moment(from_, "--from"), moment(to, "--to")
    if from_ms is not None and to_ms is not None and to_ms <= from_ms:
        raise UsageFailure(f"--to {to} is not after --from {from_}")
    settings, t2s = settings_for(config), wiring.traditional_to_simplified()
    set_up_logging(settings.log)
    controls = [_control(path, t2s) for path in (diff or (rules,))]
    slack = Slack(round(early * HOUR_MS), round(late * HOUR_MS))
    question = Question(from_ms, to_ms, labelfile.load(labels, t2s) if labels else (), slack)
    with contextlib.closing(_facts(settings, store, cluster, config)) as facts:
        bench = Bench(facts, question)
        if diff is not None:
            answer = bench.compared(Wanted(str(diff[0]), controls[0]), Wanted(str(diff[1]), controls[1]))
        elif retold:
            names = _aliases(aliases, t2s) or facts.in_force.aliases
            retelling = Retelling(names, _finder(settings, model), t2s=t2s, settings=facts.core)
            before = Wanted("as it was", controls[0])
            answer = bench.compared(before, Wanted("told anew", controls[0], retelling), names)
        else:
            answer = bench.alone(Wanted(str(rules) if rules else "of the log", controls[0]))
    if json:
        print_json(answer.value)
        return
    for line in answer.lines:
        typer.echo(line)


def _facts(settings: Settings, store: Path | None, cluster: bool, config: Path | None) -> Facts:
    """What is kept in the store, or in the cluster of the settings. Raises ``Failure``."""
    if not in_cluster(store, cluster):
        from deploy.backtest.facts import StoreFacts

        return StoreFacts(existing_database(store, config), settings.core)
    with cluster_libraries():
        from deploy.backtest.cluster_facts import ClusterFacts
    return ClusterFacts(settings)


def _control(path: Path | None, t2s: T2s) -> Control | None:
    """The rules of a file. Raises ``Failure`` with every error in it."""
    from deploy import wiring

    return None if path is None else wiring.rules_control(path, ("", 0))


def _aliases(path: Path | None, t2s: T2s) -> Aliases | None:
    """The aliases of a file. Raises ``Failure`` with every error in it."""
    from deploy import aliasfile
    from stream.core.entities import Aliases

    if path is None:
        return None
    payload, errors = aliasfile.load(path, t2s)
    if errors:
        raise Failure(f"{path} has errors:\n  " + "\n  ".join(errors))
    return Aliases.from_payload(payload)


def _finder(settings: Settings, model: Path | None) -> Find:
    """What is found in posts: by ``model``, else what was."""
    from deploy import wiring
    from stream.backtest.retold import Found, as_stored, seen_of
    from stream.contract.ports import tagged

    if model is None:
        return as_stored
    tagger = wiring.load_tagger(settings, model)

    def find(documents: Sequence[Document]) -> Found:
        return Found(tagged(tagger, [seen_of(document) for document in documents]), tagger.model_version)

    return find
