"""``weibowatch export`` and ``weibowatch import``: from one mode to the other, or to another machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deploy.commands.common import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    StoreOption,
    cluster_libraries,
    in_cluster,
    print_json,
    reports_failures,
    settings_for,
)
from deploy.progress import counted

if TYPE_CHECKING:
    from deploy.settings import Settings
    from deploy.transfer.manifest import Manifest

FolderArgument = Annotated[Path, typer.Argument(help="Folder of the export.", file_okay=False)]
FormatOption = Annotated[
    Literal["parquet", "jsonl"], typer.Option("--format", help="parquet, or jsonl (compressed JSON lines).")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command(
        "export",
        epilog="Examples: weibowatch export monday --store weibowatch-data   ·   "
        "weibowatch export monday --cluster --format jsonl",
    )(export)
    app.command(
        "import",
        epilog="Examples: weibowatch import monday --cluster   ·   weibowatch import monday --store weibowatch-data",
    )(import_)


@reports_failures
def export(
    folder: FolderArgument,
    store: StoreOption = None,
    cluster: ClusterOption = False,
    format: FormatOption = "parquet",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write everything into a new folder: posts with pictures, trends, alerts, and all that was learned.

    The origin must be at rest: no `run`; no ingesters and workers, and nothing left to do.
    """
    from deploy.transfer import embedded
    from deploy.transfer.export import export as write

    settings, directory = _named(store, cluster, config)
    key, travels = _author_key(settings, directory)
    with counted("exporting") as moved, contextlib.ExitStack() as stack:
        if cluster:
            with cluster_libraries():
                from deploy.transfer import cluster_origin
            origin: Any = stack.enter_context(cluster_origin.opened(settings, moved))
        else:
            origin = stack.enter_context(embedded.opened(directory, settings.core.bin_s))
        made = write(origin, folder, format, author_key=key, key_travels=travels, moved=moved)
    _report(f"{folder}: exported", made, json)
    if made.key_file:
        _note(f"{folder}/{made.key_file.name} is the key behind the pseudonyms of authors; keep it secret")
    elif not made.author_key:
        _note(f"no author key in {directory}; give the target that of the ingesters as privacy.author_key")


@reports_failures
def import_(
    folder: FolderArgument,
    store: StoreOption = None,
    cluster: ClusterOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Bring an export into a new store, or into a cluster that has not worked yet, whole or not at all."""
    from deploy.transfer import embedded, manifest
    from deploy.wiring import now_ms

    settings, directory = _named(store, cluster, config)
    made = manifest.load(folder)
    with counted("checking", len(made.files)) as moved:
        for name in manifest.verified(folder, made):
            moved(name, 1)
    refused = 0
    with counted("importing", made.rows) as moved:
        if cluster:
            with cluster_libraries():
                from deploy.transfer import cluster_target
            refused = cluster_target.bring_in(folder, made, settings, moved=moved)
        else:
            embedded.bring_in(folder, made, directory, now_ms=now_ms(), moved=moved)
    _report(f"{folder}: imported", made, json)
    if refused:
        _note(f"Elasticsearch refused {refused} records; see: weibowatch rejects list --cluster")
    for line in _afterwards(folder, made, settings, cluster):
        _note(line)


def _named(store: Path | None, cluster: bool, config: Path | None) -> tuple[Settings, Path]:
    """The settings, and the folder of the store, where the author key lies in both modes. Raises ``UsageFailure``."""
    from deploy.telemetry import set_up_logging

    in_cluster(store, cluster)
    settings = settings_for(config)
    set_up_logging(settings.log)
    return settings, store or Path(settings.store.directory)


def _author_key(settings: Settings, directory: Path) -> tuple[bytes | None, bool]:
    """The key behind the pseudonyms, None when there was none yet, and whether it travels: one of settings does not."""
    from deploy.wiring import AUTHOR_KEY_FILE

    if settings.privacy.author_key:
        return settings.privacy.author_key.encode(), False
    path = directory / AUTHOR_KEY_FILE
    return (path.read_bytes().strip(), True) if path.exists() else (None, False)


def _afterwards(folder: Path, made: Manifest, settings: Settings, cluster: bool) -> Iterator[str]:
    """What the user has to know of author keys and sources."""
    from deploy.transfer.manifest import fingerprint

    own = settings.privacy.author_key
    if own and made.author_key and fingerprint(own.encode()) != made.author_key:
        yield "privacy.author_key is another key than that of the export; known authors get new pseudonyms"
    elif not own and made.author_key and made.key_file is None:
        yield "set privacy.author_key to the key of the origin, or known authors get new pseudonyms"
    elif not own and made.key_file is not None and cluster:
        yield (
            f"ingesters on other machines need the key in {folder / made.key_file.name} as privacy.author_key, "
            "or known authors get new pseudonyms"
        )
    if cluster and made.files["sources"].rows:
        yield "bins close when all sources that had not ended are ingested again; see docs/transfer.md"


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


def _report(head: str, made: Manifest, json: bool) -> None:
    rows: dict[str, int] = {name: file.rows for name, file in made.files.items()}
    if json:
        print_json({"origin": made.origin, "created_at": made.created_at, "rows": rows})
        return
    shown = ("documents", "points", "flips", "rejects", "sources", "log")
    typer.echo(f"{head} " + ", ".join(f"{rows[name]:,} {name}" for name in shown))
