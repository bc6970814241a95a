"""Posts with what is gold and what was found marked in their text, as HTML and as Markdown."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from nlp.experiments.error_posts import WorstPost, surface_of
from nlp.experiments.errors import Wrong, chunk_of
from nlp.labels import Chunk
from nlp.pictures import PictureError, thumbnail
from stream.contract.records import Span
from stream.report.pages import Free

THUMBNAIL_PX: Final = 120
PICTURES_MAX: Final = 9
"""Pictures of a post that are shown; a post of Weibo has no more."""
STYLE: Final = (
    ".post{border:1px solid #ddd;border-radius:6px;padding:.5rem .8rem;margin:.8rem 0}"
    ".post p{margin:.3rem 0;white-space:pre-wrap;overflow-wrap:anywhere}.post ul{margin:.3rem 0;columns:2}"
    ".post img{margin:.2rem;vertical-align:top}"
    "mark{color:inherit;border-radius:3px;padding:0 1px}mark.right{background:#d7f0dc}mark.gold{background:#fbd5d5}"
    "mark.found{background:#fde6b8}mark.clash{background:#f3c6ea}.post sub,.key sub{color:#555;font-size:.7em}"
    "td.heat{min-width:4rem}"
)
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]<>#|~&])")

class Texted(msgspec.Struct, frozen=True):
    """A post as it is shown: its text, gold and found entities, and the files of its pictures."""

    text: str
    gold: Sequence[Chunk]
    found: Sequence[Span]
    pictures: Sequence[Path] = ()


def free_of(posts: Sequence[tuple[WorstPost, Texted]]) -> Free:
    """All of them, in order."""
    key = (
        '<p class="key"><mark class="right">对 right</mark> <mark class="gold">漏 gold, not found</mark> '
        '<mark class="found">误 found, not gold</mark> <mark class="clash">都标 both, not alike</mark></p>'
    )
    html = [_html(rank, post, texted) for rank, (post, texted) in enumerate(posts, 1)]
    markdown = [_markdown(rank, post, texted) for rank, (post, texted) in enumerate(posts, 1)]
    return Free(key + "".join(html), "\n\n".join(["⟦gold⟧ ⟨found⟩ ⟦⟨right⟩⟧", *markdown]))


def why(text: str, wrong: Wrong) -> str:
    """What is wrong, in one line."""
    gold = f"{surface_of(text, wrong)} {wrong.gold.type}" if wrong.gold else ""
    found = ""
    if wrong.found:
        found = f"{text[wrong.found.start : wrong.found.end]} {wrong.found.type} ({wrong.found.confidence:.2f})"
    match wrong.kind:
        case "missed":
            return f"missed 漏标: {gold}"
        case "spurious":
            return f"spurious 多标: {found}"
        case "boundary":
            return f"boundary 边界: {gold} → {found}"
        case "type":
            return f"type 类型: {gold} → {found}"
        case _:
            return f"both 边界与类型: {gold} → {found}"


def marked_html(texted: Texted) -> str:
    """The text, escaped, with marks; behind each entity its type, of what was found its confidence too."""
    gold, spans = set(texted.gold), {chunk_of(span): span for span in texted.found}
    every = sorted(gold | spans.keys())
    cuts = sorted({0, len(texted.text), *(chunk.start for chunk in every), *(chunk.end for chunk in every)})
    parts = []
    for start, end in pairwise(cuts):
        over = [chunk for chunk in every if chunk.start < end and chunk.end > start]
        piece = escape(texted.text[start:end])
        kind = _mark(any(one in gold for one in over), any(one in spans for one in over), len(over) == 1)
        parts.append(f'<mark class="{kind}">{piece}</mark>' if kind else piece)
        types = [_type(one, spans.get(one)) for one in over if one.end == end]
        if types:
            parts.append(f"<sub>{escape(' · '.join(types))}</sub>")
    return "".join(parts)


def _type(chunk: Chunk, span: Span | None) -> str:
    return f"{chunk.type} {span.confidence:.2f}" if span else chunk.type


def _mark(is_gold: bool, is_found: bool, alone: bool) -> str:
    if is_gold and is_found:
        return "right" if alone else "clash"
    return "gold" if is_gold else "found" if is_found else ""


def marked_markdown(texted: Texted) -> str:
    """The text on one line with ⟦gold⟧ and ⟨found⟩ entities, each with its type behind it."""
    begins: dict[int, str] = {}
    ends: dict[int, str] = {}
    gold, found = set(texted.gold), {chunk_of(span) for span in texted.found}
    for chunk in sorted(gold | found):
        left, right = ("⟦", "⟧") if chunk in gold else ("⟨", "⟩")
        if chunk in gold and chunk in found:
            left, right = "⟦⟨", "⟩⟧"
        begins[chunk.start] = begins.get(chunk.start, "") + left
        ends[chunk.end] = ends.get(chunk.end, "") + right + markdown_text(chunk.type)
    text = texted.text
    parts = [
        ends.get(place, "") + begins.get(place, "") + markdown_text(text[place : place + 1])
        for place in range(len(text) + 1)
    ]
    return "".join(parts)


def markdown_text(text: str) -> str:
    """Text that means nothing to Markdown, on one line."""
    return _MARKDOWN.sub(r"\\\1", re.sub(r"[\r\n\u2028\u2029]", " ", text))


def _html(rank: int, post: WorstPost, texted: Texted) -> str:
    lines = "".join(f"<li>{escape(why(texted.text, wrong))}</li>" for wrong in post.wrongs)
    shown = "".join(_picture(path) for path in texted.pictures[:PICTURES_MAX])
    return (
        f'<div class="post"><strong>{rank}. {escape(post.id)}</strong> · {post.score:.2f}'
        f"<p>{marked_html(texted)}</p><ul>{lines}</ul>{shown}</div>"
    )


def _picture(path: Path) -> str:
    name = escape(path.name, quote=True)
    try:
        data = base64.b64encode(thumbnail(path, THUMBNAIL_PX)).decode()
    except PictureError as error:
        reason = str(error).partition(":")[0]
        return f"<em>{name}: {escape(reason)}</em> "
    return f'<img alt="{name}" title="{name}" src="data:image/jpeg;base64,{data}">'


def _markdown(rank: int, post: WorstPost, texted: Texted) -> str:
    lines = [f"**{rank}. {markdown_text(post.id)}** · {post.score:.2f}", "", marked_markdown(texted), ""]
    lines += [f"- {markdown_text(why(texted.text, wrong))}" for wrong in post.wrongs]
    names = ", ".join(markdown_text(path.name) for path in texted.pictures[:PICTURES_MAX])
    return "\n".join([*lines, f"- 图片 pictures: {names}"] if names else lines)
