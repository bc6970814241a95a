"""The built-in corpus is whole, is what its script builds, and carries its licence."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ingest.demo import build
from ingest.sources import DEMO_FILE
from stream.contract.codec import RECORD_BYTES_MAX, encode
from tests.ingest.corpus import check_reach, chunks, posts, rejects, source

SHARED = Path(__file__).parents[3] / "shared" / "data" / "cmner"


def now_ms() -> int:
    return 1_800_000_000_000


def lines() -> list[dict[str, Any]]:
    return [json.loads(text) for text in gzip.decompress(DEMO_FILE.read_bytes()).decode().splitlines()]


async def test_the_demo_gives_1006_posts_and_25_pictures() -> None:
    taken = await chunks(source("demo", now_ms=now_ms))
    check_reach(taken)
    found = posts(taken)
    assert not rejects(taken)
    assert len(found) == len({post.id for post in found}) == 1006
    pictures = [picture for post in found for picture in post.pictures]
    assert len(pictures) == 25
    for picture in pictures:
        assert not picture.problem and 0 < len(picture.jpeg) <= 48_000
        assert picture.width >= 200 and picture.height >= 200
    assert max(len(encode(post)) for post in found) < RECORD_BYTES_MAX // 2
    # CMNER's own facts: all posts were written between these days.
    assert 1_635_868_800_000 <= found[0].created_ms <= found[-1].created_ms <= 1_668_556_800_000


def test_the_gold_tags_fit_the_texts() -> None:
    for post in lines():
        tags = post["tags"].split(" ")
        assert len(tags) == len(post["text"])
        assert {tag[2:] for tag in tags if tag != "O"} <= {"PER", "LOC", "ORG", "MISC"}
    assert sum(post["split"] == "dev" for post in lines()) == 1000


async def test_the_stored_text_is_the_tagged_text() -> None:
    tagged = {post["id"]: post["text"] for post in lines()}
    assert {post.id: post.text for post in posts(await chunks(source("demo", now_ms=now_ms)))} == tagged


def test_the_licence_stands_beside_it_and_the_file_stays_small() -> None:
    assert "MIT License" in (DEMO_FILE.parent / "LICENSE-CMNER").read_text()
    assert "Jyz99" in (DEMO_FILE.parent / "ATTRIBUTION.txt").read_text()
    assert DEMO_FILE.stat().st_size < 2_000_000


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_building_it_again_gives_the_same_posts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "HERE", tmp_path)
    build.main(SHARED)
    again = (tmp_path / "posts.jsonl.gz").read_bytes()
    build.main(SHARED)
    assert (tmp_path / "posts.jsonl.gz").read_bytes() == again

    def without_pictures(data: bytes) -> list[dict[str, Any]]:
        # Another Pillow may encode the pictures otherwise; the posts are the same.
        posts = [json.loads(text) for text in gzip.decompress(data).decode().splitlines()]
        return [{name: value for name, value in post.items() if name != "pictures"} for post in posts]

    assert without_pictures(again) == without_pictures(DEMO_FILE.read_bytes())
