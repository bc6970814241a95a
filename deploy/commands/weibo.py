"""Commands about Weibo itself: ``weibo parse`` and ``fake-weibo``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from deploy import wiring
from deploy.commands.common import (
    ConfigOption,
    JsonOption,
    StoreOption,
    print_json,
    reports_failures,
    settings_for,
    store_directory,
)
from deploy.errors import Failure, UsageFailure
from index.present import iso
from ingest.clean import Edge, Refusal, clean
from ingest.fields import read_time_ms
from ingest.weibo.payload import ReplyError, Shown, Unread, statuses

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what the sources of Weibo cost in requests and hours; send nothing.")
]
weibo_app = typer.Typer(help="Weibo: its replies, sessions and limits.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    weibo_app.command("parse", epilog="Example: weibowatch weibo parse reply.json --json")(parse)
    weibo_app.command("check", epilog="Example: weibowatch weibo check")(check)
    weibo_app.command("resume", epilog="Example: weibowatch weibo resume --store data")(resume)
    weibo_app.command(
        "plan", epilog="Example: weibowatch weibo plan weibo:hot 'weibo:search:上海?since=2026-11-01&until=2026-11-08'"
    )(plan)
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
def check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Ask both hosts, one request each, whether the cookie is alive. Exit code 1 when it is alive nowhere.

    The requests do not count against the budget of a running monitor.
    """
    from ingest.weibo.addresses import login_check
    from ingest.weibo.client import Answer, Client
    from ingest.weibo.session import HOSTS, Session

    settings = settings_for(config).weibo
    session = Session(settings.cookie, settings.cookie_file)

    async def ask() -> dict[str, Answer]:
        async with Client(lambda: session.cookies, wiring.now_ms, settings.timeout_s) as client:
            return {
                host: await client.send(login_check(settings, host)) for host in HOSTS if session.cookies.header(host)
            }

    answers = asyncio.run(ask())
    rows = []
    for host in HOSTS:
        expires_s = session.cookies.expires_s(host)
        answer = answers.get(host)
        state = "no cookie" if answer is None else "alive" if _alive(host, answer) else "dead"
        if answer is not None and answer.outcome not in ("ok", "empty", "login_required"):
            state = answer.outcome
        rows.append(
            {
                "host": host, "state": state, "detail": answer.detail if answer else "",
                "says_it_ends": iso(expires_s * 1000) if expires_s else None,
            }
        )  # fmt: skip
    if json:
        print_json(rows)
    for row in rows if not json else ():
        ends = f", and says it ends {row['says_it_ends']}" if row["says_it_ends"] else ""
        typer.echo(f"{row['host']}: {row['state']}{ends}{' (' + str(row['detail']) + ')' if row['detail'] else ''}")
    if not any(row["state"] == "alive" for row in rows):
        if not answers:
            raise Failure("there is no cookie: set weibo.cookie_file in the settings. See docs/weibo.md")
        raise Failure("the cookie is alive on no host. Log in with the browser and copy it anew; see docs/weibo.md")


def _alive(host: str, answer: Any) -> bool:
    """m.weibo.cn answers everybody, and says whether they are logged in."""
    if answer.outcome != "ok":
        return False
    if host != "m.weibo.cn":
        return True
    data = msgspec.json.decode(answer.body).get("data")
    return isinstance(data, dict) and data.get("login") is True


@reports_failures
def resume(store: StoreOption = None, config: ConfigOption = None) -> None:
    """Go on after a block or a captcha, once you have looked after it in your browser. A monitor notices in seconds."""
    from ingest.weibo.memory import FILE, Memory

    directory = store_directory(store, config)
    if not (directory / FILE).exists():
        raise Failure(f"{directory} has no memory of Weibo. Name the folder of the monitor: --store")
    memory = Memory(directory)
    try:
        stopped = memory.pace().stopped
        memory.ask_to_go_on()
    finally:
        memory.close()
    typer.echo(f"stopped by {stopped}: it goes on" if stopped else "it was not stopped", err=True)


@reports_failures
def plan(
    source: Annotated[list[str], typer.Argument(help="Sources of Weibo, as --source takes them; lists, too.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """What sources would cost in requests and hours. Sends nothing."""
    show_plan(source, config, json)


def show_plan(sources: Sequence[str], config: Path | None, json: bool) -> None:
    """Print what the sources of Weibo among ``sources`` cost. Raises ``Failure`` and ``SourceError``."""
    from rich.console import Console
    from rich.table import Table

    from ingest.weibo import plan as plans
    from ingest.weibo.open import read_lists
    from ingest.weibo.spec import PREFIX, parse_spec

    specs, errors = read_lists([parse_spec(source) for source in sources if source.startswith(PREFIX)])
    if errors:
        raise Failure("\n  ".join(errors))
    made = plans.plan(list(specs.values()), settings_for(config).weibo, wiring.now_ms())
    if json:
        print_json({**msgspec.to_builtins(made), "fits": made.fits})
        return
    table = Table("source · 来源", "requests a day · 每日请求", "once, for the past · 回溯")
    for cost in made.costs:
        once = f"{cost.once_least} – {cost.once_most}" if cost.once_most else ""
        table.add_row(cost.source, f"{cost.daily_least:.0f} – {cost.daily_most:.0f}", once)
    console = Console()
    console.print(table)
    console.print(
        f"Budget: {made.budget} requests a day; asked for: {made.daily_least} – {made.daily_most}. "
        f"Each source is asked about every {made.pause_s / 60:.0f} min when all are busy; at most about "
        f"{made.posts_daily} new posts a day."
    )
    if made.past_hours[1]:
        console.print(f"The past takes {made.past_hours[0]:g} – {made.past_hours[1]:g} hours at this pace.")
    if not made.fits:
        console.print("[bold]Too much:[/bold] even the least is beyond the budget; sources will wait for one another.")


@reports_failures
def fake_weibo(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8780,
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same world.")] = 7,
    users: Annotated[int, typer.Option("--users", min=1, help="Accounts.")] = 20,
    hours: Annotated[float, typer.Option("--hours", min=0.1, help="How long things go on happening.")] = 24.0,
    start: Annotated[
        str | None,
        typer.Option(
            "--start", help="When its time begins, and where its clock stands then.",
            show_default="so that half of it lies behind us, and its clock shows the present",
        ),
    ] = None,
    speed: Annotated[float, typer.Option("--speed", min=0, help="Seconds of the world in one of ours.")] = 1.0,
    per_minute: Annotated[float, typer.Option("--per-minute", min=0.1, help="Requests that a session may make.")] = 30,
) -> None:
    """Play Weibo on loopback, to try sources without asking Weibo: invented posts that come, change and go.

    The cookie is SUB=fake. What there is to see is told at /_fake/truth, what was asked at /_fake/metrics.
    """
    from ingest.weibo_fake.server import FakeOptions, serve
    from ingest.weibo_fake.world import World, WorldSettings

    try:
        now_ms = wiring.now_ms() // 1000 * 1000 if start is None else read_time_ms(start)
    except ValueError as error:
        raise UsageFailure(f"--start: {error}") from error
    start_ms = now_ms - round(hours * 1_800_000) if start is None else now_ms
    world = World(WorldSettings(seed=seed, users=users, hours=hours, start_ms=start_ms))
    options = FakeOptions(per_minute=per_minute, burst=10)

    def started(url: str) -> None:
        uids = ", ".join(str(user.uid) for user in world.users[:3])
        typer.echo(f"{url} · {len(world.posts)} posts of {users} accounts ({uids}, …) · Ctrl-C ends it", err=True)

    try:
        asyncio.run(serve(world, options, port, (now_ms, speed), started))
    except OSError as error:
        raise Failure(f"port {port} cannot be used: {error.strerror}. Choose another --port, or 0") from error
