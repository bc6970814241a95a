"""How posts find their pictures, and JSONL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from nlp.datasets import DatasetError, Example, read
from nlp.labels import chunks

CMNER = "WID:Kabc\n上\tB-LOC\n\nWID:Kab\n海\tO\n\nWID:Kxyz\n好\tO\n"
TWITTER = "IMGID:16_05_1\nParis\tB-OTHER\n\nIMGID:16_05\nrocks\tO\n"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("Kabc_b.jpg", "Kabc_a.JPG", "Kab_1.png", "Kabc_notes.txt", "16_05_1.jpg", "16_05_10.jpg"):
        (folder / name).write_bytes(b"no picture yet")
    return folder


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def names(examples: list[Example]) -> list[list[str]]:
    return [[path.name for path in example.pictures] for example in examples]


def test_weibo_posts_have_all_pictures_of_their_id(tmp_path: Path, images: Path) -> None:
    path = write(tmp_path, "data.txt", CMNER)
    assert names(read(path, images)) == [["Kabc_a.JPG", "Kabc_b.jpg"], ["Kab_1.png"], []]
    assert names(read(path)) == [[], [], []]


def test_tweets_have_the_picture_of_their_id_and_no_other(tmp_path: Path, images: Path) -> None:
    assert names(read(write(tmp_path, "data.txt", TWITTER), images)) == [["16_05_1.jpg"], []]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: no folder"):
        read(write(tmp_path, "data.txt", CMNER), tmp_path / "nowhere")


def test_types_are_renamed_or_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "data.txt", "a\tB-OTHER\nb\tI-OTHER\nc\tB-PER\n")
    found = read(path, types={"OTHER": "MISC", "PER": "O"})[0]
    assert found.tags == ("B-MISC", "I-MISC", "O")


def test_a_mark_of_byte_order_and_windows_lines_change_nothing(tmp_path: Path) -> None:
    plain = read(write(tmp_path, "plain.txt", CMNER))
    marked = b"\xef\xbb\xbf" + CMNER.replace("\n", "\r\n").encode()
    assert read(write(tmp_path, "marked.txt", marked)) == plain


def test_weibo_ner_with_broken_emoji_loses_its_numbers(tmp_path: Path) -> None:
    found = read(write(tmp_path, "data.txt", "上0\tB-LOC\n\ufffd\ufffd0\tO\n海1\tO\n"))[0]
    assert found.tokens == ("上", "\ufffd", "海")


def jsonl(tmp_path: Path, *posts: dict[str, Any]) -> Path:
    return write(tmp_path, "data.jsonl", b"\n".join(map(msgspec.json.encode, posts)))


def test_jsonl_of_text_and_entities(tmp_path: Path, images: Path) -> None:
    post = {
        "id": 7,
        "text": "在 New York 👍",
        "entities": [{"start": 2, "end": 10, "type": "LOC"}],
        "pictures": ["Kab_1.png", "more/none.jpg"],
        "likes": 3,
    }
    found = read(jsonl(tmp_path, post, {"text": ""}), images)
    assert found[0].id == "7"
    assert found[0].text == post["text"]
    assert [(*chunk,) for chunk in chunks(found[0].char_tags())] == [(2, 10, "LOC")]
    assert found[0].pictures == (images / "Kab_1.png", images / "more/none.jpg")
    assert found[1] == Example("2", (), ())


def test_jsonl_of_tokens_and_tags_finds_pictures_beside_it(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"tokens": ["New", "York"], "tags": ["B-LOC", "I-LOC"], "pictures": ["a.jpg"]})
    assert read(path)[0] == Example("1", ("New", "York"), ("B-LOC", "I-LOC"), (tmp_path / "a.jpg",))


@pytest.mark.parametrize(
    "name", ["../a.jpg", "/etc/a.jpg", "b/../../a.jpg", "..\\a.jpg", "C:\\a.jpg", "\\\\host\\a.jpg", "", ".", "a\0.jpg"]
)
def test_a_picture_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=r"data\.jsonl:1: picture"):
        read(jsonl(tmp_path, {"text": "x", "pictures": [name]}))


ENTITY = {"start": 0, "end": 2, "type": "PER"}


@pytest.mark.parametrize(
    ("post", "reason"),
    [
        ({"text": "上海", "entities": [{**ENTITY, "end": 3}]}, "code points"),
        ({"text": "上海", "entities": [{**ENTITY, "end": 0}]}, "code points"),
        ({"text": "上海", "entities": [{**ENTITY, "type": "A B"}]}, "type without spaces"),
        ({"text": "上海", "entities": [ENTITY, {**ENTITY, "start": 1}]}, "overlap at 1"),
        ({"tokens": ["a"], "tags": []}, "1 tokens, but 0 tags"),
        ({"tokens": ["a"], "tags": ["PER"]}, "'PER' is no BIO tag"),
        ({"tokens": [""], "tags": ["O"]}, "an empty token"),
        ({"tokens": ["a"], "tags": ["O"], "text": "a"}, "expected"),
        ({"id": "1"}, "expected"),
        ({"text": 3}, "Expected"),
    ],
)
def test_errors_in_jsonl_name_file_and_line(tmp_path: Path, post: dict[str, Any], reason: str) -> None:
    with pytest.raises(DatasetError, match=rf"data\.jsonl:2: .*{reason}"):
        read(jsonl(tmp_path, {"text": "good"}, post))


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"text": "\xff"}', b'{"text": "\\ud800"}', b"\n"])
def test_what_is_no_jsonl(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DatasetError, match=r"data\.jsonl"):
        read(write(tmp_path, "data.jsonl", content))
