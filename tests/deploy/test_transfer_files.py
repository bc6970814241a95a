"""The files of an export, by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.transfer import files
from deploy.transfer.files import Form
from deploy.transfer.items import KINDS, Delivery, Fact, Item, Letter, Name, Row, encoded
from stream.contract.records import Reject

ITEMS: dict[Name, list[Item]] = {
    "documents": [],
    "rejects": [
        Fact(1, encoded(Reject(source="源", reason="bad_json", detail="", raw=bytes(range(256)), place="line 1")))
    ],
    "track": [Row("\x00bin/1", b"\x00\xff"), Row("PER/张三\n", b"")],
    "outbox": [Delivery("f", "file:a", "due", 3, (1 << 62), "no\nroom", b"\x01")],
    "inbox": [Letter(b"a", None), Letter(b"", b"b")],
}


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
@pytest.mark.parametrize("name", ITEMS)
def test_a_file_gives_what_it_was_given(tmp_path: Path, form: Form, name: Name) -> None:
    path = tmp_path / f"{name}{files.SUFFIXES[form]}"
    assert sum(files.write(path, KINDS[name], iter(ITEMS[name]))) == len(ITEMS[name])
    first = path.read_bytes()
    assert list(files.read(path, KINDS[name])) == ITEMS[name]
    assert list(files.write(path, KINDS[name], iter(ITEMS[name]))) is not None
    assert path.read_bytes() == first, "the same items make the same bytes"


def test_many_items_are_held_a_part_at_a_time() -> None:
    items = [Row(str(number), bytes(10_000)) for number in range(7_000)]
    parts = list(files.groups(items))
    assert [item for part in parts for item in part] == items
    assert max(len(part) for part in parts) * 10_000 <= files.GROUP_BYTES + 20_000
