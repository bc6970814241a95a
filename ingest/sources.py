"""From what the user writes to a source: ``demo``, ``jsonl:FILE``, ``jsonl:-``, ``cmner:FILE``, and sites."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from ingest.clean import Edge, EdgeSettings, RawPicture
from ingest.conll import Conll
from ingest.files import open_file
from ingest.jsonl import JsonLines
from ingest.pace import Pace
from ingest.pictures import drawer
from ingest.polled import POLLED, check_polled, open_polled, polled_again
from ingest.replay import Format, ReplayFile, Unit
from ingest.standard_input import StandardInput
from ingest.weibo.spec import HELP as WEIBO_HELP
from ingest.weibo.spec import parse_spec
from stream.contract.ports import Source, SourceError
from stream.contract.records import Post, Reject

DEMO_FILE: Final = Path(__file__).parent / "demo" / "posts.jsonl.gz"
KINDS: Final = {
    "demo": "demo: the built-in corpus",
    "jsonl": "jsonl:FILE, jsonl:FILE.gz or jsonl:- (standard input): one JSON object a line",
    "cmner": "cmner:FILE[?images=FOLDER]: CMNER's format, ids and times from WID",
    "conll": "conll:FILE[?images=FOLDER]: any CoNLL file",
    "weibo": WEIBO_HELP,
    **POLLED,
}
_STDIN: Final = 0
_IMAGE_SUFFIXES: Final = frozenset([".jpg", ".jpeg", ".png", ".gif", ".webp"])


def open_source(
    spec: str,
    *,
    pseudonym: Callable[[str], str],
    now_ms: Callable[[], int],
    edge: EdgeSettings | None = None,
    speed: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    once: bool = False,
) -> Source:
    """The source behind ``spec``. ``speed`` is event seconds per second of ``clock``, None as fast as possible.

    Opens nothing yet; blocks only to list the pictures of a CoNLL file. Raises ``SourceError`` for what the user must
    mend. Standard input goes at its own pace. With ``once`` those that are polled end at what is newest. Sources of
    Weibo are opened together, by ``weibo.open.Weibo``.
    """
    settings = edge or EdgeSettings()
    kind, rest = parts_of(spec)
    try:
        pace = Pace(speed, clock, sleep)
    except ValueError as error:
        raise SourceError(str(error)) from error
    path, form, folder = _parts(kind, rest)

    def edge_at(as_of_ms: int) -> Edge:
        draw = drawer(settings, folder)
        return Edge(source=spec, settings=settings, pseudonym=pseudonym, draw=draw, as_of_ms=as_of_ms)

    if kind in POLLED:
        return open_polled(spec, edge_at, now_ms, sleep, once=once)
    if kind == "jsonl" and rest == "-":
        return StandardInput(spec, _STDIN, edge_at, now_ms)
    return ReplayFile(spec, lambda: open_file(path), form, edge_at, now_ms, pace)


def parts_of(spec: str) -> tuple[str, str]:
    """(kind, rest) of a spec. Raises ``SourceError`` for one that names no source."""
    kind, _, rest = spec.partition(":")
    if kind not in KINDS or (kind == "demo") == bool(rest):
        known = "; ".join(KINDS.values())
        raise SourceError(f"there is no source {spec!r}. There are: {known}")
    if kind == "weibo":
        parse_spec(spec)
    elif kind in POLLED:
        check_polled(spec)
    return kind, rest


def _parts(kind: str, rest: str) -> tuple[Path, Format, Path | None]:
    """(file, format, folder of its pictures); what is polled has none of these."""
    if kind == "demo" or kind in POLLED:
        return DEMO_FILE, JsonLines(), None
    name, _, images = rest.partition("?images=") if kind != "jsonl" else (rest, "", "")
    path = Path(name).expanduser()
    if kind == "jsonl":
        return path, JsonLines(), None if rest == "-" else path.parent
    folder = Path(images).expanduser() if images else path.parent / "images"
    if images and not folder.is_dir():
        raise SourceError(f"{folder} is no folder; name one that holds <id>_<n>.jpg after ?images=")
    # cmner:/a/dev.txt.gz and cmner:/b/dev.txt name the same posts.
    stem = path.name.partition(".")[0]
    return path, Conll(stem, weibo_ids=kind == "cmner", pictures=_by_post(folder)), folder


def _by_post(folder: Path) -> Callable[[str], list[RawPicture]]:
    """Pictures of a post by its id: files ``<id>.jpg`` and ``<id>_<n>.jpg`` in ``folder``, by name."""
    found: dict[str, list[RawPicture]] = {}
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    for name in names:
        stem = Path(name).stem
        if Path(name).suffix.lower() in _IMAGE_SUFFIXES:
            found.setdefault(stem.rpartition("_")[0] or stem, []).append(RawPicture(id=stem, path=name))
    return lambda post: found.get(post, [])


def parse_again(
    reject: Reject, *, edge: EdgeSettings, pseudonym: Callable[[str], str], now_ms: Callable[[], int]
) -> Post | Reject:
    """The post behind a dead letter of one of these sources, or its Reject under ``edge``. Blocks.

    A dead letter of an unknown source is read as a line of JSON. Pictures named by path are looked for again.
    """
    kind, _, rest = reject.source.partition(":")
    if kind == "weibo" or kind in POLLED:
        judge = Edge(
            source=reject.source, settings=edge, pseudonym=pseudonym, draw=drawer(edge, None), as_of_ms=now_ms()
        )
        return polled_again(reject, judge)
    _, form, folder = _parts(kind, rest) if kind in KINDS and rest != "-" else (None, JsonLines(), None)
    judge = Edge(source=reject.source, settings=edge, pseudonym=pseudonym, draw=drawer(edge, folder), as_of_ms=now_ms())
    words = reject.place.split()
    line = int(words[1]) if len(words) == 2 and words[1].isdigit() else 0
    return form.parse(reject.raw, Unit(0, len(reject.raw), line, line), judge)
