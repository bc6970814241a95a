"""Templates, texts in two languages, and the shapes that pages draw. Reads only files of this package."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from index import prose
from index.messages import MESSAGES, said, text_in

HERE: Final = Path(__file__).parent
TYPES: Final = ("PER", "LOC", "ORG", "MISC")
SPARK_WIDTH: Final = 96
SPARK_HEIGHT: Final = 26
_PLOTLY: Final = "plotly.min.js"

SCRIPT_FAMILIES: Final = ("js.", "chart.", "reason.", "severity.", "subject.", "type.")
"""The texts that scripts need as well; ``js.`` is left out of the keys there."""


def page(template: str, language: str, **values: Any) -> str:
    """The HTML of a page."""

    def t(key: str, **filled: object) -> str:
        return text_in(language, key, **filled)

    def say(family: str, text: str) -> str:
        return said(language, family, text)

    def length(milliseconds: int) -> str:
        count, unit = duration(milliseconds)
        return t(f"length.{unit}", count=count)

    words = {"t": t, "say": say, "length": length, "language": language, "script_texts": _script_texts(language)}
    return _environment().get_template(template).render(**words, **values)


@lru_cache(maxsize=2)
def _script_texts(language: str) -> dict[str, str]:
    return {
        key.removeprefix("js."): text[language] for key, text in MESSAGES.items() if key.startswith(SCRIPT_FAMILIES)
    }


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        static_url=static_url,
        entity_url=entity_url,
        segments=segments,
        spark=spark,
        type_class=type_class,
        known=lambda key: key in MESSAGES,
        TYPES=TYPES,
    )
    environment.filters.update(n=grouped, few=few, clock=clock)
    return environment


@lru_cache(maxsize=2)
def help_text(language: str) -> tuple[Markup, ...]:
    """The search language in HTML, in ``language`` first and then in the other."""
    english, chinese = prose.sections((HERE / "query.md").read_text(encoding="utf-8"))
    return tuple(prose.html(part) for part in ((chinese, english) if language == "zh" else (english, chinese)))


# --- files -------------------------------------------------------------------------------------------------------


def static_path(name: str) -> Path | None:
    """The file behind ``/static/{name}``: one of our own, or the script of the installed plotly package."""
    return _static_files().get(name)


@lru_cache(maxsize=1)
def _static_files() -> dict[str, Path]:
    files = {path.name: path for path in (HERE / "static").iterdir()}
    spec = importlib.util.find_spec("plotly")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        files[_PLOTLY] = Path(folder) / "package_data" / _PLOTLY
    return files


@lru_cache(maxsize=32)
def static_url(name: str) -> str:
    """Address of a static file; it changes with the file's content."""
    path = static_path(name)
    if path is None:
        raise KeyError(name)
    return f"/static/{name}?v={sha256(path.read_bytes()).hexdigest()[:12]}"


def entity_url(entity: str) -> str:
    """Address of the page of an entity."""
    return "/entities/" + quote(entity, safe="/")


# --- shapes ------------------------------------------------------------------------------------------------------


def segments(hit: dict[str, Any]) -> list[dict[str, Any]]:
    """The text of a hit in pieces, each with its ``mention`` (or None) and whether it is ``found`` by the search.

    Overlapping mentions: the first one, by start, wins. ``live.js`` does the same for posts of the stream.
    """
    text = hit["text"]
    owner: list[dict[str, Any] | None] = [None] * len(text)
    for mention in sorted(hit["mentions"], key=lambda row: (row["start"], -row["end"])):
        start, end = max(0, mention["start"]), min(len(text), mention["end"])
        if start < end and all(held is None for held in owner[start:end]):
            owner[start:end] = [mention] * (end - start)
    found = [False] * len(text)
    for start, end in hit["highlights"]:
        found[start:end] = [True] * (end - start)
    pieces: list[dict[str, Any]] = []
    for char, mention, is_found in zip(text, owner, found, strict=True):
        last = pieces[-1] if pieces else None
        if last is not None and last["mention"] is mention and last["found"] == is_found:
            last["text"] += char
        else:
            pieces.append({"text": char, "mention": mention, "found": is_found})
    return pieces


def spark(values: Sequence[int]) -> dict[str, str]:
    """The path of a sparkline's ``line`` and the ``area`` under it, in a box of SPARK_WIDTH × SPARK_HEIGHT."""
    top, last = max(max(values, default=0), 1), max(len(values) - 1, 1)
    points = [
        (round(place * (SPARK_WIDTH - 4) / last + 2, 1), round(SPARK_HEIGHT - 2 - value * (SPARK_HEIGHT - 4) / top, 1))
        for place, value in enumerate(values)
    ]
    line = " ".join(f"{'L' if place else 'M'}{x} {y}" for place, (x, y) in enumerate(points))
    return {"line": line, "area": f"{line} L{SPARK_WIDTH - 2} {SPARK_HEIGHT} L2 {SPARK_HEIGHT} Z" if line else ""}


def type_class(kind: str) -> str:
    """The style class of an entity type."""
    return f"t-{kind.lower()}" if kind in TYPES else "t-other"


def grouped(value: float) -> str:
    """A number for people: thousands apart, at most one decimal."""
    return f"{value:,.1f}" if isinstance(value, float) and not value.is_integer() else f"{int(value):,}"


def clock(moment: str) -> str:
    """An ISO time to the minute; the script turns it into the reader's own zone, at the same width."""
    return moment[:16].replace("T", " ")


def few(value: float) -> str:
    """An expectation for people: two decimals below ten, where they matter, else one."""
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}"


def duration(milliseconds: int) -> tuple[int, str]:
    """A window's length and its unit: ``min``, ``h`` or ``d``, the largest that fits."""
    minutes = milliseconds // 60_000
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes and minutes % size == 0:
            return minutes // size, unit
    return minutes, "min"
