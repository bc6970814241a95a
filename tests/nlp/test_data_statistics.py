"""Counts of data sets, by the command that prints them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from deploy.cli import app

SHARED = Path(__file__).parents[3] / "shared" / "data"
shared = pytest.mark.skipif(not SHARED.exists(), reason="the public datasets are not beside this checkout")

TEXT = (
    "WID:a\n上\tB-LOC\n海\tI-LOC\n沪\tI-PER\n\nWID:b\n好\tO\n\nWID:c\n好\tO\n\nWID:d\n上\tB-LOC\n海\tI-LOC\n上\tB-PER\n"
)


def counts(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["data", "stats", *map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)["sets"]
    return found


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "data.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a_1.jpg", "a_2.jpg", "b_1.jpg", "other_1.jpg"):
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "a_3.jpg").write_bytes(b"")
    (folder / "d_1.jpg").write_bytes((folder / "a_1.jpg").read_bytes()[:300])
    return folder


def test_counts_of_texts(text: Path) -> None:
    assert counts(text)[str(text)] == {
        "posts": 4,
        "tokens": 8,
        "characters": 8,
        "entities": {"LOC": 2, "PER": 1},
        "lenient": {"LOC": 2, "PER": 2},
        "distinct": 2,
        "posts_without_entity": 2,
        "orphans": 1,
        "duplicates": 1,
        "tokens_of_post": {"least": 1, "median": 2.0, "most": 3},
        "pictures": None,
    }


def test_counts_of_pictures(text: Path, images: Path) -> None:
    assert counts(text, "--images", images)[str(text)]["pictures"] == {
        "pictures": 5,
        "posts_without": 1,
        "per_post": {"0": 1, "1": 2, "3": 1},
        "unreadable": {"broken": 1, "empty": 1},
    }


def test_several_files_are_counted_alone_and_together(text: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "好"}\n{"text": "张三", "entities": [{"start": 0, "end": 2, "type": "OTHER"}]}\n')
    found = counts(text, other, "--type", "OTHER=PER", "--type", "LOC=O")
    assert [found[name]["posts"] for name in (str(text), str(other), "all")] == [4, 2, 6]
    assert found["all"]["entities"] == {"PER": 2}
    assert found["all"]["duplicates"] == 2


def test_table_for_people(text: Path, images: Path) -> None:
    done = CliRunner().invoke(app, ["data", "stats", str(text), "--images", str(images)])
    assert done.exit_code == 0
    rows = {line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in done.stdout.splitlines() if line.strip()}
    assert (rows["posts"], rows["entities"], rows["pictures"], rows["pictures unreadable"]) == ("4", "3", "5", "2")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.txt"], 1, "none.txt: cannot be read"),
        (["{text}", "--images", "nowhere"], 1, "nowhere: no folder"),
        (["{text}", "--type", "OTHER"], 2, "expected OLD=NEW"),
        (["{images}/a_1.jpg"], 1, "not UTF-8"),
    ],
)
def test_errors_say_what_to_do(text: Path, images: Path, arguments: list[str], code: int, message: str) -> None:
    given = [argument.format(text=text, images=images) for argument in arguments]
    done = CliRunner().invoke(app, ["data", "stats", *given])
    assert (done.exit_code, message in done.stderr) == (code, True)


@shared
@pytest.mark.parametrize(
    ("name", "posts", "entities", "lenient"),
    [
        ("cmner", [3000, 1000], [16373, 5395], [16373, 5395]),
        ("twitter2015", [4000, 1000], [6166, 1541], [6352, 1594]),
        ("twitter2017", [3373, 723], [6049, 1324], [6049, 1324]),
        ("weibo_ner", [1350, 270], [1885, 389], [1895, 389]),
    ],
)
def test_counts_of_the_public_sets(name: str, posts: list[int], entities: list[int], lenient: list[int]) -> None:
    files = [SHARED / name / f"{split}.txt" for split in ("train", "dev")]
    found = [counts(*files)[str(file)] for file in files]
    assert [row["posts"] for row in found] == posts
    assert [sum(row["entities"].values()) for row in found] == entities
    assert [sum(row["lenient"].values()) for row in found] == lenient
    if name in ("cmner", "weibo_ner"):
        assert [row["tokens"] for row in found] == [row["characters"] for row in found]


@shared
def test_pictures_of_the_example_posts_of_cmner() -> None:
    path = SHARED / "cmner" / "example_posts.txt"
    found = counts(path, "--images", SHARED / "cmner" / "images")[str(path)]
    assert found["posts"] == 6
    assert found["pictures"] == {
        "pictures": 25,
        "posts_without": 0,
        "per_post": {"1": 3, "4": 1, "9": 2},
        "unreadable": {},
    }
