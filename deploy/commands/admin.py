"""Commands that look after an installation: ``doctor``, ``rules``, ``aliases``, ``config``, ``rejects``, ``backup``."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy import aliasfile, wiring
from deploy.commands.common import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    StoreOption,
    cluster_libraries,
    existing_database,
    print_json,
    reader_for,
    reports_failures,
    settings_for,
    show_time,
    store_directory,
)
from deploy.errors import Failure, UsageFailure
from deploy.settings import flat
from stream.contract.ports import ModelError, TagInput, tagged
from stream.contract.records import Control
from stream.runtime.sqlite import drop_in_inbox, read_only

FileArgument = Annotated[Path, typer.Argument(help="The YAML file.", dir_okay=False)]

rules_app = typer.Typer(help="Rules that raise alerts.", no_args_is_help=True)
aliases_app = typer.Typer(help="Which names mean the same entity.", no_args_is_help=True)
config_app = typer.Typer(help="Settings.", no_args_is_help=True)
rejects_app = typer.Typer(help="Dead letters: what could not be used, and why.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command(epilog="Example: weibowatch doctor")(doctor)
    app.command(epilog="Example: weibowatch backup monday.db --store weibowatch-data")(backup)
    rules_app.command("check", epilog="Example: weibowatch rules check rules.yaml")(rules_check)
    aliases_app.command("check", epilog="Example: weibowatch aliases check aliases.yaml")(aliases_check)
    aliases_app.command("apply", epilog="Example: weibowatch aliases apply aliases.yaml")(aliases_apply)
    config_app.command("show", epilog="Example: weibowatch config show --json")(config_show)
    rejects_app.command("list", epilog="Example: weibowatch rejects list --limit 20")(rejects_list)
    rejects_app.command("show", epilog="Example: weibowatch rejects show 3")(rejects_show)
    rejects_app.command("replay", epilog="Example: weibowatch rejects replay --reason bad_field")(rejects_replay)
    for name, group in (
        ("rules", rules_app),
        ("aliases", aliases_app),
        ("config", config_app),
        ("rejects", rejects_app),
    ):
        app.add_typer(group, name=name)


# --- doctor ------------------------------------------------------------------------------------------------------


@reports_failures
def doctor(store: StoreOption = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Check this installation: versions, libraries, the model, the store, room on the disk."""
    checks = list(_checks(store, config))
    if json:
        print_json([{"check": name, "ok": ok, "detail": detail} for name, ok, detail in checks])
    else:
        for name, ok, detail in checks:
            typer.echo(f"{'ok ' if ok else 'BAD'}  {name}: {detail}")
    if not all(ok for _, ok, _ in checks):
        raise typer.Exit(1)


def _checks(store: Path | None, config: Path | None) -> Iterator[tuple[str, bool, str]]:
    yield "python", sys.version_info >= (3, 10), sys.version.split()[0]
    version = sqlite3.sqlite_version
    fts5 = sqlite3.connect(":memory:").execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0]
    yield "sqlite", bool(fts5), f"{version} {'with' if fts5 else 'without'} FTS5"
    for extra, module in (("train", "torch"), ("cluster", "faust")):
        there = importlib.util.find_spec(module) is not None
        yield f"extra {extra}", True, "installed" if there else f"not installed (pip install 'weibowatch[{extra}]')"
    settings = settings_for(config)
    yield "settings", True, "valid"
    yield _check_model(settings)
    if settings.bias.audit:
        yield _check_audit(Path(settings.bias.audit))
    directory = store_directory(store, config)
    yield _check_store(directory)
    place = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    yield "disk", free > 1 << 30, f"{free / (1 << 30):.1f} GiB free for {directory}"


def _check_model(settings: Any) -> tuple[str, bool, str]:
    try:
        tagger = wiring.load_tagger(settings)
    except (OSError, ValueError, ModelError) as error:
        return "model", False, str(error)
    spans = tagged(tagger, [TagInput("周杰伦在上海")])[0]
    return "model", bool(spans), f"{tagger.model_version}, finds {len(spans)} entities in a test sentence"


def _check_audit(path: Path) -> tuple[str, bool, str]:
    from deploy.bias.auditfile import read_audit

    try:
        found = read_audit(path)
    except Failure as error:
        return "audit", False, str(error)
    return "audit", True, f"{path}: {len(found.cells)} strata of {', '.join(found.types)}"


def _check_store(directory: Path) -> tuple[str, bool, str]:
    from stream.runtime.sqlite import DATABASE

    path = directory / DATABASE
    if not path.exists():
        return "store", True, f"{directory}: none yet"
    try:
        with contextlib.closing(read_only(path)) as connection:
            found = str(connection.execute("PRAGMA quick_check").fetchone()[0])
            connection.execute("SELECT value FROM meta")
    except sqlite3.DatabaseError as error:
        found = str(error)
    return "store", found == "ok", f"{path}: {found}"


# --- files -------------------------------------------------------------------------------------------------------


@reports_failures
def rules_check(file: FileArgument, config: ConfigOption = None) -> None:
    """Check a rules file; every error with its line and field. With --config also whether its receivers are there."""
    channels = None if config is None else wiring.channel_names(settings_for(config))
    _report(file, wiring.checked_rules(file, channels)[1], "rules")


@reports_failures
def aliases_check(file: FileArgument) -> None:
    """Check an alias file; every error with its line and field."""
    _report(file, aliasfile.load(file, wiring.traditional_to_simplified())[1], "aliases")


def _report(file: Path, errors: list[str], what: str) -> None:
    if errors:
        for error in errors:
            typer.echo(error, err=True)
        raise Failure(f"{file}: {len(errors)} error{'s' if len(errors) > 1 else ''}; nothing was applied")
    typer.echo(f"{file}: {what} are valid")


@reports_failures
def aliases_apply(
    file: FileArgument, store: StoreOption = None, cluster: ClusterOption = False, config: ConfigOption = None
) -> None:
    """Put an alias file in force for all posts that come after it in the log."""
    payload, errors = aliasfile.load(file, wiring.traditional_to_simplified())
    if errors:
        _report(file, errors, "aliases")
    control = Control(topic="aliases", version=aliasfile.version(payload), payload=payload)
    if cluster:
        with cluster_libraries():
            from deploy import orders
        settings = settings_for(config)
        found = orders.in_force(settings, "aliases")
        _check_newer(file, control, found.version if found else 0, found.payload if found else payload)
        orders.put_in_force(settings, control)
        typer.echo(f"{file}: in force for all posts that come now")
        return
    from stream.runtime.sqlite_in_force import aliases_in_force

    directory = store_directory(store, config)
    with contextlib.closing(read_only(existing_database(store, config))) as connection:
        before = aliases_in_force(connection)
    _check_newer(file, control, before.version, before.to_payload())
    drop_in_inbox(directory, [(control, None)])
    typer.echo(f"{file}: handed over; a running weibowatch takes it within seconds, else the next run does")


def _check_newer(file: Path, control: Control, version: int, payload: str) -> None:
    """Raise ``Failure`` unless ``control`` is newer than what is in force, or the same."""
    if version > control.version or (version == control.version and payload != control.payload):
        raise Failure(f"{file}: version {version} is in force already; write version: {version + 1}")


@reports_failures
def config_show(config: ConfigOption = None, json: JsonOption = False) -> None:
    """The settings in force, from file and environment; secrets are not shown."""
    rows = flat(settings_for(config))
    if json:
        print_json(rows)
        return
    section = ""
    for name, value in rows.items():
        part, _, key = name.partition(".")
        if part != section:
            typer.echo(f"\n[{part}]" if section else f"[{part}]")
            section = part
        typer.echo(f"{key} = {_toml(value)}")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value) if isinstance(value, int | float) else '"' + str(value).replace('"', '\\"') + '"'


# --- dead letters ------------------------------------------------------------------------------------------------


@reports_failures
def rejects_list(
    store: StoreOption = None,
    cluster: ClusterOption = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Only with this reason.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 50,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Dead letters, newest first, and how many there are of each reason."""
    found = reader_for(store, cluster, config).rejects(reason=reason, limit=limit)
    if json:
        print_json(found)
        return
    table = Table("id", "time", "reason", "source", "place", "detail", box=None)
    for row in found["rejects"]:
        when = show_time(row["stored_ms"])
        table.add_row(str(row["id"]), when, row["reason"], row["source"], row["place"], row["detail"])
    console = Console()
    console.print(table)
    console.print(", ".join(f"{name}: {count}" for name, count in found["by_reason"].items()) or "no dead letters")


@reports_failures
def rejects_show(
    id_: Annotated[int, typer.Argument(metavar="ID", help="Number of the dead letter.")],
    store: StoreOption = None,
    cluster: ClusterOption = False,
    raw: Annotated[bool, typer.Option("--raw", help="Only the bytes, as they came.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """One dead letter with its raw bytes."""
    found = reader_for(store, cluster, config).reject(id_)
    if found is None:
        raise Failure(f"no dead letter {id_}. See: weibowatch rejects list")
    body: bytes = found["raw"]
    if raw:
        sys.stdout.buffer.write(body)
        return
    shown = {**found, "raw": body.decode("utf-8", "backslashreplace"), "raw_bytes": len(body)}
    if json:
        print_json(shown)
        return
    for key, value in shown.items():
        typer.echo(f"{key}: {value}")


@reports_failures
def rejects_replay(
    store: StoreOption = None,
    cluster: ClusterOption = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Only with this reason.")] = None,
    id_: Annotated[int | None, typer.Option("--id", help="Only this one.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Try dead letters again, for example after raising a limit. What fails again stays a dead letter."""
    from deploy.replay import HandOver, replay

    settings, directory = settings_for(config), store_directory(store, config)
    reader = reader_for(store, cluster, config)
    hand_over: HandOver = functools.partial(drop_in_inbox, directory)
    if cluster:
        with cluster_libraries():
            from deploy import orders
        hand_over = functools.partial(orders.hand_over, settings)
    result = replay(reader, settings, directory, hand_over, reason, id_)
    if json:
        print_json(result)
        return
    typer.echo(f"{result['replayed']} handed over, {result['still_rejected']} still cannot be used")


# --- backup ------------------------------------------------------------------------------------------------------


@reports_failures
def backup(
    target: Annotated[Path, typer.Argument(help="File to write.", dir_okay=False)],
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Copy the store into one file, also while `run` writes it. Restore: put it into a folder as weibowatch.db.

    The key behind the pseudonyms of authors is copied beside it; put it back as author.key, or authors get new ones.
    """
    from deploy.wiring import AUTHOR_KEY_FILE

    path = existing_database(store, config)
    if target.exists() and target.samefile(path):
        raise UsageFailure(f"{target} is the store itself; name another file")
    part, key = target.with_name(target.name + ".part"), path.parent / AUTHOR_KEY_FILE
    part.unlink(missing_ok=True)
    try:
        with contextlib.closing(read_only(path)) as source, contextlib.closing(sqlite3.connect(part)) as copy:
            # One snapshot to the end: without it the copy begins anew with every commit of the writer.
            source.execute("BEGIN")
            if source.execute("SELECT value FROM meta WHERE key = 'layout'").fetchone() is None:
                raise Failure(f"{path} is no store of weibowatch")
            source.backup(copy, pages=4096)
            found = str(copy.execute("PRAGMA integrity_check").fetchone()[0])
        if found != "ok":
            raise Failure(f"the copy is damaged: {found}. Is the disk sound?")
        part.replace(target)
        if key.exists():
            shutil.copy2(key, target.with_name(f"{target.name}.{AUTHOR_KEY_FILE}"))
    except (sqlite3.DatabaseError, OSError) as error:
        raise Failure(f"{target}: backup failed: {error}") from error
    finally:
        for leftover in (part, part.with_name(part.name + "-journal")):
            leftover.unlink(missing_ok=True)
    typer.echo(f"{target}: {target.stat().st_size:,} bytes, checked")
    if key.exists():
        typer.echo(f"{target}.{AUTHOR_KEY_FILE}: the key behind the pseudonyms; keep it secret")
