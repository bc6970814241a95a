"""Our own Markdown as HTML: headings, paragraphs, lists, tables, fenced and inline code. Pure.

No more than ``query.md`` needs; everything is escaped. A fence marked ``query`` holds one search per line, and each
becomes a link to its results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Final
from urllib.parse import quote

from markupsafe import Markup

_CODE: Final = re.compile(r"`([^`]+)`")
_RULE: Final = re.compile(r"[|\s:-]+")


def sections(text: str) -> list[str]:
    """``text`` cut before each heading of the first level."""
    return [part.strip() for part in re.split(r"(?m)^(?=# )", text) if part.strip()]


def html(text: str) -> Markup:
    """The HTML of ``text``."""
    return Markup("\n".join(_block(kind, lines) for kind, lines in blocks(text)))


def blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Kind and lines of each block; a fence is of the kind ``fence`` plus its mark, without the fence itself."""
    for place, part in enumerate(re.split(r"(?m)^```", text)):
        if place % 2:
            mark, *lines = part.rstrip("\n").split("\n")
            yield f"fence {mark}".strip(), lines
            continue
        for kind, lines in groupby(part.split("\n"), _kind):
            if kind == "heading":
                yield from ((kind, [line]) for line in lines)
            elif kind:
                yield kind, list(lines)


def _kind(line: str) -> str:
    if not line.strip():
        return ""
    if line.startswith("#"):
        return "heading"
    if line.startswith("|"):
        return "table"
    return "list" if line.startswith(("- ", "  ")) else "text"


def cells(row: str) -> list[str]:
    """The cells of a table's row."""
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def codes(text: str) -> list[str]:
    """Everything between backticks."""
    return _CODE.findall(text)


def _block(kind: str, lines: Sequence[str]) -> str:
    if kind == "heading":
        marks, _, title = lines[0].partition(" ")
        return f"<h{len(marks)}>{_inline(title)}</h{len(marks)}>"
    if kind == "table":
        return _table([cells(line) for line in lines if not _RULE.fullmatch(line)])
    if kind == "list":
        items = "\n".join(lines).removeprefix("- ").split("\n- ")
        return f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</ul>"
    if kind == "fence query":
        return f'<ul class="queries">{"".join(map(_search, lines))}</ul>'
    if kind.startswith("fence"):
        return f"<pre><code>{escape(chr(10).join(lines))}</code></pre>"
    return f"<p>{_inline(' '.join(lines))}</p>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in rows[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _search(query: str) -> str:
    return f'<li><a href="/search?q={quote(query, safe="")}"><code>{escape(query, quote=False)}</code></a></li>'


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))
