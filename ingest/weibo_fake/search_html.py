"""The search page of s.weibo.com, as far as it is known: the hooks that readers of it use. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Final

from ingest.fields import CHINA
from ingest.weibo_fake.flavours import LONG_CHARS, picture_url, post_html
from ingest.weibo_fake.world import FakePost, World

_NOTHING: Final = '<div class="card card-no-result s-pt20b40"><p>抱歉，未找到相关结果。</p></div>'


def hour_ms(day: str, hour: str) -> int:
    """Unix milliseconds of an hour of China's time, as ``timescope`` names it."""
    return round(datetime.strptime(f"{day} {hour} +0800", "%Y-%m-%d %H %z").timestamp() * 1000)


def search_page(world: World, posts: Sequence[FakePost], now_ms: int, pages: int) -> str:
    """A page with ``posts`` of a search that has ``pages`` of them."""
    cards = "".join(_card(world, post, now_ms) for post in posts) or _NOTHING
    rows = "".join(f'<li><a href="?page={number}">第{number}页</a></li>' for number in range(1, pages + 1))
    paging = f'<div class="m-page"><ul class="s-scroll">{rows}</ul></div>' if pages > 1 else ""
    return f'<html><body><div id="pl_feedlist_index">{cards}{paging}</div></body></html>'


def _card(world: World, post: FakePost, now_ms: int) -> str:
    user, text = world.user(post.uid), post.text(now_ms)
    reposts, comments, likes = post.counts(now_ms)
    at = datetime.fromtimestamp(post.created_ms / 1000, CHINA)
    shown = f"{at:%Y年%m月%d日 %H:%M}"
    link = f"//weibo.com/{post.uid}/{post.bid}?refer_flag=1001030103_"
    name = escape(user.name if user else "")
    paragraphs = f'<p class="txt" node-type="feed_list_content" nick-name="{name}">{post_html(text)}</p>'
    if len(text) > LONG_CHARS:
        cut = f'{post_html(text[:LONG_CHARS])}...<a action-type="fl_unfold">展开<i class="wbicon">c</i></a>'
        full = f'{post_html(text)}<a action-type="fl_fold">收起<i class="wbicon">d</i></a>'
        paragraphs = (
            f'<p class="txt" node-type="feed_list_content">{cut}</p>'
            f'<p class="txt" node-type="feed_list_content_full" style="display: none">{full}</p>'
        )
    media = "".join(f'<li><img src="{picture_url(one, "thumb150")[6:]}"></li>' for one in post.pictures)
    repost = ""
    if post.repost_of:
        repost = (
            f'<div class="card-comment"><div node-type="feed_list_forwardContent">'
            f'<p class="txt">{escape(world.posts[post.repost_of].text(now_ms))}</p>'
            f'<a action-data="mid={post.repost_of}&src=x">original</a></div></div>'
        )
    return (
        f'<div class="card-wrap" action-type="feed_list_item" mid="{post.mid}"><div class="card">'
        f'<div class="card-feed"><div class="content"><div class="info"><a class="name">{name}</a></div>'
        f'<div class="from"><a href="{link}">{shown}</a> 来自 <a>iPhone客户端</a></div>{paragraphs}'
        f'<div class="media"><ul>{media}</ul></div>{repost}</div></div>'
        f'<div class="card-act"><ul><li><a action-type="feed_list_forward"> {reposts or "转发"}</a></li>'
        f'<li><a action-type="feed_list_comment"> {comments or "评论"}</a></li>'
        f'<li><a action-type="feed_list_like"><span class="woo-like-count">{likes or "赞"}</span></a></li></ul></div>'
        "</div></div>"
    )
