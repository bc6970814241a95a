"""A report as one page of HTML that needs nothing else, and as Markdown with its plots in files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

STYLE: Final = (
    "body{font:15px/1.5 system-ui,'Noto Sans CJK SC','Microsoft YaHei',sans-serif;max-width:60rem;margin:2rem auto;"
    "padding:0 1rem;color:#1a1a1a;background:#fff}table{border-collapse:collapse;margin:1rem 0}"
    "th,td{border:1px solid #ccc;padding:.2rem .6rem;text-align:right}th:first-child,td:first-child{text-align:left}"
    "svg{width:100%;height:auto;font-size:12px}pre{overflow:auto;background:#f4f4f4;padding:1rem}"
)
PLOTS: Final = "plots"
"""Folder of the plots beside the Markdown."""


class Plot(NamedTuple):
    """A picture as SVG; ``name`` is that of its file, without suffix."""

    name: str
    title: str
    svg: str


class Free(NamedTuple):
    """What fits no table, in both forms. ``html`` stands in the page as it is: whoever makes it escapes it."""

    html: str
    markdown: str


class Section(NamedTuple):
    """A heading in two languages, what it means, a table (the head first), plots, and anything else."""

    title: str
    text: str
    rows: Sequence[Sequence[str]] = ()
    plots: Sequence[Plot] = ()
    free: Free = Free("", "")


class Report(NamedTuple):
    """``about`` stands below the title: version, digest. ``notice`` must be read first. ``declared`` is JSON.

    ``style`` is CSS for what ``Free`` holds.
    """

    title: str
    about: str
    notice: str
    sections: Sequence[Section]
    declared: str
    style: str = ""


DECLARED: Final = "设定 What was declared"


def page(report: Report) -> str:
    """The report as HTML."""
    body = [f"<h1>{escape(report.title)}</h1><p>{escape(report.about)}</p>"]
    body.append(f"<p><strong>{escape(report.notice)}</strong></p>")
    for section in report.sections:
        body.append(f"<h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>")
        body += [f"<figure>{plot.svg}</figure>" for plot in section.plots]
        body += [_html_table(section.rows), section.free.html]
    body.append(f"<h2>{DECLARED}</h2><pre>{escape(report.declared)}</pre>")
    return (
        '<!doctype html><html lang="zh"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.title)}</title>"
        f"<style>{STYLE}{report.style}</style></head><body>{''.join(body)}</body></html>\n"
    )


def markdown(report: Report) -> str:
    """The report as Markdown. Its plots are files ``plots/NAME.svg`` (``plots_of``)."""
    parts = [f"# {report.title}", report.about, f"**{report.notice}**"]
    for section in report.sections:
        parts += [f"## {section.title}", section.text]
        parts += [f"![{plot.title}]({PLOTS}/{plot.name}.svg)" for plot in section.plots]
        if section.rows:
            head, *rows = section.rows
            lines = [head, ["---"] * len(head), *rows]
            parts.append("\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in lines))
        if section.free.markdown:
            parts.append(section.free.markdown)
    parts += [f"## {DECLARED}", f"```json\n{report.declared}\n```"]
    return "\n\n".join(parts) + "\n"


def plots_of(report: Report) -> dict[str, str]:
    """File name to SVG."""
    return {f"{plot.name}.svg": plot.svg for section in report.sections for plot in section.plots}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _html_table(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head, *body = rows
    lines = ["<tr>" + "".join(f"<th>{escape(one)}</th>" for one in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(one)}</td>" for one in row) + "</tr>" for row in body]
    return f"<table>{''.join(lines)}</table>"
