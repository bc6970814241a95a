"""What the commands share: options, output, and errors as one line that says what to do."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from deploy.errors import Failure, UsageFailure
from deploy.settings import Settings, SettingsError, load
from index import query
from index.reader import SqliteReader, TooSlow
from index.reading import Reader, StoreAway
from stream.contract.ports import EngineError, SourceError
from stream.runtime.sqlite import DATABASE, DatabaseError, StoreError

StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Folder of the store.", file_okay=False, show_default="weibowatch-data")
]
ClusterOption = Annotated[
    bool, typer.Option("--cluster", help="The Kafka and Elasticsearch of the settings instead of a store.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Settings file.", show_default="weibowatch.toml, if it is here")
]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", help="Model folder.", file_okay=False, show_default="tagger.model, or what ships"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

SOURCES_HELP = (
    "demo; jsonl:FILE (.gz too; - is standard input); cmner:FILE; conll:FILE; weibo:hot, weibo:user:UID, "
    "weibo:search:WORDS, weibo:topic:NAME, weibo:post:MID, weibo:list:FILE (docs/weibo.md); rss:URL; "
    "mastodon:HOST or mastodon:HOST/TAG."
)
Parameters = ParamSpec("Parameters")


def reports_failures(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Turn expected errors into one line on standard error and the right exit code; defects keep their traceback."""

    @wraps(command)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (UsageFailure, SettingsError) as error:
            fail(str(error), 2)
        except (Failure, StoreError, SourceError, EngineError, TooSlow, StoreAway) as error:
            fail(str(error), 1)
        except DatabaseError as error:
            fail(f"the store cannot be read: {error}. Check it with: weibowatch doctor --store FOLDER", 1)

    return wrapped


@contextlib.contextmanager
def needs_torch() -> Iterator[None]:
    """Around imports that need more than the default install. Raises ``Failure``."""
    try:
        yield
    except ImportError as error:
        raise Failure(f"{error.name} is missing. Install: pip install 'weibowatch[train]'") from error


def fail(message: str, code: int) -> None:
    """Print ``weibowatch: message`` to standard error and leave with ``code``."""
    typer.echo(f"weibowatch: {message}", err=True)
    raise typer.Exit(code)


def settings_for(config: Path | None) -> Settings:
    """The effective settings. Raises ``SettingsError``."""
    return load(config)


def store_directory(store: Path | None, config: Path | None) -> Path:
    """The store folder: the option, else the settings."""
    return store or Path(settings_for(config).store.directory)


def existing_database(store: Path | None, config: Path | None) -> Path:
    """Path of the database in the store. Raises ``Failure`` when nothing was ever collected there."""
    path = store_directory(store, config) / DATABASE
    if not path.exists():
        raise Failure(f"no store in {path.parent}. Collect something first: weibowatch run --source demo")
    return path


def in_cluster(store: Path | None, cluster: bool) -> bool:
    """Whether a command is for the cluster of the settings, and not for a store. Raises ``UsageFailure`` for both."""
    if cluster and store is not None:
        raise UsageFailure("name one: --store FOLDER, or --cluster")
    return cluster


def reader_for(store: Path | None, cluster: bool, config: Path | None) -> Reader:
    """The index that the options name: of the store, or the Elasticsearch of the settings. Raises ``Failure``."""
    if not in_cluster(store, cluster):
        return SqliteReader(existing_database(store, config))
    with cluster_libraries():
        from index.elastic import ElasticReader
    return ElasticReader(settings_for(config).elastic)


@contextlib.contextmanager
def cluster_libraries() -> Iterator[None]:
    """Around imports and calls that need more than the embedded mode. Raises ``Failure`` where a library is missing."""
    try:
        yield
    except ImportError as error:
        raise Failure(f"{error.name} is missing. Install: pip install 'weibowatch[cluster]'") from error


def print_json(value: Any) -> None:
    """``value`` as one line of JSON with readable Chinese."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def moment(text: str | None, option: str) -> int | None:
    """Unix milliseconds of an ISO date or time (UTC without a zone) or of Unix seconds or milliseconds; None stays."""
    if text is None:
        return None
    try:
        return query.moment(text)
    except (ValueError, OverflowError) as error:
        raise UsageFailure(f"{option}: {text!r} is no time; write e.g. 2022-03-01 or 2022-03-01T08:00:00Z") from error


def show_time(milliseconds: int) -> str:
    """Unix milliseconds for people, UTC to the minute."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M")
