"""``weibowatch experiment errors`` from end to end, on a few posts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from deploy.cli import app

POSTS = (
    {"id": "one", "text": "马云在杭州创办了阿里巴巴。", "pictures": ["red.jpg", "broken.jpg", "gone.jpg"],
     "entities": [{"start": 0, "end": 2, "type": "PER"}, {"start": 3, "end": 5, "type": "ORG"},
                  {"start": 8, "end": 12, "type": "ORG"}]},
    {"id": "two", "text": "<script>今天|好*天气*</script>", "entities": [{"start": 8, "end": 10, "type": "MISC"}]},
    {"id": "three", "text": "北京今天下雪。", "entities": [{"start": 0, "end": 2, "type": "LOC"}]},
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "posts.jsonl"
    path.write_text("\n".join(json.dumps(post, ensure_ascii=False) for post in POSTS), encoding="utf-8")
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (600, 400), "red").save(images / "red.jpg")
    (images / "broken.jpg").write_bytes(b"no picture")
    return path


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["experiment", "errors", *arguments])
    return done.exit_code, done.output


def test_it_writes_a_page_that_needs_nothing_and_goes_on_with_what_was_tagged(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--data", str(data), "--images", str(tmp_path / "images"), "--out", str(out))
    code, output = command(*arguments)
    assert code == 0, output
    assert "missed" in output and "report.html" in output
    figures = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    facts, results = figures["facts"], figures["results"]
    assert facts["seed"] == 1 and len(facts["data_sha256"]) == 64 and "numpy" in facts["versions"]
    assert facts["model"] and list(facts["pictures_left_out"].values()) == [1]
    kinds = {kind: own["count"] for kind, own in results["figures"]["kinds"].items()}
    assert sum(kinds.values()) - kinds["missed"] == results["figures"]["false_positives"]
    assert results["worst"][0]["score"] > 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert all(source.startswith("data:image/jpeg") for source in re.findall(r'src="(.*?)"', page))
    assert page.count("src=") == ("one" in {post["id"] for post in results["worst"]})
    assert not re.search(r"href=|@import|url\(", page), "the page needs something else"
    markdown = (out / "report.md").read_text(encoding="utf-8")
    assert all((out / file).exists() for file in re.findall(r"!\[.*?\]\((.*?)\)", markdown))
    parts = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    code, output = command(*arguments, "--resume", "--json", "--top", "0")
    assert code == 0 and json.loads(output[output.index('{"posts"') :])["worst"] == []
    assert parts == {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "nowhere.txt"), "nowhere.txt"),
        (("--model", "no-model"), "no-model"),
        (("--top", "-1"), "top"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    code, output = command(*arguments, "--out", str(tmp_path))
    assert code in (1, 2) and message in output and "Traceback" not in output
