"""Every bad line becomes exactly one dead letter with the right reason; every good one becomes a post."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.clean import EdgeSettings
from ingest.jsonl import JsonLines
from ingest.replay import Unit
from stream.contract.records import REASONS, Post, Reject
from tests.ingest import corpus
from tests.ingest.corpus import NOW_MS, chunks, edge, line, posts, rejects, source


def parse(raw: bytes | str, settings: EdgeSettings | None = None, folder: Path | None = None) -> Post | Reject:
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    return JsonLines().parse(data, Unit(0, len(data), 7, 0), edge(settings, folder))


def parsed(**fields: Any) -> Post:
    post = parse(line(1, **fields))
    assert isinstance(post, Post), post
    return post


BAD_LINES: dict[str, tuple[bytes, str, str]] = {
    "cut off": (line(1)[:-5].encode(), "bad_json", "not JSON"),
    "not an object": (b"[1, 2]", "bad_json", "no object"),
    "a bare text": (b'"text"', "bad_json", "no object"),
    "two objects": (line(1).encode() * 2, "bad_json", "not JSON"),
    "nested too deeply": (b'{"z":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad_json", "deep"),
    "a huge number": (b'{"id": 1' + b"0" * 5000 + b"}", "bad_json", "not JSON"),
    "UTF-16": (line(1).encode("utf-16"), "bad_encoding", "byte 0"),
    "GB18030": (line(1, text="上海").encode("gb18030"), "bad_encoding", "byte"),
    "bad bytes in an ignored field": (line(1, z="~").encode().replace(b"~", b"\xff"), "bad_encoding", "byte"),
    "raw surrogate bytes": (line(1, text="\ud800").encode("utf-8", "surrogatepass"), "bad_encoding", "byte"),
    "lone high surrogate": (line(1).encode().replace(b'"p1"', b'"\\ud83d"'), "bad_encoding", "surrogate"),
    "lone low surrogate in the text": (
        json.dumps({"id": 1, "created_at": NOW_MS, "text": "a\ude00b"}).encode(),
        "bad_encoding",
        "surrogate",
    ),
    "no id": (b'{"created_at": 1700000000, "text": "x"}', "bad_field", "id is missing"),
    "no time": (b'{"id": 1, "text": "x"}', "bad_field", "created_at is missing"),
    "no text": (b'{"id": 1, "created_at": 1700000000}', "bad_field", "text is missing"),
    "null text": (line(1, text=None).encode(), "bad_field", "text is missing"),
    "text of another type": (line(1, text=5).encode(), "bad_field", "text"),
    "id of another type": (line(1, id=[1]).encode(), "bad_field", "id"),
    "boolean time": (line(1, created_at=True).encode(), "bad_field", "created_at"),
    "NaN time": (line(1, created_at=float("nan")).encode(), "bad_field", "created_at"),
    "NaN count": (line(1, counts={"likes": float("nan")}).encode(), "bad_field", "counts.likes"),
    "infinite count": (line(1, comments_count=float("inf")).encode(), "bad_field", "counts.comments"),
    "a count beyond floats": (line(1, comments_count=7).encode().replace(b"7", b"1e999"), "bad_field", "comments"),
    "negative count": (line(1, counts={"reposts": -3}).encode(), "bad_field", "counts.reposts"),
    "pictures of another type": (line(1, pictures=[5]).encode(), "bad_field", "pictures"),
    "picture of impossible width": (line(1, pictures=[{"url": "x", "width": -1}]).encode(), "bad_field", "width"),
    "region of another type": (line(1, region={"a": 1}).encode(), "bad_field", "region"),
    "negative edit": (line(1, edit_count=-1).encode(), "bad_field", "edit_count"),
    "empty": (line(1, text=" ").encode(), "empty", "no text"),
    "future": (line(1, NOW_MS + 301_000).encode(), "time_future", "301 s in the future"),
    "past": (line(1, created_at="2009-08-13 12:00:00").encode(), "time_past", "2009-08-14"),
    "seconds for milliseconds": (line(1, created_at=1_700_000).encode(), "time_past", "unit"),
}


@pytest.mark.parametrize(("raw", "reason", "detail"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_refused_with_its_reason_and_kept_whole(raw: bytes, reason: str, detail: str) -> None:
    answer = parse(raw)
    assert isinstance(answer, Reject)
    assert answer.reason == reason and reason in REASONS
    assert detail in answer.detail
    assert (answer.raw, answer.place, answer.source) == (raw, "line 7", "test")


async def test_in_a_file_each_bad_line_is_refused_once_and_costs_no_good_one(tmp_path: Path) -> None:
    lines = [raw for raw, _, _ in BAD_LINES.values() if b"\n" not in raw]
    mixed = [part for number, raw in enumerate(lines) for part in (line(number).encode(), raw)]
    (tmp_path / "posts.jsonl").write_bytes(b"\n".join(mixed) + b"\n")
    taken = await chunks(source(f"jsonl:{tmp_path}/posts.jsonl"))
    assert sorted(reject.raw for reject in rejects(taken)) == sorted(lines)
    assert [post.id for post in posts(taken)] == [f"p{number}" for number in range(len(lines))]
    assert {reject.place for reject in rejects(taken)} == {f"line {2 * n + 2}" for n in range(len(lines))}


def test_a_line_beyond_the_limit_is_refused_with_its_beginning() -> None:
    answer = parse(line(1, text="x" * 3000), EdgeSettings(line_bytes_max=2000, reject_bytes_max=500))
    assert isinstance(answer, Reject)
    assert answer.reason == "too_large" and len(answer.raw) == 500
    assert "first 500 of 30" in answer.detail


def test_a_megabyte_of_text_is_cut_and_flagged() -> None:
    post = parsed(text="微" * 350_000)
    assert (len(post.text), post.text_cut_from) == (20_000, 350_000)


def test_everything_the_schema_names_is_read() -> None:
    post = parsed(
        mid=4645748019299849, observed_at="2023-11-14T22:13:21Z", author={"id": 12, "name": "谁"},
        counts={"reposts": "1.2万", "comments": 3, "likes": "100万+"}, repost_of=9, root_id="8", region="发布于 江苏",
        edit_count="2", pinned=True, extra={"anything": [1]},
    )  # fmt: skip
    assert (post.mid, post.bid, post.repost_of, post.root_id) == ("4645748019299849", "Kjc77D1jz", "9", "8")
    assert (post.observed_ms, post.region, post.edit_version) == (NOW_MS + 1000, "江苏", 2)
    assert post.author == corpus.PSEUDONYM("12") and post.author_known
    assert post.counts is not None
    assert (post.counts.reposts, post.counts.comments, post.counts.likes) == (12_000, 3, 1_000_000)
    assert post.counts.approximate


def test_lines_of_weibo_parse_are_understood() -> None:
    post = parse(
        json.dumps(
            {
                "mid": "4645748019299849", "bid": "Kjc77D1jz", "created_at": "Tue Jun 08 09:35:04 +0800 2021",
                "text": "", "pictures": [{"url": "https://wx1.sinaimg.cn/large/006QZ.jpg", "width": 1, "height": "2"}],
                "counts": {"reposts": 0, "comments": 0, "likes": 0}, "repost_of": None, "pinned": False,
                "edit_count": 0, "author": None,
            }
        )
    )  # fmt: skip
    assert isinstance(post, Post)
    assert post.id == post.mid == "4645748019299849" and not post.author_known
    picture = post.pictures[0]
    assert (picture.id, picture.width, picture.height, picture.problem) == ("006QZ", 1, 2, "not fetched")


def test_flat_counts_and_texts_as_numbers_are_read() -> None:
    counts = parsed(reposts_count="7", comments_count=8.0, attitudes_count=None).counts
    assert counts is not None
    assert (counts.reposts, counts.comments, counts.likes, counts.approximate) == (7, 8, 0, False)
    assert parsed().counts is None
    assert parsed(edit_version=2.0).edit_version == 2


def test_what_no_parser_for_json_allows_is_forgiven_in_ignored_fields() -> None:
    assert parsed(score=float("nan")).id == "p1"


def test_astral_characters_survive_as_escapes() -> None:
    post = parse(json.dumps({"id": 1, "created_at": NOW_MS, "text": "😀中"}))
    assert isinstance(post, Post) and post.text == "😀中"


def test_a_dead_letter_never_grows_beyond_a_record() -> None:
    answer = parse(b"x" * 5_000_000)
    assert isinstance(answer, Reject)
    assert len(answer.raw) == 900_000 and "5000000 bytes" in answer.detail


def test_broken_base64_is_the_pictures_problem_not_the_posts() -> None:
    good = base64.b64encode(b"no picture").decode()
    post = parsed(pictures=[{"data": "%%%"}, {"data": good}, {}, {"data": f"data:image/png;base64,{good}"}])
    assert [bool(picture.problem) for picture in post.pictures] == [True] * 4
    assert len({picture.id for picture in post.pictures}) == 4


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "url", "likes"]), inner),
    max_leaves=6,
)
_FIELDS = [
    "id",
    "mid",
    "bid",
    "created_at",
    "text",
    "author",
    "counts",
    "pictures",
    "repost_of",
    "region",
    "edit_count",
]


@given(st.dictionaries(st.sampled_from(_FIELDS), _json_values))
def test_any_values_make_a_post_or_a_reject(values: dict[str, Any]) -> None:
    answer = parse(json.dumps({"id": 1, "created_at": NOW_MS, "text": "x"} | values))
    assert isinstance(answer, Post) or answer.reason in REASONS


@given(st.binary(max_size=200))
def test_any_bytes_make_a_post_or_a_reject(raw: bytes) -> None:
    answer = parse(raw)
    assert isinstance(answer, Post) or answer.reason in REASONS
