"""What tests of moves need: a store that is fed from a growing file, and what an export holds, to compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from deploy.transfer import files, manifest
from deploy.transfer.items import KINDS, NAMES, Delivery, Fact, Frozen, Item, Name, Replayed, Row
from stream.contract import codec
from stream.contract.records import Reject
from stream.core import stages
from tests.corpus import demo_posts, write_jsonl
from tests.deploy.processes import ROOT, ended, started

KEY = "5ec7e7" * 8
"""Behind the pseudonyms of authors; it lies in the store and moves with it."""


class Watch:
    """A store that is fed from one growing file. Alerts wait: their channel is a file in a folder that is not there."""

    def __init__(self, folder: Path, name: str, source: Path) -> None:
        self.store = folder / name
        self.source = f"jsonl:{source}"
        self.words = ("--source", self.source, "--store", str(self.store))
        self.environment = {
            "WEIBOWATCH_PRIVACY__AUTHOR_KEY": "",
            "WEIBOWATCH_RULES__FILE": str(ROOT / "deploy" / "demo_rules.yaml"),
            "WEIBOWATCH_NOTIFY__FILE": str(folder / "away" / "alerts.jsonl"),
            "WEIBOWATCH_WORKER__LAG_RECORDS_MAX": "50",
            "WEIBOWATCH_WORKER__BATCH_POSTS_MAX": "32",
        }

    def run(self) -> Any:
        """Until the file is drained."""
        return json.loads(self.said("run", *self.words, "--once", "--json"))

    def said(self, *words: str, code: int = 0) -> str:
        """Standard output, or standard error where it fails."""
        with started(*words, environment=self.environment) as process:
            found, out, error = ended(process)
        assert found == code, error
        return error if code else out

    def exported(self, folder: Path, *more: str) -> Content:
        """What an export of the store holds."""
        self.said("export", str(folder), "--store", str(self.store), *more)
        return content(folder)


Content = dict[Name, Any]
Items = Callable[[Name], Iterable[Item]]


def content(folder: Path) -> Content:
    """What an export holds, see ``held``."""
    return held(reader(folder))


def reader(folder: Path) -> Items:
    """The items of an export, whose files are as they were written."""
    made = manifest.load(folder)
    assert len(list(manifest.verified(folder, made))) >= len(NAMES)
    return lambda name: files.read(folder / made.files[name].name, KINDS[name])


def held(items: Items) -> Content:
    """All items in an order of their own and without wall clock times; rows of state by their keys."""
    return {name: _held(list(items(name))) for name in NAMES}


def _held(items: list[Any]) -> Any:
    if items and isinstance(items[0], Row):
        return {item.key: stages.decode_row(item.row) for item in items}
    return sorted(map(_timeless, items))


def _timeless(item: Any) -> tuple[Any, ...]:
    if isinstance(item, Fact):
        return (item.record,)
    if isinstance(item, Delivery):
        return item.flip_id, item.channel, item.record
    if isinstance(item, Frozen | Replayed):
        return tuple(value for name, value in msgspec.structs.asdict(item).items() if name != "stored_ms")
    return tuple(getattr(item, name) or b"" for name in item.__struct_fields__)


def write_posts(path: Path, count: int) -> Path:
    """The first of the posts, with authors and pictures, and a broken line now and then."""
    posts = demo_posts()[:count]
    write_jsonl(path, [{**post, "author": f"author{number % 40}"} for number, post in enumerate(posts)])
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line + "{broken\n" * (number % 60 == 40) for number, line in enumerate(lines)))
    return path


def kept(folder: Path, store: str, source: Path) -> Watch:
    made = Watch(folder, store, source)
    made.store.mkdir()
    (made.store / "author.key").write_text(KEY)
    return made


def same(found: Content, expected: Content) -> None:
    """Equal but for what the wall clock says: when files and dead letters were seen, and channels were tried.

    Notes and a frozen picture were put into one of the stores by hand, and what backtests replay is in other parts.
    """
    for name in NAMES:
        if name not in ("outbox", "rejects", "sources", "notes", "frozen", "past"):
            assert found[name] == expected[name], name
    assert [row[0] for row in found["outbox"]] == [row[0] for row in expected["outbox"]]
    assert letters(found) == letters(expected)
    assert places(found) == places(expected)


def letters(found: Content) -> list[tuple[str, str, bytes]]:
    """Dead letters by place, reason and bytes."""
    decoded = [codec.decode(record) for (record,) in found["rejects"]]
    return sorted((one.place, one.reason, one.raw) for one in decoded if isinstance(one, Reject))


def places(found: Content) -> dict[str, int]:
    """Where each source goes on."""
    return {source: json.loads(cursor)["resume_at"] for source, cursor in found["sources"]}
