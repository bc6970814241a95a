"""Commands of the cluster mode: ``topics`` and ``ingest``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from deploy.commands.common import ConfigOption, JsonOption, print_json, reports_failures, settings_for
from deploy.commands.run import speed_of
from deploy.errors import Failure

topics_app = typer.Typer(help="Kafka topics of the cluster mode.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    topics_app.command("create", epilog="Example: weibowatch topics create")(topics_create)
    topics_app.command("describe", epilog="Example: weibowatch topics describe --json")(topics_describe)
    topics_app.command("check", epilog="Example: weibowatch topics check")(topics_check)
    app.add_typer(topics_app, name="topics")
    app.command(
        epilog="Examples: weibowatch ingest --source demo   ·   weibowatch ingest --source jsonl:posts.jsonl --json"
    )(ingest)


@reports_failures
def topics_create(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Create the topics that are missing, as the settings say. What exists is left as it is."""
    from deploy.cluster import wanted_topics
    from stream.runtime.kafka import create_topics

    settings = settings_for(config)
    made = _kafka(lambda: create_topics(settings.kafka, wanted_topics(settings)))
    if json:
        print_json({"created": made})
        return
    typer.echo("\n".join(f"created {name}" for name in made) or "all topics are there already")


@reports_failures
def topics_describe(config: ConfigOption = None, json: JsonOption = False) -> None:
    """The topics as they are: partitions, copies, retention, and what the workers have left to do."""
    from deploy.cluster import wanted_topics
    from stream.runtime.kafka import describe_topics, lag

    settings = settings_for(config)
    found = _kafka(lambda: describe_topics(settings.kafka, wanted_topics(settings)))
    if not found:
        raise Failure("there are no topics yet. Create them with: weibowatch topics create")
    left = _kafka(lambda: lag(settings.kafka))
    if json:
        print_json([{**topic._asdict(), "lag": left.get(topic.name)} for topic in found])
        return
    table = Table("topic", "partitions", "copies", "cleanup", "retention (days)", "lag", box=None)
    for topic in found:
        kept = int(topic.config.get("retention.ms", "-1"))
        table.add_row(
            topic.name,
            str(topic.partitions),
            str(topic.replication),
            topic.config.get("cleanup.policy", ""),
            f"{kept / 86_400_000:g}" if kept > 0 else "",
            str(left.get(topic.name, "")),
        )
    Console().print(table)


@reports_failures
def topics_check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Compare the topics with the settings; exit code 1 when something differs."""
    from deploy.cluster import wanted_topics
    from stream.runtime.kafka import describe_topics, differences

    settings = settings_for(config)
    wanted = wanted_topics(settings)
    found = _kafka(lambda: differences(wanted, describe_topics(settings.kafka, wanted)))
    if json:
        print_json({"differences": found})
    else:
        typer.echo("\n".join(found) or "all topics are as the settings say")
    if found:
        raise typer.Exit(1)


@reports_failures
def ingest(
    source: Annotated[
        list[str],
        typer.Option("--source", help="demo, jsonl:FILE (.gz too; - is standard input), cmner:FILE, conll:FILE."),
    ],
    speed: Annotated[
        str | None,
        typer.Option("--speed", help="Replay in event time: 1 (as it was), 60, max.", show_default="max"),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            "--rules", help="Put this rules file (YAML) in force.", dir_okay=False, show_default="those in force"
        ),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Cluster mode: collect from sources into Kafka. Goes on where it stopped; ends when the sources are drained."""
    from deploy import cluster
    from deploy.application import sentence

    options = cluster.IngestOptions(sources=tuple(source), speed=speed_of(speed), rules=rules, quiet=json)
    summary = _kafka(lambda: asyncio.run(cluster.ingest(options, settings_for(config))))
    if json:
        print_json(msgspec.to_builtins(summary))
    else:
        typer.echo(sentence(summary), err=True)


def _kafka(work: Any) -> Any:
    """``work()``, with Kafka's problems as failures; without the libraries of the cluster mode, how to get them."""
    try:
        from stream.runtime.kafka import KafkaProblem
    except ImportError as error:
        raise Failure(f"{error.name} is missing. Install: pip install 'weibowatch[cluster]'") from error
    try:
        return work()
    except KafkaProblem as error:
        raise Failure(str(error)) from error
