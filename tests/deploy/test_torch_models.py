"""The command line with a torch model that sees pictures: ``run``, ``tag``, ``evaluate``."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from deploy.cli import app
from stream.contract import codec
from stream.contract.records import Document, Mention
from tests.corpus import demo_posts, write_jsonl
from tests.deploy.conftest import answer
from tests.deploy.processes import rows
from tests.nlp.test_serving_families import made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fusion with random weights: what it finds means nothing, but pictures change it."""
    folder = tmp_path_factory.mktemp("models") / "fusion"
    made("fusion", folder)
    return folder


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's posts with pictures, and some without."""
    every = demo_posts()
    chosen = [post for number, post in enumerate(every) if post.get("pictures") or number % 40 == 0]
    return write_jsonl(tmp_path_factory.mktemp("posts") / "posts.jsonl", chosen)


def mentions(store: Path) -> dict[str, list[Mention]]:
    found = {}
    for (data,) in rows(store, "SELECT record FROM document_records"):
        document = codec.decode(data)
        assert isinstance(document, Document)
        found[document.post.id] = list(document.mentions)
        pictures = {picture.id for picture in document.post.pictures}
        assert {mention.picture_id for mention in document.mentions} <= pictures | {""}
    return found


def places(found: dict[str, list[Mention]]) -> dict[str, list[Any]]:
    return {
        post: [(one.start, one.end, one.type, one.provenance, one.picture_id, one.model_version) for one in held]
        for post, held in found.items()
    }


def test_a_run_finds_what_only_pictures_give_away_whatever_its_batches(
    model: Path, posts: Path, tmp_path: Path
) -> None:
    words = ("run", "--source", f"jsonl:{posts}", "--once", "--json", "--model", str(model))
    config = tmp_path / "small.toml"
    config.write_text("[worker]\nbatch_posts_max = 3\n[tagger]\nbatch_tokens_max = 64\n")
    whole = answer(*words, "--store", str(tmp_path / "whole"))
    answer(*words, "--store", str(tmp_path / "parts"), "--config", str(config))
    assert whole["rejects"] == 0
    found = mentions(tmp_path / "whole")
    assert len(found) == whole["documents"] > 25
    assert places(found) == places(mentions(tmp_path / "parts"))
    every = [mention for held in found.values() for mention in held]
    assert {mention.model_version.partition("-")[0] for mention in every} == {"fusion"}
    assert {mention.provenance for mention in every} == {"text", "image"}
    assert all(bool(mention.picture_id) == (mention.provenance == "image") for mention in every)


def command(*words: str) -> Result:
    """A command in this process, where torch is loaded already."""
    return CliRunner().invoke(app, list(words))


def test_tag_takes_pictures(model: Path, tmp_path: Path) -> None:
    post = next(post for post in demo_posts() if post.get("pictures"))
    file = tmp_path / "photo.jpg"
    file.write_bytes(base64.b64decode(post["pictures"][0]["data"]))
    words = ("tag", post["text"], "--model", str(model), "--json")
    found = json.loads(command(*words, "--picture", str(file)).stdout)
    bare = json.loads(command(*words).stdout)
    assert {one["picture"] for one in found} <= {"photo.jpg", ""}
    assert {(one["start"], one["end"], one["type"]) for one in found if one["provenance"] == "text"} <= {
        (one["start"], one["end"], one["type"]) for one in bare
    }
    done = command("tag", "上海", "--model", str(model), "--picture", str(tmp_path / "none.jpg"))
    assert done.exit_code == 1
    assert "none.jpg: cannot be read" in done.stderr


def test_evaluate_takes_a_folder_of_pictures(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "dev.jsonl"
    data.write_text(json.dumps({"text": "上海", "pictures": ["none.jpg", "broken.jpg", "void.jpg"]}), encoding="utf-8")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "void.jpg").touch()
    words = ("evaluate", "--data", str(data), "--images", str(tmp_path), "--model", str(model))
    found = json.loads(command(*words, "--json").stdout)
    assert set(found) == {"micro", "per_type", "seen", "unseen", "pictures_left_out"}
    assert found["pictures_left_out"] == {"broken": 2, "no such file or directory": 1}
    assert "pictures left out, broken: 2\n" in command(*words).stdout
