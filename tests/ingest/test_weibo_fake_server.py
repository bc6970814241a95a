"""The fake Weibo's server, asked over HTTP: endpoints, sessions, limits, faults, and what it tells about itself."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from ingest.weibo.payload import ReplyError, Shown, statuses
from ingest.weibo_fake.faults import KINDS, Fault, Kind, Limit
from ingest.weibo_fake.flavours import LONG_CHARS
from ingest.weibo_fake.server import DESKTOP_PAGE, MOBILE_PAGE, FakeClock, FakeOptions, FakeWeibo
from ingest.weibo_fake.world import HOUR_MS, World, WorldSettings

WORLD: Final = World(WorldSettings(users=30))
START: Final = WORLD.settings.start_ms
NOW: Final = START + 20 * HOUR_MS
BUSY: Final = max(WORLD.users, key=lambda user: len(WORLD.timeline(user.uid, NOW)))


class Asking:
    """A client with one session of the fake."""

    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self._url = url
        self._client = client

    async def get(self, path: str, sub: str = "fake", **headers: str) -> tuple[int, bytes]:
        cookies = {"SUB": sub} if sub else {}
        async with self._client.get(self._url + path, cookies=cookies, headers=headers) as answer:
            return answer.status, await answer.read()

    async def json(self, path: str) -> Any:
        return json.loads((await self.get(path))[1])

    async def tell(self, what: str, value: Any) -> None:
        async with self._client.post(f"{self._url}/_fake/{what}", json=value) as answer:
            assert answer.status == 200

    async def mids(self, path: str, sub: str = "fake") -> list[str]:
        status, body = await self.get(path, sub)
        assert status == 200
        return [one.raw.mid or "" for one in statuses(body, NOW) if isinstance(one, Shown)]  # type: ignore[misc]


@contextlib.asynccontextmanager
async def serving(options: FakeOptions) -> AsyncIterator[Asking]:
    loop = asyncio.get_running_loop()
    runner = web.AppRunner(FakeWeibo(WORLD, FakeClock(NOW, loop.time, speed=0), options).app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Asking(f"http://127.0.0.1:{runner.addresses[0][1]}", client)
    await runner.cleanup()


def with_fake(work: Callable[[Asking], Awaitable[None]], **options: Any) -> None:
    async def go() -> None:
        async with serving(FakeOptions(**options)) as asking:
            await work(asking)

    asyncio.run(go())


def container(uid: int, page: int = 1) -> str:
    return f"/m/api/container/getIndex?containerid=107603{uid}&page={page}"


@pytest.mark.parametrize(
    ("path", "size"),
    [(container(BUSY.uid), MOBILE_PAGE), (f"/pc/ajax/statuses/mymblog?uid={BUSY.uid}", DESKTOP_PAGE)],
)
def test_timelines_page_by_page_give_everything_once(path: str, size: int) -> None:
    async def work(asking: Asking) -> None:
        expected = [post.mid for post in WORLD.timeline(BUSY.uid, NOW)]
        found: list[str] = []
        for page in range(1, 50):
            mids = await asking.mids(path.replace("&page=1", "") + f"&page={page}")
            if not mids:
                break
            found += [mid for mid in mids if WORLD.posts[mid].uid == BUSY.uid]
        assert found == expected and len(expected) > size
        assert set(expected) <= (await asking.json("/_fake/truth"))["shown"].keys()

    with_fake(work)


def test_searches_topics_and_the_hot_list() -> None:
    async def work(asking: Asking) -> None:
        word = WORLD.hot(NOW)[0][0]
        search = f"/m/api/container/getIndex?containerid=100103type%3D61%26q%3D{word}"
        found = await asking.mids(search)
        assert set(found) >= {post.mid for post in WORLD.search(word, NOW)[:MOBILE_PAGE]}
        topic = await asking.mids("/m/api/container/getIndex?containerid=100808城市夜行")
        assert topic and all(WORLD.posts[mid].topic or WORLD.posts[mid].text(NOW) for mid in topic)
        hot = (await asking.json("/pc/ajax/side/hotSearch"))["data"]["realtime"]
        assert [(row["word"], row["num"]) for row in hot] == WORLD.hot(NOW)[:50]

    with_fake(work)


def test_long_texts_are_whole_where_one_post_is_shown() -> None:
    long = next(post for post in WORLD.posts.values() if post.exists(NOW) and len(post.text(NOW)) > LONG_CHARS)

    async def work(asking: Asking) -> None:
        for path in (f"/m/statuses/show?id={long.bid}", f"/pc/ajax/statuses/show?id={long.bid}"):
            [shown] = list(statuses((await asking.get(path))[1], NOW))
            assert isinstance(shown, Shown) and shown.whole and shown.raw.text == long.text(NOW)
        told = await asking.json(f"/pc/ajax/statuses/longtext?id={long.bid}")
        assert told["data"]["longTextContent"] == long.text(NOW)

    with_fake(work)


def test_posts_come_change_and_go_with_the_clock() -> None:
    gone = next(post for post in WORLD.posts.values() if post.deleted_ms and post.created_ms > START)

    async def work(asking: Asking) -> None:
        async def status(at_ms: int) -> int:
            await asking.tell("clock", {"now_ms": at_ms, "speed": 0})
            return (await asking.get(f"/pc/ajax/statuses/show?id={gone.bid}"))[0]

        assert await status(gone.created_ms - 1000) == 400
        assert await status(gone.created_ms) == 200
        assert await status(gone.deleted_ms - 1) == 200
        assert await status(gone.deleted_ms) == 400
        await asking.tell("clock", {"advance_s": 60})
        assert (await asking.json("/_fake/metrics"))["now_ms"] == gone.deleted_ms + 60_000

    with_fake(work)


def test_pictures_want_a_referer() -> None:
    async def work(asking: Asking) -> None:
        assert (await asking.get("/img/large/abc.jpg"))[0] == 403
        assert (await asking.get("/img/large/abc.jpg", Referer="https://example.com/"))[0] == 403
        for ending, kind in (("jpg", "JPEG"), ("gif", "GIF")):
            status, body = await asking.get(f"/img/large/abc.{ending}", Referer="https://weibo.com/")
            assert status == 200 and Image.open(io.BytesIO(body)).format == kind

    with_fake(work)


def test_sessions_die_and_what_is_asked_afterwards_is_counted() -> None:
    async def work(asking: Asking) -> None:
        path = container(BUSY.uid)
        assert (await asking.get(path, sub=""))[0] == 432, "timelines need a login"
        assert (await asking.get("/pc/ajax/side/hotSearch", sub="guest"))[0] == 200, "the hot list does not"
        assert (await asking.get(path, sub="dying"))[0] == 200
        await asking.tell("clock", {"advance_s": 20})
        with pytest.raises(ReplyError, match="not logged in") as caught:
            await asking.mids(path, sub="dying")
        assert caught.value.outcome == "login_required"
        assert (await asking.json("/_fake/metrics"))["while_blocked"] == 0
        await asking.get(path, sub="dying")
        assert (await asking.json("/_fake/metrics"))["while_blocked"] == 1
        await asking.tell("sessions", {"dying": 0})
        assert (await asking.get(path, sub="dying"))[0] == 200

    with_fake(work, sessions={"fake": 0, "dying": NOW + 10_000})


EXPECTED: Final[dict[Kind, str]] = {
    "432": "432", "418": "418", "403": "403", "429": "429", "busy": "throttled", "login": "login_required",
    "captcha": "captcha", "shell": "login_required", "garbage": "parse_error", "truncated": "parse_error",
    "slow": "posts", "loop": "loop", "reset": "gone", "empty": "nothing", "omit": "fewer",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_looks_as_it_does_at_weibo(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.weibo_fake.server.SLOW_S", 0.2)

    async def outcome(asking: Asking) -> str:
        try:
            status, body = await asking.get(container(BUSY.uid))
        except aiohttp.TooManyRedirects:
            return "loop"
        except aiohttp.ClientError:
            return "gone"
        if status != 200:
            return str(status)
        try:
            found = [one for one in statuses(body, NOW) if isinstance(one, Shown)]
        except ReplyError as error:
            return error.outcome
        own = sum(WORLD.posts[str(one.raw.mid)].uid == BUSY.uid for one in found)
        return "nothing" if not found else "posts" if own == MOBILE_PAGE else "fewer"

    async def work(asking: Asking) -> None:
        assert await outcome(asking) == EXPECTED[kind]
        await asking.tell("faults", [])
        await asking.tell("sessions", {"fake": 0})
        assert await outcome(asking) == "posts"

    with_fake(work, faults=(Fault(kind=kind, endpoint="container"),))


def test_faults_come_by_schedule_and_by_chance() -> None:
    async def work(asking: Asking) -> None:
        async def broken(count: int) -> int:
            return sum([(await asking.get("/m/api/config"))[0] == 418 for _ in range(count)])

        assert await broken(3) == 0
        await asking.tell("clock", {"now_ms": START + 21 * HOUR_MS})
        assert await broken(3) == 3
        await asking.tell("faults", [{"kind": "418", "share": 0.2}])
        assert 20 <= await broken(200) <= 65

    with_fake(work, faults=(Fault(kind="418", from_s=20.5 * 3600, until_s=22 * 3600),))


def test_who_asks_too_fast_is_told_then_blocked_then_not_answered() -> None:
    limit = Limit(per_minute=6, burst=2)
    told = [limit.take(100) for _ in range(14)]
    assert told == [None, None, "418", "418", "418", "432", "432", "432", *["reset"] * 6]
    assert limit.take(100 + limit.block_s + 60) is None, "a long pause is enough"


def test_a_patient_client_is_never_limited() -> None:
    limit = Limit(per_minute=6, burst=2)
    assert {limit.take(10.0 * number) for number in range(500)} == {None}
