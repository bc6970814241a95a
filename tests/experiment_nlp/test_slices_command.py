"""``weibowatch experiment slices`` from end to end, on a few posts and tiny models."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from deploy.cli import app
from deploy.experiments.drift import created_ms_of
from ingest.ids import bid_from_mid, mid_of_time
from nlp import datasets
from nlp.datasets import Example
from nlp.experiments.runs import write_posts

DAY_MS = 86_400_000
START_MS = 1_640_995_200_000


def posts(count: int, seed: int) -> list[Example]:
    """Posts of days in a row, each with a name or two."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        name, place = rng.choice(["马云", "李四", "王五"]), rng.choice(["北京", "上海", "杭州"])
        text = f"{name}去{place}{'玩' * rng.randint(1, 5)}{number}{seed}"
        tags = ["B-PER", "I-PER", "O", "B-LOC", "I-LOC", *["O"] * (len(text) - 5)]
        bid = bid_from_mid(mid_of_time(START_MS + number * DAY_MS, 1000 * seed + number))
        found.append(Example(bid, tuple(text), tuple(tags)))
    return found


def written(examples: list[Example]) -> str:
    """The posts in the form of CMNER."""
    blocks = (
        [f"WID:{one.id}", *(f"{token}\t{tag}" for token, tag in zip(one.tokens, one.tags, strict=True))]
        for one in examples
    )
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["experiment", "slices", *arguments])
    return done.exit_code, done.output


def test_slices_and_time_drift_from_end_to_end(tmp_path: Path) -> None:
    data, train, out = tmp_path / "dev.txt", tmp_path / "train.txt", tmp_path / "out"
    images = tmp_path / "images"
    images.mkdir()
    own = posts(120, 1)
    data.write_text(written(own), encoding="utf-8")
    train.write_text(written(posts(120, 2)), encoding="utf-8")
    for number, example in enumerate(own[:60]):
        Image.new("RGB", (64 + number, 64), "red").save(images / f"{example.id}_1.jpg", quality=50 + number // 2)
    arguments = ("--data", str(data), "--train", str(train), "--images", str(images), "--out", str(out), "--quick",
                 "--least", "10")  # fmt: skip
    code, output = command(*arguments)
    assert code == 0, output
    figures = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    results, facts = figures["results"], figures["facts"]
    names = {one["feature"] for one in results["figures"]["slices"]}
    assert {"类型 type", "训练中 in training", "月份 month", "图片数 pictures", "图片像素 pixels"} <= names
    assert facts["drift"]["seeds"] == [1] and facts["drift"]["settings"]["family"] == "bilstm"
    drift = results["drift"]
    assert (drift["before"], drift["after"], drift["duplicates"]) == (144, 96, 0)
    assert sum(month["both"]["posts"] for month in drift["months"]) == 96
    missing = [one["what"] for one in results["not_run"]]
    assert any("engagement" in what for what in missing) and not any("drift" in what for what in missing)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "并非随附模型" in page and not re.search(r"(src|href)=|@import|url\(", page)
    parts = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    assert len(parts) == 5
    assert command(*arguments, "--resume")[0] == 0
    assert parts == {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    assert json.loads((out / "figures.json").read_text(encoding="utf-8")) == figures


def test_engagement_and_times_of_jsonl_are_used_and_drift_is_told_as_not_run(tmp_path: Path) -> None:
    lines = [
        {"text": example.text, "entities": [{"start": 0, "end": 2, "type": "PER"}], "likes": number,
         "comments": 1, "created_ms": START_MS + number * DAY_MS}
        for number, example in enumerate(posts(44, 1))
    ]  # fmt: skip
    data = tmp_path / "posts.jsonl"
    data.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    code, output = command("--data", str(data), "--out", str(tmp_path / "out"), "--json")
    assert code == 0
    results = json.loads(output[output.index('{"posts"') :])
    engagement = [one for one in results["figures"]["slices"] if one["feature"] == "热度 engagement"]
    assert [one["level"] for one in engagement] == ["1–11", "12–22", "23–33", "34–44"]
    assert any(one["feature"] == "月份 month" for one in results["figures"]["slices"])
    [missing] = [one for one in results["not_run"] if "drift" in one["what"]]
    assert "--train" in missing["how"] and results["drift"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--train", "nowhere.txt"), "nowhere.txt"),
        (("--data", "nowhere.txt"), "nowhere.txt"),
        (("--train", "{bad}"), "token"),
        (("--train", "{bad}", "--config", "{bad}"), "family"),
        (("--data", "{few}", "--train", "{few}"), "few"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("not tagged at all", encoding="utf-8")
    (tmp_path / "few").write_text(written(posts(5, 1)), encoding="utf-8")
    named = [one.format(bad=tmp_path / "bad", few=tmp_path / "few") for one in arguments]
    code, output = command(*named, "--out", str(tmp_path / "out"))
    assert code in (1, 2) and message in output and "Traceback" not in output


def test_the_time_of_a_post_is_read_from_its_bid_or_mid_and_from_nothing_else() -> None:
    mid = mid_of_time(START_MS, 5)
    assert created_ms_of(mid) == created_ms_of(bid_from_mid(mid)) == START_MS
    assert [created_ms_of(id_) for id_ in ("1", "1015799", "O_3416", "", "17_06_4705", "上海", "9" * 40)] == [None] * 7


def test_what_is_written_for_training_is_read_back(tmp_path: Path) -> None:
    tags = ("B-LOC", "O", "O", "B-LOC")
    own = [
        Example("L3a", ("上", "\n", " ", "海"), tags, (tmp_path / "L3a_1.jpg", tmp_path / "L3a_2.jpg")),
        Example("L3b", ("two", "words"), ("O", "B-PER")),
    ]
    write_posts(tmp_path / "x.jsonl", own)
    assert datasets.read(tmp_path / "x.jsonl", tmp_path) == own
