"""The fake Weibo as a server on loopback: ``/m`` plays m.weibo.cn, ``/pc`` weibo.com, ``/s`` s.weibo.com, ``/img``
the pictures.

What it does is counted at ``/_fake/metrics`` and known at ``/_fake/truth``; ``/_fake/clock``, ``/_fake/faults`` and
``/_fake/sessions`` say what happens next.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec
from aiohttp import web
from PIL import Image

from ingest.ids import mid_from_bid
from ingest.weibo_fake.faults import BLOCKS, Fault, Faults, Kind, Limit
from ingest.weibo_fake.flavours import card, desktop, mobile
from ingest.weibo_fake.search_html import hour_ms, search_page
from ingest.weibo_fake.world import HOUR_MS, FakePost, World

MOBILE_PAGE: Final = 10
DESKTOP_PAGE: Final = 20
SEARCH_PAGES_MAX: Final = 50
SLOW_S: Final = 3.0
_REFERERS: Final = ("https://weibo.com/", "https://m.weibo.cn/", "https://s.weibo.com/")
_SEARCH: Final = re.compile(r"100103type=(\d+)&q=(.*)", re.DOTALL)
_TOPIC: Final = "100808"
_SCOPE: Final = re.compile(r"custom:(\d{4}-\d\d-\d\d)-(\d{1,2}):(\d{4}-\d\d-\d\d)-(\d{1,2})")
_SHELL: Final = "<html><head><title>Sina Visitor System</title></head><body>passport.weibo.com</body></html>"
_SPOILING: Final = frozenset(("truncated", "slow", "empty", "omit"))
_EMPTY: Final = {"ok": 0, "msg": "这里还没有内容", "data": {"cards": []}}
Handler = Callable[[web.Request, int], Awaitable[web.StreamResponse]]


class FakeClock:
    """The world's time: real seconds times ``speed`` since it was set. ``now`` gives Unix milliseconds."""

    def __init__(self, start_ms: int, monotonic: Callable[[], float], speed: float = 1.0) -> None:
        self._monotonic = monotonic
        self.set(start_ms, speed)

    def set(self, now_ms: int, speed: float) -> None:
        """Go on from ``now_ms``; speed 0 stands still."""
        self._from_ms, self._at, self.speed = now_ms, self._monotonic(), speed

    def now(self) -> int:
        return self._from_ms + round((self._monotonic() - self._at) * self.speed * 1000)


class FakeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``sessions`` are values of the cookie SUB and when they die (Unix ms, 0 never).

    Each may ask ``per_minute`` times, ``burst`` at once.
    """

    sessions: dict[str, int] = msgspec.field(default_factory=lambda: {"fake": 0})
    per_minute: float = 1e9
    burst: float = 1e9
    faults: tuple[Fault, ...] = ()
    seed: int = 1
    slow_s: float = SLOW_S


class FakeWeibo:
    """The application. One event loop owns it."""

    def __init__(self, world: World, clock: FakeClock, options: FakeOptions) -> None:
        self._world = world
        self._clock = clock
        self._options = options
        self._sessions = dict(options.sessions)
        self._limits: dict[str, Limit] = {}
        self._faults = Faults(list(options.faults), options.seed)
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._blocked: set[str] = set()
        self._while_blocked = 0
        self._breaches = 0
        self._shown: dict[str, int] = {}
        self._timelines: Counter[str] = Counter()
        self._answering: dict[int, Sequence[FakePost]] = {}

    @property
    def shown(self) -> dict[str, int]:
        """mid → when a reply first showed the post, Unix milliseconds."""
        return self._shown

    def asked(self, *, while_blocked: bool = False) -> int:
        """How many requests came, or came while their session was blocked; pictures count."""
        return self._while_blocked if while_blocked else self._requests.total()

    def app(self) -> web.Application:
        """With all routes."""
        made = web.Application()
        for path, name, handler in (
            ("/m/api/container/getIndex", "container", self._container),
            ("/m/statuses/show", "show", self._show_mobile),
            ("/m/statuses/extend", "extend", self._extend),
            ("/m/api/config", "config", self._config),
            ("/pc/ajax/statuses/mymblog", "mymblog", self._mymblog),
            ("/pc/ajax/statuses/show", "ajax_show", self._show_desktop),
            ("/pc/ajax/statuses/longtext", "longtext", self._longtext),
            ("/pc/ajax/side/hotSearch", "hot", self._hot),
            ("/pc/ajax/feed/friendstimeline", "friendstimeline", self._friends),
            ("/s/weibo", "search_hours", self._search_hours),
        ):
            made.router.add_get(path, self._guarded(name, handler))
        made.router.add_get("/img/{size}/{name}", self._guarded("picture", self._picture))
        made.router.add_get("/_fake/metrics", self._metrics)
        made.router.add_get("/_fake/truth", self._truth)
        made.router.add_post("/_fake/clock", self._set_clock)
        made.router.add_post("/_fake/faults", self._set_faults)
        made.router.add_post("/_fake/sessions", self._set_sessions)
        return made

    # --- what stands before every answer ---------------------------------------------------------------------------

    def _guarded(self, name: str, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answered(request: web.Request) -> web.StreamResponse:
            now_ms = self._clock.now()
            session = request.cookies.get("SUB", "")
            if session in self._blocked:
                self._while_blocked += 1
            trouble = self._trouble(name, session, now_ms)
            if trouble in BLOCKS:
                self._blocked.add(session)
            if trouble is None:
                made = await handler(request, now_ms)
            elif trouble in _SPOILING:
                made = await self._spoiled(trouble, await handler(request, now_ms))
            else:
                made = self._troubled(trouble, request)
            if trouble in (None, "omit") and isinstance(made, web.Response) and isinstance(made.body, bytes):
                self._note_shown(request, made.body, now_ms)
            self._answering.pop(id(request), None)
            self._requests[name, session, trouble or str(made.status)] += 1
            return made

        return answered

    def _trouble(self, name: str, session: str, now_ms: int) -> Kind | None:
        allowed = self._options
        limit = self._limits.setdefault(session, Limit(per_minute=allowed.per_minute, burst=allowed.burst))
        if name != "picture" and (found := limit.take(now_ms / 1000)):
            self._breaches += 1
            return found
        if found := self._faults.of(name, (now_ms - self._world.settings.start_ms) / 1000):
            return found
        if name in ("container", "mymblog", "friendstimeline", "search_hours"):
            dies_ms = self._sessions.get(session)
            if dies_ms is None:
                return "432"
            if 0 < dies_ms <= now_ms:
                return "login"
        return None

    def _troubled(self, kind: Kind, request: web.Request) -> web.StreamResponse:
        if kind.isdigit():
            return web.Response(status=int(kind), reason="No Reason Phrase")
        if kind == "reset":
            assert request.transport is not None
            request.transport.abort()
        elif kind == "busy":
            return web.json_response({"ok": 0, "msg": "请求过于频繁，歇歇吧"})
        elif kind == "login":
            return web.json_response({"ok": -100, "url": "https://passport.weibo.com/sso/signin?entry=wapsso"})
        elif kind == "captcha":
            return web.json_response({"ok": 0, "url": "https://m.weibo.cn/security?geetest=1"})
        elif kind == "shell":
            return web.Response(text=_SHELL, content_type="text/html")
        elif kind == "garbage":
            return web.Response(body=b"\x00\xffnothing", content_type="application/json")
        elif kind == "loop":
            return web.Response(status=302, headers={"Location": request.path_qs})
        return web.Response()

    async def _spoiled(self, kind: str, whole: web.StreamResponse) -> web.StreamResponse:
        """An answer that is not what it should be."""
        if kind == "slow":
            await asyncio.sleep(self._options.slow_s)
            return whole
        assert isinstance(whole, web.Response) and isinstance(whole.body, bytes)
        if kind in ("empty", "omit") and whole.content_type == "text/html":
            return web.Response(text=search_page(self._world, [], 0, 0), content_type="text/html")
        if kind == "truncated":
            return web.Response(body=whole.body[: len(whole.body) // 2], content_type="application/json")
        if kind == "empty":
            return web.json_response(_EMPTY)
        answer = msgspec.json.decode(whole.body)
        rows = answer.get("data", {}).get("cards") or answer.get("data", {}).get("list") or []
        lacking = self._faults.lacking(len(rows))
        rows[:] = [row for place, row in enumerate(rows) if place not in lacking]
        return web.json_response(answer)

    def _seen(self, request: web.Request, posts: Sequence[FakePost]) -> None:
        """These are in the answer, and the originals of reposts with them."""
        self._answering[id(request)] = posts

    def _note_shown(self, request: web.Request, body: bytes, now_ms: int) -> None:
        """Remember what an answer really shows: some is left out of an answer that is spoiled."""
        for post in self._answering.pop(id(request), ()):
            if f'"mid": "{post.mid}"'.encode() in body or f' mid="{post.mid}"'.encode() in body:
                self._shown.setdefault(post.mid, now_ms)
                original = self._world.posts.get(post.repost_of)
                if original is not None and original.exists(now_ms) and b"retweeted_status" in body:
                    self._shown.setdefault(original.mid, now_ms)

    # --- m.weibo.cn ------------------------------------------------------------------------------------------------

    async def _container(self, request: web.Request, now_ms: int) -> web.StreamResponse:
        container = request.query.get("containerid", "")
        page = max(1, int(request.query.get("page") or 1))
        posts = self._in_container(container, now_ms)
        if container.startswith("100103") and page > SEARCH_PAGES_MAX:
            posts = []
        since = request.query.get("since_id", "")
        if since.isdigit():
            posts = [post for post in posts if not post.pinned and int(post.mid) < int(since)]
        part = posts[(page - 1) * MOBILE_PAGE : page * MOBILE_PAGE]
        if not part:
            return web.json_response(_EMPTY)
        self._seen(request, part)
        info = {"containerid": container, "total": len(posts), "page": page + 1}
        if container.startswith("107603"):
            info["since_id"] = int(min(part, key=lambda post: (post.pinned, int(post.mid))).mid)
        cards = [card(self._world, post, now_ms, container) for post in part]
        return web.json_response({"ok": 1, "data": {"cardlistInfo": info, "cards": cards}})

    def _in_container(self, container: str, now_ms: int) -> list[FakePost]:
        if match := _SEARCH.fullmatch(unquote(container)):
            return self._world.search(parse_qs(f"q={match[2]}")["q"][0], now_ms)
        if container.startswith(_TOPIC):
            return self._world.search(unquote(container.removeprefix(_TOPIC)), now_ms)
        if container[:6] in ("107603", "230413") and container[6:].isdigit():
            self._timelines[container[6:]] += 1
            return self._world.timeline(int(container[6:]), now_ms)
        return []

    def _post(self, request: web.Request, now_ms: int) -> FakePost | None:
        wanted = request.query.get("id", "")
        if wanted not in self._world.posts:
            with contextlib.suppress(ValueError):
                wanted = mid_from_bid(wanted)
        found = self._world.posts.get(wanted)
        return found if found is not None and found.exists(now_ms) else None

    async def _show_mobile(self, request: web.Request, now_ms: int) -> web.StreamResponse:
        post = self._post(request, now_ms)
        if post is None:
            return web.json_response({"ok": 0, "msg": "微博不存在或暂无查看权限!"})
        self._seen(request, [post])
        return web.json_response({"ok": 1, "data": mobile(self._world, post, now_ms, whole=True)})

    async def _extend(self, request: web.Request, now_ms: int) -> web.StreamResponse:
        post = self._post(request, now_ms)
        if post is None:
            return web.json_response({"ok": 0, "msg": "微博不存在或暂无查看权限!"})
        shown = mobile(self._world, post, now_ms, whole=True)
        return web.json_response({"ok": 1, "data": {"ok": 1, "longTextContent": shown["text"]}})

    async def _config(self, request: web.Request, now_ms: int) -> web.StreamResponse:
        dies_ms = self._sessions.get(request.cookies.get("SUB", ""))
        login = dies_ms is not None and not 0 < dies_ms <= now_ms
        return web.json_response({"ok": 1, "data": {"login": login}})

    # --- weibo.com -------------------------------------------------------------------------------------------------

    async def _mymblog(self, request: web.Request, now_ms: int) -> web.StreamResponse:
        page, uid = max(1, int(request.query.get("page") or 1)), request.query.get("uid", "")
        posts = self._world.timeline(int(uid), now_ms) if uid.isdigit() else []
        part = posts[(page - 1) * DESKTOP_PAGE : page * DESKTOP_PAGE]
        self._seen(request, part)
        rows = [desktop(self._world, post, now_ms) for post in part]
        since = f"{part[-1].mid}kp{page + 1}" if part else ""
        return web.json_response({"ok": 1, "data": {"list": rows, "since_id": since, "total": len(posts)}})

    async def _show_desktop(self, request: web.Request, now_ms: int) -> web.StreamResponse:
        post = self._post(request, now_ms)
        if post is None:
            return web.json_response({"ok": 0, "message": "该微博不存在"}, status=400)
        self._seen(request, [post])
        return web.json_response({**desktop(self._world, post, now_ms, whole=True), "ok": 1})

    async def _longtext(self, request: web.Request, now_ms: int) -> web.StreamResponse:
        post = self._post(request, now_ms)
        if post is None:
            return web.json_response({"ok": 0, "message": "该微博不存在"}, status=400)
        return web.json_response({"ok": 1, "data": {"longTextContent": post.text(now_ms)}})

    async def _hot(self, _: web.Request, now_ms: int) -> web.StreamResponse:
        rows = [
            {"word": word, "note": word, "word_scheme": f"#{word}#", "num": heat, "rank": rank, "label_name": "热"}
            for rank, (word, heat) in enumerate(self._world.hot(now_ms)[:50])
        ]
        return web.json_response({"ok": 1, "data": {"realtime": rows}})

    async def _friends(self, request: web.Request, now_ms: int) -> web.StreamResponse:
        return web.json_response({"ok": 1, "statuses": [], "total_number": 0})

    async def _search_hours(self, request: web.Request, now_ms: int) -> web.StreamResponse:
        """The search of s.weibo.com: HTML, by hours of which the last one counts in, ten a page, fifty pages."""
        page = max(1, int(request.query.get("page") or 1))
        scope = _SCOPE.fullmatch(request.query.get("timescope", ""))
        from_ms, last_ms = (hour_ms(*scope.groups()[:2]), hour_ms(*scope.groups()[2:])) if scope else (0, now_ms)
        words = request.query.get("q", "")
        posts = self._world.search(words, now_ms, from_ms, last_ms + HOUR_MS) if words else []
        pages = min(-(-len(posts) // MOBILE_PAGE), SEARCH_PAGES_MAX)
        part = posts[(page - 1) * MOBILE_PAGE : page * MOBILE_PAGE] if page <= pages else []
        self._seen(request, part)
        return web.Response(text=search_page(self._world, part, now_ms, pages), content_type="text/html")

    # --- pictures --------------------------------------------------------------------------------------------------

    async def _picture(self, request: web.Request, now_ms: int) -> web.StreamResponse:
        """A small picture whose colours come from its name; only for pages of Weibo."""
        if not request.headers.get("Referer", "").startswith(_REFERERS):
            return web.Response(status=403)
        name, _, ending = request.match_info["name"].partition(".")
        draw = random.Random(name)
        image = Image.new("RGB", (96, 64), tuple(draw.randrange(256) for _ in range(3)))
        kind = "GIF" if ending == "gif" else "JPEG"
        buffer = io.BytesIO()
        image.save(buffer, kind)
        return web.Response(body=buffer.getvalue(), content_type=f"image/{kind.lower()}")

    # --- for tests ---------------------------------------------------------------------------------------------------

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        rows = [
            {"endpoint": name, "session": session, "outcome": outcome, "count": count}
            for (name, session, outcome), count in sorted(self._requests.items())
        ]
        told: dict[str, Any] = {"requests": rows, "while_blocked": self._while_blocked, "breaches": self._breaches}
        told["timelines"] = self._timelines
        return web.json_response({**told, "now_ms": self._clock.now()})

    async def _truth(self, _: web.Request) -> web.StreamResponse:
        now_ms = self._clock.now()
        exist = [mid for mid, post in self._world.posts.items() if post.exists(now_ms)]
        return web.json_response({"now_ms": now_ms, "shown": self._shown, "exist": exist})

    async def _set_clock(self, request: web.Request) -> web.StreamResponse:
        """``{"now_ms": …, "advance_s": …, "speed": …}``, each optional."""
        asked = await request.json()
        now_ms = int(asked.get("now_ms", self._clock.now())) + round(1000 * float(asked.get("advance_s", 0)))
        self._clock.set(now_ms, float(asked.get("speed", self._clock.speed)))
        return web.json_response({"now_ms": self._clock.now()})

    async def _set_faults(self, request: web.Request) -> web.StreamResponse:
        """A list of faults, in place of those before."""
        self._faults.faults[:] = msgspec.json.decode(await request.read(), type=list[Fault])
        return web.json_response({})

    async def _set_sessions(self, request: web.Request) -> web.StreamResponse:
        """``{"SUB": dies_ms}`` to add or change; a session that is named here is no longer blocked."""
        self.forgive(msgspec.json.decode(await request.read(), type=dict[str, int]))
        return web.json_response({})

    def forgive(self, changes: Mapping[str, int]) -> None:
        """Add or change sessions: value of SUB → when it dies, Unix ms (0 never). They are no longer blocked."""
        self._sessions |= changes
        self._blocked -= changes.keys()
        for session in changes:
            self._limits.pop(session, None)


async def serve(
    world: World, options: FakeOptions, port: int, clock: tuple[int, float], started: Callable[[str], None]
) -> None:
    """Serve ``world`` on loopback until SIGINT or SIGTERM; ``clock`` is its time (Unix ms) and how fast it goes.

    Raises ``OSError`` for the port.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    now_ms, speed = clock
    running = FakeClock(now_ms, loop.time, speed)
    runner = web.AppRunner(FakeWeibo(world, running, options).app(), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        started(f"http://127.0.0.1:{runner.addresses[0][1]}")
        await stop.wait()
    finally:
        await runner.cleanup()
