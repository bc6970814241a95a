"""Commands about alerts: what there was, whether a channel works, what could not be delivered."""

from __future__ import annotations

import asyncio
import contextlib
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy import wiring
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
    reader_for,
    reports_failures,
    settings_for,
    show_time,
)
from deploy.commands.query import LimitOption, SinceOption, UntilOption
from deploy.deliveries import STATUSES
from deploy.errors import Failure, UsageFailure
from stream.contract.ports import DeliveryError, Telling
from stream.contract.records import FIRING, Evidence, Flip

alerts_app = typer.Typer(invoke_without_command=True, epilog="Example: weibowatch alerts --json")
ChannelOption = Annotated[str, typer.Option("--channel", help="Only of this channel.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    alerts_app.callback()(alerts)
    alerts_app.command("test", epilog="Example: weibowatch alerts test ops")(test)
    alerts_app.command("deliveries", epilog="Example: weibowatch alerts deliveries --status waiting")(deliveries)
    alerts_app.command("failed", epilog="Example: weibowatch alerts failed --channel ops")(failed)
    alerts_app.command("retry", epilog="Example: weibowatch alerts retry --channel ops")(retry)
    app.add_typer(alerts_app, name="alerts")


@reports_failures
def alerts(
    context: typer.Context,
    store: StoreOption = None,
    cluster: ClusterOption = False,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Alerts with their evidence, newest first. With a command: test a channel; what was not delivered."""
    if context.invoked_subcommand is not None:
        sources = [context.get_parameter_source(name) for name in context.params]
        if any(source is not None and source.name == "COMMANDLINE" for source in sources):
            raise UsageFailure(f"write options after `alerts {context.invoked_subcommand}`, not before it")
        return
    found = reader_for(store, cluster, config).alerts(
        since_ms=moment(since, "--since"), until_ms=moment(until, "--until"), limit=limit
    )
    if json:
        print_json(found)
        return
    console = Console()
    for alert in found["alerts"]:
        console.print(
            f"[bold]{show_time(alert['at_ms'])}[/bold]  {alert['state']:9} "
            f"{escape(alert['rule_id'])}  {escape(alert['entity'])}",
            highlight=False,
        )
        console.print(f"  {alert['reason']}", style="dim", markup=False, highlight=False)
        for post in alert["evidence"]:
            console.print(f"  · {post['excerpt']}", markup=False, highlight=False)


@reports_failures
def test(
    channel: Annotated[str, typer.Argument(help="Name of the channel: [notify.channels.NAME] in the settings.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Send an alert that says it is a test, and print what the service answered. Exit code 1 when it took none."""
    from deploy.channels import channels
    from stream.notify.deliver import SEND_S_MAX

    made = {one.name: one for one in channels(settings_for(config), wiring.now_ms)}
    if channel not in made:
        known = ", ".join(made) or "none; see docs/alerts.md"
        raise UsageFailure(f"no channel {channel} in the settings. Channels: {known}")
    answer, problem = "", ""
    try:
        answer = asyncio.run(asyncio.wait_for(made[channel].deliver(_test_alert()), SEND_S_MAX))
    except DeliveryError as error:
        problem = str(error)
    except (asyncio.TimeoutError, TimeoutError):
        problem = f"it did not come back within {SEND_S_MAX:g} s"
    except OSError as error:
        problem = f"{type(error).__name__}: {error}"
    if json:
        print_json({"channel": channel, "delivered": not problem, "answer": answer, "problem": problem})
        raise typer.Exit(1 if problem else 0)
    if problem:
        raise Failure(f"{channel} did not take it: {problem}")
    typer.echo(f"{channel}: {answer}")


def _test_alert() -> Telling:
    """An alert of no rule. It says that it is a test in its kind, its title and its only piece of evidence."""
    from stream.notify.message import TEST_KIND

    now_ms = wiring.now_ms()
    incident = blake2b(f"test\x00{now_ms}".encode(), digest_size=12).hexdigest()
    words = "这是一条测试告警，没有发生任何事。This is a test; nothing has happened."
    proof = Evidence(
        post_id="test", author="", created_ms=now_ms, source="test", surface="weibowatch", excerpt=words, weight=1
    )
    flip = Flip(
        id=f"{incident}-0", incident_id=incident, sequence=0, rule_id="test", rule_version=0, rule_kind=TEST_KIND,
        state=FIRING, severity="info", entity="MISC/weibowatch", type="MISC", surface="weibowatch", at_ms=now_ms,
        first_ms=now_ms, window=None, reason=words, evidence=(proof,),
    )  # fmt: skip
    return Telling(flip.id, (flip,))


@reports_failures
def failed(
    channel: ChannelOption = "",
    store: StoreOption = None,
    cluster: ClusterOption = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many at most.")] = 50,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Deliveries that were given up: alert, channel, tries, and the last problem."""
    found = [one for one in _deliveries(channel, store, cluster, config) if one.status == "failed"]
    if json:
        rows = [
            {"flip_id": one.flip_id, "channel": one.channel, "tries": one.tries, "problem": one.why}
            for one in found[:limit]
        ]
        print_json({"total": len(found), "failed": rows})
        return
    table = Table("alert", "channel", "tries", "problem", box=None)
    for one in found[:limit]:
        table.add_row(*map(_text, (one.flip_id, one.channel, one.tries, one.why)))
    console = Console()
    console.print(table)
    console.print(f"{len(found)} in all; try them again: weibowatch alerts retry" if found else "none", markup=False)


@reports_failures
def deliveries(
    channel: ChannelOption = "",
    status: Annotated[
        Literal["waiting", "told", "skipped", "failed"] | None,
        typer.Option("--status", help="Only those that wait, were told, were not, or were given up."),
    ] = None,
    store: StoreOption = None,
    cluster: ClusterOption = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many at most.")] = 50,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """What became of each alert on each channel: told and when, waiting and until when, not told and why."""
    every = _deliveries(channel, store, cluster, config)
    found = [one for one in every if status is None or one.status in STATUSES[status]]
    if json:
        print_json({"total": len(found), "deliveries": [msgspec.structs.asdict(one) for one in found[:limit]]})
        return
    table = Table("alert", "channel", "status", "due", "first told", "last told", "tries", "why", box=None)
    for one in found[:limit]:
        waits = one.status in STATUSES["waiting"]
        times = (one.due_ms if waits else 0, one.first_told_ms, one.told_ms)
        shown = (show_time(at_ms) if at_ms else "" for at_ms in times)
        table.add_row(*map(_text, (one.flip_id, one.channel, one.status, *shown, one.tries, one.why)))
    console = Console()
    console.print(table)
    console.print(f"{len(found)} in all" if found else "none", markup=False)


def _text(value: Any) -> Any:
    from rich.text import Text

    return Text(str(value))


def _deliveries(channel: str, store: Path | None, cluster: bool, config: Path | None) -> list[Any]:
    """What the outbox of the store or the cluster that the options name has. Raises ``Failure``, ``KafkaProblem``."""
    if in_cluster(store, cluster):
        with cluster_libraries():
            from deploy import orders
        return list(orders.deliveries(settings_for(config), channel))
    from stream.runtime import sqlite_outbox
    from stream.runtime.sqlite import read_only

    with contextlib.closing(read_only(existing_database(store, config))) as connection:
        return list(sqlite_outbox.deliveries(connection, channel))


@reports_failures
def retry(
    channel: ChannelOption = "",
    store: StoreOption = None,
    cluster: ClusterOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Deliver again what was given up: by what runs now, else by the next run; with all tries anew."""
    if cluster:
        count = sum(one.status == "failed" for one in _deliveries(channel, store, cluster, config))
        with cluster_libraries():
            from deploy import orders
        if count:
            orders.try_again(settings_for(config), channel, wiring.now_ms())
    else:
        from stream.runtime.sqlite_outbox import try_again

        count = try_again(existing_database(store, config), channel, wiring.now_ms())
    if json:
        print_json({"retried": count})
        return
    typer.echo(f"{count} will be tried again")
