"""Commands of the cluster mode: ``topics``, ``ingest``, ``worker`` and ``serve``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from deploy.commands.common import (
    SOURCES_HELP,
    ConfigOption,
    JsonOption,
    ModelOption,
    cluster_libraries,
    print_json,
    reports_failures,
    settings_for,
)
from deploy.commands.run import speed_of
from deploy.commands.weibo import DryRunOption, show_plan
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
    app.command(epilog="Examples: weibowatch worker   ·   weibowatch worker --slot 3   ·   weibowatch worker --once")(
        worker
    )
    app.command(epilog="Example: weibowatch serve --port 8765")(serve)


@reports_failures
def topics_create(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Create the topics that are missing, as the settings say. What exists is left as it is."""
    with cluster_libraries():
        from deploy.cluster import wanted_topics
        from stream.runtime.kafka import create_topics

    settings = settings_for(config)
    made = create_topics(settings.kafka, wanted_topics(settings))
    if json:
        print_json({"created": made})
        return
    typer.echo("\n".join(f"created {name}" for name in made) or "all topics are there already")


@reports_failures
def topics_describe(config: ConfigOption = None, json: JsonOption = False) -> None:
    """The topics as they are: partitions, copies, retention, and what the workers have left to do."""
    with cluster_libraries():
        from deploy.cluster import wanted_topics
        from stream.runtime.kafka import describe_topics, lag

    settings = settings_for(config)
    found = describe_topics(settings.kafka, wanted_topics(settings))
    if not found:
        raise Failure("there are no topics yet. Create them with: weibowatch topics create")
    left = lag(settings.kafka)
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
    with cluster_libraries():
        from deploy.cluster import wanted_topics
        from stream.runtime.kafka import describe_topics, differences

    settings = settings_for(config)
    wanted = wanted_topics(settings)
    found = differences(wanted, describe_topics(settings.kafka, wanted))
    if json:
        print_json({"differences": found})
    else:
        typer.echo("\n".join(found) or "all topics are as the settings say")
    if found:
        raise typer.Exit(1)


@reports_failures
def ingest(
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help=SOURCES_HELP),
    ] = None,
    left: Annotated[
        list[str] | None,
        typer.Option(
            "--left", help="This source is fed no more: its ingester was killed for good. Trends wait for it no longer."
        ),
    ] = None,
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
    once: Annotated[
        bool, typer.Option("--once", help="Sources that never end are asked once, down to what is known.")
    ] = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Cluster mode: collect from sources into Kafka. Goes on where it stopped; ends when the sources are drained."""
    if dry_run:
        show_plan(source or (), config, json)
        return
    with cluster_libraries():
        from deploy import cluster, orders
    from deploy import wiring
    from deploy.application import sentence

    if not source and not left:
        raise typer.BadParameter("give a --source to feed, or one that has --left", param_hint="--source")
    if left:
        orders.leave(settings_for(config), left, wiring.now_ms())
    if not source:
        if json:
            print_json({"left": left})
        else:
            typer.echo(f"no longer waited for: {', '.join(left or ())}", err=True)
        return
    options = cluster.IngestOptions(sources=tuple(source), speed=speed_of(speed), rules=rules, quiet=json, once=once)
    summary = asyncio.run(cluster.ingest(options, settings_for(config)))
    if json:
        print_json(msgspec.to_builtins(summary))
    else:
        typer.echo(sentence(summary), err=True)


@reports_failures
def worker(
    slot: Annotated[
        int | None,
        typer.Option("--slot", min=0, help="Number of this worker in the group.", show_default="first free one"),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when the workers have nothing left to do.")] = False,
    model: ModelOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Cluster mode: find entities, follow trends, raise alerts, fill Elasticsearch; until Ctrl-C or SIGTERM.

    Ends with exit code 70 when it wants to be started again: run it under a supervisor. Ends with 3 when most of what
    it reads would become dead letters: look before you start it again.
    """
    with cluster_libraries():
        from deploy import worker as process
    from deploy.application import sentence

    options = process.WorkerOptions(slot=slot, once=once, quiet=json, model=model)
    summary = asyncio.run(process.work(options, settings_for(config)))
    if json:
        print_json(msgspec.to_builtins(summary))
    else:
        typer.echo(sentence(summary), err=True)


@reports_failures
def serve(
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65_535, help="0 takes a free one.", show_default="web.port")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Cluster mode: dashboard and API over Elasticsearch, live from Kafka. Any number of them may run."""
    with cluster_libraries():
        from deploy import serve as process

    settings = settings_for(config)
    asyncio.run(process.serve(settings, settings.web.port if port is None else port))
