"""Posts of the fake Weibo as its two web flavours send them, in the many shapes that were seen of each field. Pure.

Which shape a post's fields have is drawn with the post (``FakePost.shape``), so that a reply is the same each time.
"""

from __future__ import annotations

import re
from datetime import datetime
from html import escape
from typing import Any, Final
from urllib.parse import quote

from ingest.fields import CHINA
from ingest.weibo_fake.world import VANISHED, FakePicture, FakePost, FakeUser, World

LONG_CHARS: Final = 140
"""Longer texts are cut in lists."""
LIST_PICTURES_MAX: Final = 9
"""More are told only where one post is shown."""
SHOWN_MAX: Final = 1_000_000
PADDING: Final = " \u200b\u200b\u200b"
_PIECE: Final = re.compile(r"#([^#\s]+)#|@([\w-]+)|\[(\w+)\]|(https?://t\.cn/\w+)|(\n)")
_WEEKDAYS: Final = "Mon Tue Wed Thu Fri Sat Sun".split()
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def mobile(world: World, post: FakePost, now_ms: int, *, whole: bool = False) -> dict[str, Any]:
    """``mblog`` of m.weibo.cn; ``whole`` as where one post is shown."""
    odd, text = _Odd(post.shape), post.text(now_ms)
    long = len(text) > LONG_CHARS
    values: dict[str, Any] = {
        "id": post.mid,
        "mid": post.mid,
        "bid": "" if odd.one_in(7) and not whole else post.bid,
        "created_at": _created(post.created_ms, now_ms, odd),
        "text": _cut_html(post, text) if long and not whole else _html(text, odd),
        "textLength": 2 * len(text),
        "isLongText": long,
        "source": odd.choice("iPhone客户端", "微博 weibo.com", ""),
        "user": _mobile_user(world.user(post.uid), odd),
        "region_name": f"发布于 {post.region}" if post.region else odd.choice("", None),
        "pic_num": len(post.pictures),
        "pic_ids": [picture.pid for picture in post.pictures],
        "visible": {"type": 0, "list_id": 0},
        "mblogtype": 2 if post.pinned else 0,
        **_counts(post, now_ms, odd),
        **_edits(post, now_ms),
    }
    if long and whole:
        values["longText"] = {"longTextContent": _html(text, odd)}
    if post.pinned:
        values |= {"isTop": 1, "title": {"text": "置顶", "base_color": 1}}
    if post.pictures:
        shown = post.pictures if whole else post.pictures[:LIST_PICTURES_MAX]
        rows = [_mobile_picture(picture, odd) for picture in shown]
        values["pics"] = {str(place): row for place, row in enumerate(rows)} if odd.one_in(5) else rows
    if post.repost_of:
        values["raw_text"] = text
        values["retweeted_status"] = _original(world, post, now_ms, mobile)
    return values


def desktop(world: World, post: FakePost, now_ms: int, *, whole: bool = False) -> dict[str, Any]:
    """A status of weibo.com; ``whole`` as where one post is shown."""
    odd, text = _Odd(post.shape), post.text(now_ms)
    long = len(text) > LONG_CHARS
    plain = f"{text[:LONG_CHARS]}{PADDING}..." if long and not whole else text + odd.choice("", PADDING)
    values: dict[str, Any] = {
        "id": int(post.mid),
        "idstr": post.mid,
        "mid": post.mid,
        "mblogid": post.bid,
        "created_at": _created(post.created_ms, now_ms, _Odd(0)),
        "text": _html(plain, odd) + ('<span class="expand">展开</span>' if long and not whole else ""),
        "text_raw": plain,
        "textLength": 2 * len(text),
        "isLongText": long and not whole,
        "source": odd.choice("iPhone客户端", '<a href="//weibo.com">微博网页版</a>', ""),
        "user": _desktop_user(world.user(post.uid)),
        "region_name": f"发布于 {post.region}" if post.region else None,
        "pic_num": len(post.pictures),
        "pic_ids": [picture.pid for picture in post.pictures],
        "mblogtype": 2 if post.pinned else 0,
        **_counts(post, now_ms, odd),
        **_edits(post, now_ms),
    }
    if long and not whole:
        values["continue_tag"] = {"title": "全文", "scheme": f"sinaweibo://detail?mblogid={post.mid}"}
    if post.pinned:
        values |= {"isTop": 1, "title": {"text": "置顶", "base_color": 1}}
    if post.pictures:
        infos = {picture.pid: _sizes(picture) for picture in post.pictures}
        values["pic_infos"] = infos
        if odd.one_in(4):
            items = [{"type": "pic", "id": pid, "data": info} for pid, info in infos.items()]
            values["mix_media_info"] = {"items": items}
    if post.repost_of:
        values["retweeted_status"] = _original(world, post, now_ms, desktop)
    return values


def card(world: World, post: FakePost, now_ms: int, container: str) -> dict[str, Any]:
    """A card of m.weibo.cn around a post; some stand in groups."""
    made = {
        "card_type": 9,
        "itemid": f"{container}_-_{post.mid}",
        "scheme": f"https://m.weibo.cn/status/{post.bid}?mblogid={post.bid}&lfid={container}",
        "mblog": mobile(world, post, now_ms),
    }
    if post.pinned:
        made["profile_type_id"] = "proweibotop_"
    return {"card_type": 11, "card_group": [made]} if _Odd(post.shape).one_in(11) else made


class _Odd:
    """Draws that belong to one post: each question takes some of its number."""

    def __init__(self, shape: int) -> None:
        self._left = shape

    def choice(self, *options: Any) -> Any:
        self._left, place = divmod(self._left, len(options))
        return options[place]

    def one_in(self, count: int) -> bool:
        self._left, place = divmod(self._left, count)
        return place == count - 1


def _original(world: World, post: FakePost, now_ms: int, show: Any) -> dict[str, Any]:
    original = world.posts[post.repost_of]
    if original.exists(now_ms):
        shown: dict[str, Any] = show(world, original, now_ms)
        return shown
    return {"id": original.mid, "mid": original.mid, "user": None, "text": VANISHED, "text_raw": VANISHED}


def _created(at_ms: int, now_ms: int, odd: _Odd) -> str:
    """Mostly the long form; sometimes as old pages show it, where that loses no more than the seconds."""
    moment, now = datetime.fromtimestamp(at_ms / 1000, CHINA), datetime.fromtimestamp(now_ms / 1000, CHINA)
    if moment.second == 0 and odd.one_in(3):
        if moment.date() == now.date():
            return f"今天 {moment:%H:%M}"
        return f"{moment:%Y年%m月%d日 %H:%M}"
    return _in_full(moment)


def _in_full(moment: datetime) -> str:
    """Not by ``strftime``, whose names of days follow the locale."""
    return f"{_WEEKDAYS[moment.weekday()]} {_MONTHS[moment.month - 1]} {moment:%d %H:%M:%S} +0800 {moment.year}"


def _counts(post: FakePost, now_ms: int, odd: _Odd) -> dict[str, Any]:
    names = ("reposts_count", "comments_count", "attitudes_count")
    return {name: _count(count, odd) for name, count in zip(names, post.counts(now_ms), strict=True)}


def _count(count: int, odd: _Odd) -> int | str:
    if count > SHOWN_MAX:
        return "100万+"
    if count >= 10_000 and odd.one_in(3):
        return f"{count // 1000 / 10:g}万"
    return str(count) if odd.one_in(3) else count


def _edits(post: FakePost, now_ms: int) -> dict[str, Any]:
    edits = post.edits(now_ms)
    if not edits:
        return {}
    at = datetime.fromtimestamp(post.versions[edits][0] / 1000, CHINA)
    return {"edit_count": edits, "edit_at": _in_full(at), "edit_config": {"edited": True}}


# --- text --------------------------------------------------------------------------------------------------------


def _html(text: str, odd: _Odd) -> str:
    quoted = odd.one_in(2)

    def marked(match: re.Match[str]) -> str:
        topic, person, face, link, _ = match.groups()
        if topic:
            address = f"https://m.weibo.cn/search?containerid=231522type%3D1%26q%3D{quote(topic)}"
            return f'<a href="{address}" data-hide=""><span class="surl-text">#{topic}#</span></a>'
        if person:
            return f"<a href='/n/{person}'>@{person}</a>"
        if face:
            alt = f'"[{face}]"' if quoted else f"[{face}]"
            return f'<span class="url-icon"><img alt={alt} src="//h5.sinaimg.cn/m/emoticon/{face}.png" /></span>'
        if link:
            target = quote(f"https://example.com/{link[-5:]}", safe="")
            return (
                f'<a data-url="{link}" href="https://weibo.cn/sinaurl?u={target}"><span class="url-icon">'
                '<img src="https://h5.sinaimg.cn/link.png"></span><span class="surl-text">网页链接</span></a>'
            )
        return "<br />"

    parts, place = list[str](), 0
    for match in _PIECE.finditer(text):
        parts += [escape(text[place : match.start()], quote=False), marked(match)]
        place = match.end()
    return "".join([*parts, escape(text[place:], quote=False), odd.choice("", "\u200b", PADDING)])


def post_html(text: str) -> str:
    """``text`` as pages of HTML show it."""
    return _html(text, _Odd(1))


def _cut_html(post: FakePost, text: str) -> str:
    return _html(text[:LONG_CHARS], _Odd(post.shape)) + f'...<a href="/status/{post.mid}">全文</a>'


# --- accounts and pictures ---------------------------------------------------------------------------------------


def _mobile_user(user: FakeUser | None, odd: _Odd) -> dict[str, Any] | None:
    if user is None:
        return None
    followers: int | str = user.followers
    if user.followers >= 10_000 and odd.one_in(2):
        followers = f"{user.followers // 1000 / 10:g}万"
    return {
        "id": user.uid, "screen_name": user.name, "profile_url": f"https://m.weibo.cn/u/{user.uid}",
        "followers_count": followers, "verified": user.followers > 1_000_000, "verified_type": -1, "gender": "f",
    }  # fmt: skip


def _desktop_user(user: FakeUser | None) -> dict[str, Any] | None:
    """Lists of weibo.com tell no followers."""
    if user is None:
        return None
    return {"id": user.uid, "idstr": str(user.uid), "screen_name": user.name, "profile_url": f"/u/{user.uid}"}


def picture_url(picture: FakePicture, size: str) -> str:
    """Where a picture lies, in one of Weibo's sizes."""
    ending = "gif" if picture.kind == "gif" else "jpg"
    return f"https://wx{sum(map(ord, picture.pid)) % 4 + 1}.sinaimg.cn/{size}/{picture.pid}.{ending}"


def _mobile_picture(picture: FakePicture, odd: _Odd) -> dict[str, Any]:
    side: Any = odd.choice(int, str)
    row: dict[str, Any] = {
        "pid": picture.pid,
        "url": picture_url(picture, "orj360"),
        "size": "orj360",
        "geo": {"width": 360, "height": max(1, 360 * picture.height // picture.width), "croped": False},
        "large": {
            "size": "large",
            "url": picture_url(picture, "large"),
            "geo": {"width": side(picture.width), "height": side(picture.height), "croped": False},
        },
    }
    if picture.kind != "pic":
        row |= {"type": picture.kind, "videoSrc": "https://f.video.weibocdn.com/fake.mp4"}
    return row


def _sizes(picture: FakePicture) -> dict[str, Any]:
    sides = {"thumbnail": 180, "bmiddle": 440, "large": picture.width}
    names = {"thumbnail": "wap180", "bmiddle": "wap360", "large": "large"}
    made: dict[str, Any] = {
        size: {
            "url": picture_url(picture, names[size]),
            "width": width,
            "height": max(1, picture.height * width // picture.width),
            "cut_type": 1,
        }
        for size, width in sides.items()
    }
    return {**made, "pic_id": picture.pid, "object_id": f"1042018:{picture.pid}", "type": picture.kind}
