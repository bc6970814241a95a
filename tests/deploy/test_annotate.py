"""The annotation loop as users run it: drawn from a store, labelled in foreign files, measured, decided, audited."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.annotation.drawing import level_of, time_of
from nlp import datasets
from nlp.annotation.files import read_batch
from nlp.annotation.records import Drawn
from nlp.labels import chunks
from stream.bias.audit import read as read_audit
from stream.bias.strata import HOUR_MS, Matcher, Place, Stratum
from stream.contract.records import Counts, Document, Drift, Mention, Picture, Post
from tests.bias.streams import START, document, look
from tests.deploy.conftest import answer, weibowatch
from tests.deploy.test_bias import stored

DAY = 86_400_000
JPEG = b"\xff\xd8 not looked at \xff\xd9"
TEXT = "👍王小明在\u4e0a海\n\u4e0a班"


def posted(number: int) -> Document:
    """A post of one of forty days; the model is right in 王小明, and unsure of or blind to 上海."""
    created_ms = START + number * DAY // 5
    post = Post(
        id=f"p{number:03}", source="s", author="a", created_ms=created_ms, observed_ms=created_ms, text=TEXT,
        root_id=f"p{number:03}", counts=None if number % 7 == 0 else Counts(reposts=number % 3 * 10),
        pictures=(Picture(id="x", sha256=hashlib.sha256(JPEG).hexdigest(), jpeg=JPEG), Picture(id="gone"))
        if number == 1 else (),
    )  # fmt: skip
    spans = [(1, 4, "PER", 0.99)] + ([(5, 7, "LOC", 0.4)] if number % 2 else [])
    return Document(post=post, model_version="m", mentions=tuple(
        Mention(
            post_id=post.id, root_id=post.id, author="a", created_ms=created_ms, observed_ms=created_ms, type=kind,
            surface=TEXT[start:end], raw_key=TEXT[start:end], entity=f"{kind}/{TEXT[start:end]}", start=start, end=end,
            confidence=confidence, simhash=0, model_version="m",
        )
        for start, end, kind, confidence in spans
    ))  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty days with five posts each."""
    return stored(tmp_path_factory.mktemp("annotate") / "store", [posted(number) for number in range(200)], [])


def drawn(store: Path, out: Path, *options: str) -> dict[str, Any]:
    found = answer("annotate", "sample", "--store", str(store), "--out", str(out), "--json", *options)
    assert isinstance(found, dict)
    return found


def test_draws_are_cut_into_strata_and_repeat(store: Path, tmp_path: Path) -> None:
    one, other, more = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.jsonl"
    options = ("--posts", "40", "--strata", "popularity,weeks", "--since", "2022-01-01")
    told = drawn(store, one, *options)
    assert (told["posts"], told["of"]) == (40, 200) and drawn(store, other, *options)["file"] == str(other)
    assert one.read_bytes() == other.read_bytes()
    batch = read_batch([one])
    assert {post.popularity for post in batch.values()} == {"0", "10-99", "unknown"}
    assert "2022-02-28..2022-03-07" in {post.time for post in batch.values()}
    assert all(post.model == "m" and post.predictions[0].chunk == (1, 4, "PER") for post in batch.values())
    drawn(store, more, *options, "--exclude", str(one), "--pictures", str(tmp_path / "pictures"))
    assert not set(read_batch([more])) & set(batch)
    unsure, hours = tmp_path / "u.jsonl", tmp_path / "h.jsonl"
    drawn(store, unsure, "--posts", "40", "--by", "uncertain", "--since", "2022-01-01")
    assert sum(len(post.predictions) == 2 for post in read_batch([unsure]).values()) > 35
    drawn(store, hours, "--strata", "hours", "--by", "recent", "--posts", "5")
    assert {post.time for post in read_batch([hours]).values()} <= {"0-6", "6-12", "12-18", "18-24"}


def test_pictures_that_are_still_kept_are_written(store: Path, tmp_path: Path) -> None:
    batch, tasks, folder = tmp_path / "batch.jsonl", tmp_path / "tasks.json", tmp_path / "pictures"
    drawn(store, batch, "--posts", "200", "--since", "2022-01-01", "--pictures", str(folder))
    assert {id_: post.pictures for id_, post in read_batch([batch]).items() if post.pictures} == {
        "p001": ("p001_0.jpg",)
    }
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("p001_0.jpg", JPEG)]
    weibowatch("annotate", "export", "--batch", str(batch), "--format", "label-studio", "--out", str(tasks),
               "--picture-url", "http://127.0.0.1/")  # fmt: skip
    shown = [task["data"]["pictures"] for task in json.loads(tasks.read_text(encoding="utf-8"))]
    assert [one for one in shown if one] == [["http://127.0.0.1/p001_0.jpg"]]
    assert "<Image" in tasks.with_suffix(".xml").read_text(encoding="utf-8")


@given(st.none() | st.floats(0, 1e7), st.integers(0, 2**41), st.sampled_from(["none", "weeks", "hours"]))
def test_strata_are_those_of_audits(shown: float | None, created_ms: int, kind: str) -> None:
    """A post lies in the stratum that it was given, by the rules of the bias report."""
    offset_ms = 8 * HOUR_MS
    local_ms = created_ms + offset_ms
    matcher = Matcher(Stratum("PER", level_of(shown), time_of(created_ms, kind, offset_ms)))
    assert matcher.holds(Place("PER", shown, local_ms // HOUR_MS % 24, local_ms, False))


def test_a_later_look_tells_the_popularity(tmp_path: Path) -> None:
    folder, out = tmp_path / "store", tmp_path / "batch.jsonl"
    stored(folder, [document(1, "PER/张三", likes=5), document(2, likes=None)], [look(1, 0, 1, 60)])
    drawn(folder, out, "--strata", "popularity")
    assert {id_: post.popularity for id_, post in read_batch([out]).items()} == {"1": "10-99", "2": "unknown"}


def test_a_dataset_file_is_drawn_from_with_a_model(tmp_path: Path) -> None:
    data, out = tmp_path / "posts.jsonl", tmp_path / "batch.jsonl"
    lines = [{"id": str(number), "text": f"周杰伦在上海开演唱会{number}"} for number in range(12)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for by in ("random", "uncertain"):
        weibowatch("annotate", "sample", "--data", str(data), "--posts", "6", "--by", by, "--out", str(out))
        batch = read_batch([out])
        assert len(batch) == 6 and all(post.model and post.predictions for post in batch.values())


def marked(batch: dict[str, Drawn], name: str, folder: Path, *, place: bool) -> Path:
    """What an annotator makes of the exported file: 王小明 everywhere, and 上海 if ``place``."""
    path = folder / f"{name}.jsonl"
    rows = [
        {"text": post.text, "post": id_, "label": [[1, 4, "PER"], *([[5, 7, "LOC"]] if place else [])]}
        for id_, post in batch.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_whole_loop(store: Path, tmp_path: Path) -> None:
    batch, tasks, labels, out = (tmp_path / name for name in ("batch.jsonl", "tasks.jsonl", "labels.jsonl", "gold"))
    drawn(store, batch, "--posts", "20", "--strata", "popularity", "--since", "2022-01-01")
    posts = read_batch([batch])
    given = ("--batch", str(batch))
    weibowatch("annotate", "export", *given, "--format", "doccano", "--out", str(tasks))
    assert [json.loads(line)["label"] for line in tasks.read_text(encoding="utf-8").splitlines()] == [[]] * 20
    files = [str(marked(posts, name, tmp_path, place=name == "anna")) for name in ("anna", "ben")]
    told = answer("annotate", "import", *files, *given, "--format", "doccano", "--out", str(labels), "--json")
    assert (told["labels"], told["posts"], told["annotators"]) == (40, 20, ["anna", "ben"])

    found = answer("annotate", "agreement", str(labels), *given, "--gate", "0.6", "--json")
    assert found["passed"] and found["all"]["f1"] == pytest.approx(2 / 3) and found["types"]["PER"]["f1"] == 1
    done = weibowatch("annotate", "agreement", str(labels), *given, "--gate", "0.9", check=False)
    assert done.returncode == 1 and b"below the gate of 0.9" in done.stderr and b"anna" in done.stdout

    judge = ("annotate", "adjudicate", str(labels), *given, "--out", str(out))
    assert b"0 posts, 20 wait for a person" in weibowatch(*judge).stdout
    assert not (out / "gold.txt").exists()
    # A person decides: 上海 is there.
    open_ = (out / "disagreements.jsonl").read_text(encoding="utf-8").splitlines()
    decided = tmp_path / "decided.jsonl"
    rows = [{**json.loads(line), "decided": [[5, 7, "LOC"]]} for line in open_]
    decided.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    facts = answer(*judge, "--decisions", str(decided), "--json")
    assert facts["posts"] == 20 and facts["places"] == {"unanimous": 20, "majority": 0, "decided": 20, "open": 0}
    examples = datasets.read(out / "gold.txt")
    assert {tuple(chunks(example.tags)) for example in examples} == {((1, 4, "PER"), (5, 7, "LOC"))}
    assert facts["sha256 of gold.txt"] in (out / "README.md").read_text(encoding="utf-8")
    seen = sum(len(post.predictions) == 2 for post in posts.values())
    assert facts["audit"]["LOC"] == {"sampled": seen, "correct": seen, "missed": 20 - seen, "precision": 1.0,
                                     "recall": seen / 20}  # fmt: skip
    cells = read_audit((out / "audit.csv").read_bytes(), "audit.csv").cells
    assert {cell.stratum.popularity for cell in cells} == {"0", "10-99", "unknown"}
    report = answer("bias", "report", "--store", str(store), "--since", "2022-01-01", "--audit",
                    str(out / "audit.csv"), "--json")  # fmt: skip
    assert {row["type"] for row in report["audit"]} == {"PER", "LOC"}
    # Without decisions again: what was written before does not stay beside another card.
    weibowatch(*judge)
    assert not (out / "gold.txt").exists() and not (out / "audit.csv").exists()


def test_label_studio_there_and_back(store: Path, tmp_path: Path) -> None:
    batch, tasks, labels = (tmp_path / name for name in ("batch.jsonl", "tasks.json", "labels.jsonl"))
    drawn(store, batch, "--posts", "3")
    given = ("--batch", str(batch), "--format", "label-studio")
    weibowatch("annotate", "export", *given, "--out", str(tasks), "--prefill", "--type", "PER", "--type", "LOC")
    assert '<Label value="LOC"/>' in tasks.with_suffix(".xml").read_text(encoding="utf-8")
    made = json.loads(tasks.read_text(encoding="utf-8"))
    for task in made:
        result = task["predictions"][0]["result"]
        task["annotations"] = [{"result": result, "completed_by": by} for by in (1, 2)]
    tasks.write_text(json.dumps(made), encoding="utf-8")
    told = answer("annotate", "import", str(tasks), *given, "--out", str(labels), "--json")
    assert told["annotators"] == ["1", "2"] and told["labels"] == 6
    assert answer("annotate", "agreement", str(labels), "--batch", str(batch), "--gate", "1", "--json")["passed"]


def test_drift_tells_where_to_draw_from(store: Path, tmp_path: Path) -> None:
    done = weibowatch("annotate", "sample", "--store", str(store), "--by", "drifted", "--out", "x", check=False)
    assert done.returncode == 1 and b"no drift was told" in done.stderr
    changed = START + 30 * DAY
    notes = [Drift(source="m", type=kind, observed_ms=START + 39 * DAY, state="alert", changed_ms=when)
             for kind, when in (("PER", changed), ("LOC", 0))]  # fmt: skip
    folder = stored(tmp_path / "drifted", [posted(number) for number in range(200)], notes)  # type: ignore[arg-type]
    out = tmp_path / "batch.jsonl"
    told = drawn(folder, out, "--by", "drifted", "--posts", "10")
    assert told["of"] == 50 and all(int(id_[1:]) >= 150 for id_ in read_batch([out]))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("sample", "--by", "luck", "--out", "x"), 2, "expected random, uncertain, recent, drifted"),
        (("sample", "--strata", "weeks,hours", "--out", "x"), 2, "expected popularity, and weeks or hours"),
        (("sample", "--data", "x", "--since", "2022-01-01", "--out", "x"), 2, "go with a store"),
        (("sample", "--store", "nowhere", "--out", "x"), 1, "no store in nowhere"),
        (("export", "--batch", "none.jsonl", "--format", "doccano", "--out", "x"), 1, "none.jsonl: cannot be read"),
        (("export", "--batch", "x", "--format", "brat", "--out", "x"), 2, "expected doccano or label-studio"),
        (("agreement", "x", "--batch", "x", "--gate-on", "luck"), 2, "expected f1, cohen"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_a_line(words: tuple[str, ...], code: int, said: str) -> None:
    done = weibowatch("annotate", *words, check=False)
    assert (done.returncode, said in done.stderr.decode()) == (code, True), done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_store_of_posts_without_text_has_nothing_to_draw(tmp_path: Path) -> None:
    empty = document(1)
    silent = msgspec.structs.replace(empty, post=msgspec.structs.replace(empty.post, text=""))
    folder = stored(tmp_path / "store", [silent], [])
    done = weibowatch("annotate", "sample", "--store", str(folder), "--out", str(tmp_path / "x"), check=False)
    assert done.returncode == 1 and b"no posts to draw from" in done.stderr
