"""``weibowatch services``: a local Kafka and Elasticsearch to try the cluster mode with."""

from __future__ import annotations

import contextlib
import json as json_module
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from deploy.commands.common import JsonOption, print_json, reports_failures
from deploy.errors import Failure, UsageFailure
from deploy.services.daemon import Daemon, make_folder
from deploy.services.elastic import USER, ElasticNode
from deploy.services.fetch import ELASTIC_VERSIONS, JAVA_NEEDED, java
from deploy.services.kafka import KafkaCluster

CHOSEN = "services.json"
DataOption = Annotated[Path, typer.Option("--data", help="Folder of their data and logs.", file_okay=False)]
DATA = Path("weibowatch-services")

services_app = typer.Typer(
    help="A local Kafka and Elasticsearch, without containers: to try the cluster mode, not for production.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    services_app.command(
        "up", epilog="Examples: weibowatch services up   ·   weibowatch services up --brokers 3 --elastic 9"
    )(up)
    services_app.command(
        "down", epilog="Examples: weibowatch services down   ·   weibowatch services down --delete"
    )(down)
    services_app.command("status", epilog="Example: weibowatch services status --json")(status)
    services_app.command("logs", epilog="Example: weibowatch services logs kafka --lines 50")(logs)
    app.add_typer(services_app, name="services")


@reports_failures
def up(
    data: DataOption = DATA,
    brokers: Annotated[int, typer.Option("--brokers", help="1, or 3 to lose one.", min=1, max=3)] = 1,
    elastic: Annotated[str, typer.Option("--elastic", help="8.19, or 9 (needs Java 21).")] = "8.19",
    secure: Annotated[bool, typer.Option("--secure", help="Elasticsearch with TLS and a password.")] = False,
    json: JsonOption = False,
) -> None:
    """Fetch them if needed, start what does not run, wait until both are ready. They keep ports and data."""
    if brokers == 2:
        raise UsageFailure("two brokers cannot outvote each other; choose 1 or 3")
    if elastic not in ELASTIC_VERSIONS:
        raise UsageFailure(f"--elastic {elastic} is not known; choose one of {', '.join(ELASTIC_VERSIONS)}")
    java(JAVA_NEEDED[elastic])
    chosen = {"brokers": brokers, "elastic": elastic, "secure": secure}
    before = _chosen(data)
    if before is not None and before != chosen:
        raise Failure(
            f"{data} was made with {before}. Use these again, another --data, or: weibowatch services down --delete"
        )
    try:
        make_folder(data)
        kafka, node = _parts(data, chosen)
        (data / CHOSEN).write_text(json_module.dumps(chosen))
        console = Console(stderr=True)
        with console.status("Kafka: fetching and starting ..."):
            kafka.start()
        with console.status("Elasticsearch: fetching and starting ..."):
            node.start()
    except OSError as error:
        raise Failure(f"{error.filename or data}: {error.strerror}. Make room or choose another --data.") from error
    values = _values(kafka, node)
    if json:
        print_json(values)
        return
    for name, value in values.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@reports_failures
def down(
    data: DataOption = DATA,
    delete: Annotated[bool, typer.Option("--delete", help="Delete their data, too.")] = False,
) -> None:
    """Stop them. Their data stays, unless --delete."""
    chosen = _known(data)
    kafka, node = _parts(data, chosen)
    with Console(stderr=True).status("Stopping ..."):
        node.stop()
        kafka.stop()
    if delete:
        # Only what is ours: the folder may be one that held other things before.
        for name in ("kafka", "elastic"):
            shutil.rmtree(data / name, ignore_errors=True)
        (data / CHOSEN).unlink()
        with contextlib.suppress(OSError):
            data.rmdir()
    typer.echo(f"stopped{' and deleted' if delete else ''}: {data}")


@reports_failures
def status(data: DataOption = DATA, json: JsonOption = False) -> None:
    """Which of them run; exit code 0 only when all do and answer."""
    kafka, node = _parts(data, _known(data))
    ready = kafka.ready() and node.ready()
    pids = {name: daemon.pid() for name, daemon in _daemons(kafka, node)}
    answers = [*map(kafka.answers, range(kafka.brokers)), node.ready()]
    states = {name: _state(pid, answer) for (name, pid), answer in zip(pids.items(), answers, strict=True)}
    if json:
        print_json(
            {"ready": ready, "kafka": kafka.bootstrap, "elasticsearch": node.url, "pids": pids, "states": states}
        )
    else:
        for name, state in states.items():
            typer.echo(f"{name}: {f'pid {pids[name]}, ' if pids[name] else ''}{state}")
        typer.echo(f"Kafka at {kafka.bootstrap}, Elasticsearch at {node.url}: {'ready' if ready else 'NOT ready'}")
    if not ready:
        raise typer.Exit(1)


@reports_failures
def logs(
    which: Annotated[Literal["kafka", "elastic"], typer.Argument(help="kafka or elastic")],
    data: DataOption = DATA,
    lines: Annotated[int, typer.Option("--lines", min=1)] = 40,
) -> None:
    """The end of a log."""
    for name, daemon in _daemons(*_parts(data, _known(data))):
        if name.startswith("elasticsearch" if which == "elastic" else "kafka"):
            typer.echo(f"# {daemon.log_path}\n{daemon.tail(lines)}")


def _values(kafka: KafkaCluster, node: ElasticNode) -> dict[str, str]:
    """The settings by which the other commands find them."""
    values = {"WEIBOWATCH_KAFKA__BOOTSTRAP": kafka.bootstrap}
    if kafka.brokers >= 3:
        values["WEIBOWATCH_KAFKA__REPLICATION"] = "3"
    values["WEIBOWATCH_ELASTIC__URL"] = node.url
    if node.secure:
        values |= {
            "WEIBOWATCH_ELASTIC__USERNAME": USER,
            "WEIBOWATCH_ELASTIC__PASSWORD": node.password,
            "WEIBOWATCH_ELASTIC__CA_FILE": str(node.ca_file),
        }
    return values


def _daemons(kafka: KafkaCluster, node: ElasticNode) -> Iterator[tuple[str, Daemon]]:
    for number, daemon in enumerate(kafka.daemons):
        yield f"kafka-{number}", daemon
    yield "elasticsearch", node.daemon


def _state(pid: int | None, answers: bool) -> str:
    if pid is None:
        return "not running"
    return "answers" if answers else "does not answer"


def _chosen(data: Path) -> dict[str, object] | None:
    path = data / CHOSEN
    if not path.exists():
        return None
    try:
        found = json_module.loads(path.read_text())
        return {"brokers": int(found["brokers"]), "elastic": str(found["elastic"]), "secure": bool(found["secure"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(f"{path} cannot be read ({error}). Stop what runs there, and delete {data}.") from error


def _known(data: Path) -> dict[str, object]:
    chosen = _chosen(data)
    if chosen is None:
        raise Failure(f"no services in {data}. Start them: weibowatch services up --data {data}")
    return chosen


def _parts(data: Path, chosen: dict[str, object]) -> tuple[KafkaCluster, ElasticNode]:
    brokers, version = chosen["brokers"], str(chosen["elastic"])
    assert isinstance(brokers, int)
    return KafkaCluster(data / "kafka", brokers), ElasticNode(data / "elastic", version, bool(chosen["secure"]))
