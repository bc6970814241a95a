"""``weibowatch delete``: posts, or all that an author wrote, out of every place where they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from deploy import deleting
from deploy.commands.common import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    StoreOption,
    cluster_libraries,
    existing_database,
    in_cluster,
    print_json,
    reports_failures,
    settings_for,
    store_directory,
)
from deploy.errors import UsageFailure
from stream.contract.deletion import Deletion

delete_app = typer.Typer(
    help="Delete posts, or all posts of authors, wherever they stand. Counts stay.", no_args_is_help=True
)
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
IDS_MAX: Final = 1_000
ID_CHARS_MAX: Final = 500
_WORDS: Final = {
    "posts": "posts",
    "observations": "observations of posts",
    "alerts": "alerts that show them",
    "dead_letters": "dead letters",
    "log": "records of the log",
    "batches": "parts of the journal of backtests",
    "state": "entities with excerpts",
    "messages": "messages of the outbox",
    "owed": "posts that a source owes something",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    delete_app.command("post", epilog="Example: weibowatch delete post 4747123456789012 --dry-run")(post)
    delete_app.command("author", epilog="Example: weibowatch delete author u:0f3a5b9c1d2e4f60718293a4 --yes")(author)
    app.add_typer(delete_app, name="delete")


@reports_failures
def post(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Ids of posts, as `search` shows them.")],
    store: StoreOption = None,
    cluster: ClusterOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Delete posts: texts, pictures, who wrote them, what alerts and backtests keep of them. Counts stay.

    A post that its source gives again is collected again.
    """
    wanted = Deletion(posts=frozenset(_checked(ids)))
    _delete(_place(store, cluster, config), wanted, dry_run=dry_run, yes=yes, json=json)


@reports_failures
def author(
    ids: Annotated[
        list[str], typer.Argument(metavar="ID…", help="Pseudonyms (u:…), or accounts' own ids, which the key turns.")
    ],
    store: StoreOption = None,
    cluster: ClusterOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Delete all posts of authors, as `delete post` does. What they write from now on is collected as before."""
    place = _place(store, cluster, config)
    wanted = deleting.of_authors(_checked(ids), settings_for(config), store_directory(store, config))
    _delete(place, wanted, dry_run=dry_run, yes=yes, json=json)


def _place(store: Path | None, cluster: bool, config: Path | None) -> deleting.Place:
    if not in_cluster(store, cluster):
        return deleting.InStore(existing_database(store, config).parent)
    with cluster_libraries():
        import index.elastic  # noqa: F401
    return deleting.InCluster(settings_for(config))


def _checked(ids: list[str]) -> list[str]:
    if len(ids) > IDS_MAX or any(not 0 < len(one) <= ID_CHARS_MAX for one in ids):
        raise UsageFailure(f"name up to {IDS_MAX} ids of up to {ID_CHARS_MAX} characters; none may be empty")
    return ids


def _delete(place: deleting.Place, wanted: Deletion, *, dry_run: bool, yes: bool, json: bool) -> None:
    if dry_run or not yes:
        found = place.trace(wanted)
        if dry_run:
            _report(f"{_sentence(found)} would go", {"dry_run": True, "deleted": False, "found": found}, json)
            return
        typer.confirm(f"{_sentence(found)} will go, for good. Delete?", abort=True, err=True)
    done = place.delete(wanted)
    head = f"deleted: {_sentence(done.found)}"
    if done.later:
        head += "\nwhoever works on it now or next does the rest within seconds"
    _report(
        "\n".join([head, *(f"not reached: {one}" for one in done.beyond_reach)]),
        {
            "dry_run": False, "deleted": True, "found": done.found, "later": done.later,
            "beyond_reach": list(done.beyond_reach),
        },
        json,
    )  # fmt: skip


def _report(text: str, values: dict[str, object], json: bool) -> None:
    if json:
        print_json(values)
    else:
        typer.echo(text)


def _sentence(found: dict[str, int]) -> str:
    parts = [f"{count:,} {_WORDS[name]}" for name, count in found.items() if count]
    return ", ".join(parts) or "nothing that is stored"
