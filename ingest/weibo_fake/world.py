"""What happens in the fake Weibo: accounts, posts, edits, deletions, growing counts; the same for the same seed. Pure.

All texts are made from the templates below. Nothing here is real: accounts, names of pictures and numbers are drawn.
"""

from __future__ import annotations

import bisect
import math
import random
from collections import defaultdict
from collections.abc import Container
from typing import Final, NamedTuple

import msgspec

from ingest.ids import MID_LOW_MAX, bid_from_mid, mid_of_time

HOUR_MS: Final = 3_600_000
PICTURE_CHARS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VANISHED: Final = "抱歉，此微博已被作者删除。查看帮助：http://t.cn/RfdU9ns"

_PLACES: Final = ("上海", "北京", "成都", "杭州", "青岛", "西安", "武汉", "厦门")
_PEOPLE: Final = ("林小满", "周一航", "陈知夏", "赵北辰", "沈青禾", "顾长风")
_THINGS: Final = ("云顶音乐节", "星河汽车", "青鸟手机", "长安博物馆", "海棠咖啡", "北岸书店")
_TOPICS: Final = ("周末去哪儿", "今天也要加油", "城市夜行", "一起看展", "新品上手")
_FACES: Final = ("太阳", "doge", "笑cry", "心", "赞")
_SENTENCES: Final = (
    "今天在{place}看到{person}，{thing}的队排得好长",
    "{thing}来{place}了，{person}也在现场",
    "刚从{place}回来，推荐{thing}",
    "听说{person}要去{place}，是真的吗？",
    "{person}代言{thing}，{place}的门店先开卖",
    "{place}下雨了，{thing}改到明天",
)
_MORE: Final = (
    "说几句细节：先排队，再入场，里面比想象的大。",
    "工作人员很耐心，指路的牌子也清楚。",
    "唯一的问题是人太多，建议早点来。",
    "附近有地铁，走路十分钟左右。",
)
REGIONS: Final = ("上海", "北京", "四川", "浙江", "山东", "")


class WorldSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How much happens: ``users`` accounts from ``start_ms`` on for ``hours``, ``posts_per_day`` each on average."""

    seed: int = 7
    users: int = 20
    start_ms: int = 1_646_092_800_000
    hours: float = 24.0
    posts_per_day: float = 24.0


class FakePicture(NamedTuple):
    """A picture; ``kind`` is ``pic``, ``gif``, ``livephoto`` or ``video``."""

    pid: str
    width: int
    height: int
    kind: str = "pic"


class FakePost(msgspec.Struct, frozen=True, kw_only=True):
    """A post through its life. ``versions`` are (from, plain text), the first one from ``created_ms`` on.

    ``deleted_ms`` is when it goes, 0 never. ``final`` are the reposts, comments and likes that it nears, ``pace_ms``
    how slowly. ``topic`` is its hashtag, ``""`` none. ``shape`` draws the odd forms of its fields.
    """

    mid: str
    uid: int
    created_ms: int
    versions: tuple[tuple[int, str], ...]
    final: tuple[int, int, int]
    pace_ms: int
    pictures: tuple[FakePicture, ...] = ()
    repost_of: str = ""
    deleted_ms: int = 0
    pinned: bool = False
    topic: str = ""
    region: str = ""
    shape: int = 0

    @property
    def bid(self) -> str:
        """The short form of the mid."""
        return bid_from_mid(self.mid)

    def exists(self, now_ms: int) -> bool:
        """Whether anybody can see it."""
        return self.created_ms <= now_ms and not 0 < self.deleted_ms <= now_ms

    def edits(self, now_ms: int) -> int:
        """How often it was edited until ``now_ms``."""
        return sum(at <= now_ms for at, _ in self.versions[1:])

    def text(self, now_ms: int) -> str:
        """Its text at ``now_ms``."""
        return self.versions[self.edits(now_ms)][1]

    def counts(self, now_ms: int) -> tuple[int, int, int]:
        """(reposts, comments, likes) at ``now_ms``; they only grow."""
        share = -math.expm1(-max(0, now_ms - self.created_ms) / self.pace_ms)
        return tuple(int(count * share) for count in self.final)  # type: ignore[return-value]


class FakeUser(NamedTuple):
    """An account."""

    uid: int
    name: str
    followers: int


class World:
    """Everything that happens, made at once. Lists are in the order of their times."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        draw = random.Random(settings.seed)
        self.users = [_user(draw, number) for number in range(settings.users)]
        self._users = {user.uid: user for user in self.users}
        self.posts: dict[str, FakePost] = {}
        self._by_user: dict[int, list[FakePost]] = defaultdict(list)
        originals: list[FakePost] = []
        for user, at_ms, pinned in self._moments(draw):
            post = _post(draw, user, at_ms, pinned, originals, self.posts)
            self.posts[post.mid] = post
            if not post.repost_of and not pinned:
                originals.append(post)
        self._in_order = sorted(self.posts.values(), key=lambda post: (post.created_ms, post.mid))
        self._times = [post.created_ms for post in self._in_order]
        for post in self._in_order:
            self._by_user[post.uid].append(post)

    def _moments(self, draw: random.Random) -> list[tuple[FakeUser, int, bool]]:
        """(author, time, pinned) of all posts, in order. Some accounts write ten times as much as others."""
        settings, found = self.settings, list[tuple[FakeUser, int, bool]]()
        for user in self.users:
            for _ in range(draw.choice((0, 0, 1, 2))):
                found.append((user, settings.start_ms - draw.randrange(30, 900) * 24 * HOUR_MS, True))
            rate_ms = 24 * HOUR_MS / settings.posts_per_day / draw.choice((0.3, 1, 1, 2))
            at_ms = settings.start_ms + draw.expovariate(1 / rate_ms)
            while at_ms < settings.start_ms + settings.hours * HOUR_MS:
                found.append((user, int(at_ms) // 1000 * 1000, False))
                at_ms += draw.expovariate(1 / rate_ms)
        return sorted(found, key=lambda row: (row[1], row[0].uid))

    def user(self, uid: int) -> FakeUser | None:
        """The account of this number."""
        return self._users.get(uid)

    def timeline(self, uid: int, now_ms: int) -> list[FakePost]:
        """What an account shows: pins first, then the newest first."""
        shown = [post for post in self._by_user.get(uid, ()) if post.exists(now_ms)]
        pins = [post for post in shown if post.pinned]
        return [*reversed(pins), *(post for post in reversed(shown) if not post.pinned)]

    def search(self, words: str, now_ms: int, since_ms: int = 0, until_ms: int = 1 << 62) -> list[FakePost]:
        """Posts with ``words`` in their text or as their topic, the newest first."""
        wanted = words.strip("#")
        return [
            post
            for post in reversed(self.between(since_ms, min(until_ms, now_ms + 1)))
            if post.exists(now_ms) and (wanted in post.text(now_ms) or wanted == post.topic)
        ]

    def between(self, since_ms: int, until_ms: int) -> list[FakePost]:
        """Posts written in [since, until), whether they still exist or not."""
        return self._in_order[bisect.bisect_left(self._times, since_ms) : bisect.bisect_left(self._times, until_ms)]

    def hot(self, now_ms: int) -> list[tuple[str, int]]:
        """(word, heat) of what was written about in the last hour, the hottest first."""
        heat: dict[str, int] = defaultdict(int)
        for post in self.between(now_ms - HOUR_MS, now_ms + 1):
            for word in (*_PEOPLE, *_THINGS):
                if word in post.text(now_ms):
                    heat[word] += 1000 + sum(post.counts(now_ms))
        return sorted(heat.items(), key=lambda row: (-row[1], row[0]))


def _user(draw: random.Random, number: int) -> FakeUser:
    uid = 1_000_000_000 + draw.randrange(100_000_000) * 10 + number % 10
    return FakeUser(uid, f"练习账号{number}", int(10 ** draw.uniform(1, 7)))


def _post(
    draw: random.Random, user: FakeUser, at_ms: int, pinned: bool, originals: list[FakePost], taken: Container[str]
) -> FakePost:
    mid = _mid(draw, at_ms, taken)
    source = draw.choice(originals[-200:]) if originals and not pinned and draw.random() < 0.2 else None
    topic = draw.choice(_TOPICS) if draw.random() < 0.3 else ""
    text = _text(draw, topic, long=source is None and draw.random() < 0.1)
    if source is not None:
        text = draw.choice(("转发微博", "说得对", f"//@练习账号{draw.randrange(9)}:同意"))
    versions = [(at_ms, text)]
    for _ in range(draw.choice((0,) * 12 + (1, 1, 2))):
        versions.append((versions[-1][0] + draw.randrange(60, 7200) * 1000, f"{text}（更新）"))
        text = versions[-1][1]
    likes = int(10 ** draw.uniform(0, 6.3))
    return FakePost(
        mid=mid,
        uid=user.uid,
        created_ms=at_ms,
        versions=tuple(versions),
        final=(likes // 7, likes // 3, likes),
        pace_ms=round(draw.uniform(0.3, 8) * HOUR_MS),
        pictures=() if source is not None else _pictures(draw),
        repost_of=source.mid if source is not None else "",
        deleted_ms=at_ms + draw.randrange(120, 36_000) * 1000 if not pinned and draw.random() < 0.05 else 0,
        pinned=pinned,
        topic=topic if source is None else "",
        region=draw.choice(REGIONS),
        shape=draw.randrange(1 << 30),
    )


def _mid(draw: random.Random, at_ms: int, taken: Container[str]) -> str:
    """A number that holds its time, as Weibo's do."""
    while True:
        mid = mid_of_time(at_ms, draw.randrange(MID_LOW_MAX))
        if mid not in taken:
            return mid


def _text(draw: random.Random, topic: str, *, long: bool) -> str:
    text = draw.choice(_SENTENCES).format(
        place=draw.choice(_PLACES), person=draw.choice(_PEOPLE), thing=draw.choice(_THINGS)
    )
    if topic:
        text = f"#{topic}# {text}"
    if draw.random() < 0.3:
        text += f"[{draw.choice(_FACES)}]"
    if draw.random() < 0.2:
        text += f" @练习账号{draw.randrange(9)}"
    if draw.random() < 0.1:
        text += f" http://t.cn/A6{draw.randrange(10**5):05}"
    if long:
        text += "\n" + "\n".join(draw.choice(_MORE) for _ in range(draw.randrange(6, 12)))
    return text


def _pictures(draw: random.Random) -> tuple[FakePicture, ...]:
    count = draw.choice((0, 0, 0, 1, 1, 3, 9, 12))
    return tuple(
        FakePicture(
            "".join(draw.choices(PICTURE_CHARS, k=32)), draw.randrange(200, 2000), draw.randrange(200, 2000),
            draw.choice(("pic",) * 8 + ("gif", "livephoto")),
        )
        for _ in range(count)
    )  # fmt: skip
