"""The drawn set: its texts tell nothing, its pictures everything, and the same seed gives the same bytes."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.cli import app
from nlp import datasets
from nlp.labels import chunks
from nlp.rendered.motifs import COLOURS, Motif, draw
from nlp.rendered.posts import PICTURES_MAX, TYPES, Kind, Post, posts
from nlp.rendered.render import RenderConfig, render

KINDS: list[Kind] = ["one", "two"]


def many(kind: Kind) -> list[Post]:
    return posts(kind, 2000, random.Random(4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_with_pictures_has_every_type_equally_often(kind: Kind) -> None:
    found: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for post in many(kind):
        for number, chunk in enumerate(chunks(post.tags)):
            if post.pictures:
                found[post.tokens, number][chunk.type] += 1
    assert len(found) > 20
    assert all(set(counts) == set(TYPES) and len(set(counts.values())) == 1 for counts in found.values())


def test_the_pictures_of_one_name_tell_its_type_once() -> None:
    for post in many("one"):
        (entity,) = chunks(post.tags)
        shown = [motif.type for picture in post.pictures for motif in picture]
        assert shown == ([entity.type] if post.pictures else [])
        assert len(post.pictures) <= PICTURES_MAX


def test_posts_without_pictures_are_told_by_their_words() -> None:
    plain: defaultdict[str, set[str]] = defaultdict(set)
    for post in many("one"):
        if not post.pictures:
            plain[post.tokens] |= {chunk.type for chunk in chunks(post.tags)}
    assert len(plain) > 20
    assert all(len(types) == 1 for types in plain.values())


def test_each_of_two_names_is_told_by_the_motif_of_its_colour() -> None:
    for post in many("two"):
        told = {(post.tokens[chunk.start : chunk.end], chunk.type) for chunk in chunks(post.tags)}
        (picture,) = post.pictures
        assert {(motif.colour, motif.type) for motif in picture} == told
        assert len({motif.type for motif in picture}) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, kind: Kind) -> None:
    def files(name: str, seed: int) -> dict[str, bytes]:
        render(tmp_path / name, RenderConfig(kind=kind, posts=24, seed=seed))
        return {
            path.relative_to(tmp_path / name).as_posix(): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }

    first = files("first", 1)
    assert first == files("again", 1)
    other = files("other", 2)
    assert other["train.txt"] != first["train.txt"]


def test_the_command_writes_what_the_reader_reads(tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    arguments = ["data", "render", "--out", str(out), "--kind", "two", "--posts", "30", "--seed", "3", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert json.loads(done.stdout)["posts"] == {"train": 36, "dev": 12}
    found = datasets.read(out / "train.txt", out / "images")
    assert len(found) == 36
    assert all(len(example.pictures) == 1 for example in found)
    assert {path.name for example in found for path in example.pictures} == {
        path.name for path in (out / "images").iterdir() if path.name.startswith("T")
    }
    assert "--kind two --posts 30 --seed 3" in (out / "README.md").read_text(encoding="utf-8")
    again = CliRunner().invoke(app, arguments)
    assert (again.exit_code, "not empty" in again.stderr) == (2, True)


def test_an_unknown_kind(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "render", "--out", str(tmp_path), "--kind", "three"])
    assert (done.exit_code, "expected one or two" in done.stderr) == (2, True)


def test_train_and_dev_have_no_picture_in_common(tmp_path: Path) -> None:
    render(tmp_path, RenderConfig(posts=40))
    seen = [path.read_bytes() for path in (tmp_path / "images").iterdir()]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("type_", TYPES)
def test_a_motif_shows_its_colour(type_: str, colour: str) -> None:
    for seed in range(5):
        image = np.asarray(draw([Motif(type_, colour)], 64, random.Random(seed)), dtype=float)
        shares = {name: (np.abs(image - np.array(value)).max(axis=2) < 50).mean() for name, value in COLOURS.items()}
        assert max(shares, key=lambda name: shares[name]) == colour
        assert 0.08 < shares[colour] < 0.95


def test_motifs_of_a_picture_stand_in_quarters_of_their_own() -> None:
    for seed in range(20):
        image = np.asarray(draw([Motif("ORG", "红"), Motif("PER", "蓝")], 64, random.Random(seed)), dtype=float)
        quarters = []
        for value in (COLOURS["红"], COLOURS["蓝"]):
            rows, columns = np.nonzero(np.abs(image - np.array(value)).max(axis=2) < 50)
            quarters.append({(row // 32, column // 32) for row, column in zip(rows, columns, strict=True)})
        assert [len(quarter) for quarter in quarters] == [1, 1]
        assert quarters[0] != quarters[1]
