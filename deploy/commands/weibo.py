"""Commands about Weibo itself: ``weibo parse`` and ``fake-weibo``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy import wiring
from deploy.commands.common import ConfigOption, JsonOption, print_json, reports_failures, settings_for
from deploy.errors import Failure
from index.present import iso
from ingest.clean import Edge, Refusal, clean
from ingest.weibo.payload import ReplyError, Shown, Unread, statuses

weibo_app = typer.Typer(help="Weibo: its replies, sessions and limits.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    weibo_app.command("parse", epilog="Example: weibowatch weibo parse reply.json --json")(parse)
    app.add_typer(weibo_app, name="weibo")
    app.command("fake-weibo", epilog="Example: weibowatch fake-weibo --port 8780 --speed 60")(fake_weibo)


@reports_failures
def parse(
    file: Annotated[Path, typer.Argument(help="A saved reply of m.weibo.cn or weibo.com; - is standard input.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show the posts in a saved reply, one a line, and what in it makes no post.

    Times such as 3分钟前 count from when the file was last written. Exit code 1 when the reply holds an error of Weibo
    instead of posts.
    """
    body, as_of_ms = _read(file)
    edge = Edge(
        source="weibo",
        settings=settings_for(config).edge,
        pseudonym=lambda author: author,
        draw=lambda pictures: (),
        as_of_ms=wiring.now_ms(),
    )
    try:
        for row in _rows(body, as_of_ms, edge):
            if json:
                print_json(row)
            else:
                typer.echo(_line(row))
    except ReplyError as error:
        raise Failure(f"{file} holds no posts: {error.outcome}: {error}") from error


def _read(file: Path) -> tuple[bytes, int]:
    """(the reply, when it was saved). Raises ``Failure``."""
    if str(file) == "-":
        return sys.stdin.buffer.read(), wiring.now_ms()
    try:
        return file.read_bytes(), round(file.stat().st_mtime * 1000)
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from error


def _rows(reply: bytes, as_of_ms: int, edge: Edge) -> Iterator[dict[str, Any]]:
    for found in statuses(reply, as_of_ms):
        try:
            if isinstance(found, Unread):
                raise found.refusal
            yield _post(found, edge)
        except Refusal as refusal:
            body = found.body.decode("utf-8", "backslashreplace")
            yield {"reject": refusal.reason, "detail": str(refusal), "raw": body}


def _post(shown: Shown, edge: Edge) -> dict[str, Any]:
    post = clean(shown.raw, edge)
    counts = post.counts
    return {
        "mid": post.mid,
        "bid": post.bid,
        "created_at": iso(post.created_ms),
        "text": post.text,
        "pictures": [
            {"url": one.url, "width": one.width or 0, "height": one.height or 0} for one in shown.raw.pictures
        ],
        "counts": None
        if counts is None
        else {"reposts": counts.reposts, "comments": counts.comments, "likes": counts.likes},
        "repost_of": post.repost_of or None,
        "pinned": shown.pinned,
        "edit_count": post.edit_version,
        "author": post.author if post.author_known else None,
    }


def _line(row: dict[str, Any]) -> str:
    if "reject" in row:
        return f"✗ {row['reject']}: {row['detail']}"
    marks = ("置顶 " if row["pinned"] else "") + (f"↻ {row['repost_of']} " if row["repost_of"] else "")
    return f"{row['created_at']}  {row['mid']}  {marks}{row['text']}".replace("\n", " ")


@reports_failures
def fake_weibo(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8780,
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same world.")] = 7,
    users: Annotated[int, typer.Option("--users", min=1, help="Accounts.")] = 20,
    hours: Annotated[float, typer.Option("--hours", min=0.1, help="How long things go on happening.")] = 24.0,
    speed: Annotated[float, typer.Option("--speed", min=0, help="Seconds of the world in one of ours.")] = 1.0,
    per_minute: Annotated[float, typer.Option("--per-minute", min=0.1, help="Requests that a session may make.")] = 30,
) -> None:
    """Play Weibo on loopback, to try sources without asking Weibo: invented posts that come, change and go.

    The cookie is SUB=fake. What there is to see is told at /_fake/truth, what was asked at /_fake/metrics.
    """
    from ingest.weibo_fake.server import FakeOptions, serve
    from ingest.weibo_fake.world import World, WorldSettings

    world = World(WorldSettings(seed=seed, users=users, hours=hours))
    options = FakeOptions(per_minute=per_minute, burst=10)

    def started(url: str) -> None:
        uids = ", ".join(str(user.uid) for user in world.users[:3])
        typer.echo(f"{url} · {len(world.posts)} posts of {users} accounts ({uids}, …) · Ctrl-C ends it", err=True)

    try:
        asyncio.run(serve(world, options, port, speed, started))
    except OSError as error:
        raise Failure(f"port {port} cannot be used: {error.strerror}. Choose another --port, or 0") from error
