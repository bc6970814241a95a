"""A message as mail: plain text, and where there are pictures the same as HTML with these in it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from html import escape

from stream.notify.message import Message

_PAGE = (
    '<!doctype html><html><head><meta charset="utf-8"></head>'
    '<body style="font-family:sans-serif;color:#1b2430;line-height:1.5">{}</body></html>\n'
)


def fill(mail: EmailMessage, words: Message, pictures: Sequence[bytes], domain: str) -> None:
    """Put ``words`` into ``mail``, whose ``X-Alert-Id`` is set, with ``pictures`` (PNG) below what was counted.

    HTML is made only for pictures. Every word goes through ``escape``, and the only address is our own link: nothing
    that a stranger wrote is markup, and nothing is loaded from elsewhere.
    """
    mail.set_content(_text(words))
    if not pictures:
        return
    names = [f"chart-{number}.{mail['X-Alert-Id']}@{domain}" for number in range(1, len(pictures) + 1)]
    mail.add_alternative(_html(words, names), subtype="html")
    *_, page = mail.iter_parts()
    for name, picture in zip(names, pictures, strict=True):
        file = f"{name.partition('.')[0]}.png"
        page.add_related(picture, "image", "png", cid=f"<{name}>", filename=file, disposition="inline")


def _text(words: Message) -> str:
    link = [f"{words.label}: {words.link}"] if words.link else []
    head = "\n".join((words.title, *words.facts))
    return "\n\n".join((head, *words.body, *link, *words.posts)) + "\n"


def _html(words: Message, names: Sequence[str]) -> str:
    alt = escape(words.title)
    parts = [f"<h3>{alt}</h3>", *(f"<p>{escape(one)}</p>" for one in (*words.facts, *words.body))]
    parts += [
        f'<p><img src="cid:{escape(name)}" alt="{alt}" width="800" style="max-width:100%;height:auto"></p>'
        for name in names
    ]
    if words.link:
        parts.append(f'<p><a href="{escape(words.link)}">{escape(words.label)}</a></p>')
    parts += [
        f'<blockquote style="margin:6px 0;padding-left:10px;border-left:3px solid #e3e6ea">{escape(one)}</blockquote>'
        for one in words.posts
    ]
    return _PAGE.format("".join(parts))
