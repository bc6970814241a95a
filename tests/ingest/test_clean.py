import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.clean import EdgeSettings, RawPicture, RawPost, Refusal, clean, cut_point
from stream.contract.codec import RECORD_BYTES_MAX, encode
from tests.ingest.corpus import NOW_MS, edge


def raw(**fields: object) -> RawPost:
    return msgspec.structs.replace(RawPost(id="1", created_at=NOW_MS, text="上海"), **fields)


def refused(post: RawPost, settings: EdgeSettings | None = None) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        clean(post, edge(settings))
    return caught.value.reason, str(caught.value)


def test_a_plain_post_passes_unchanged() -> None:
    post = clean(raw(mid=4645748019299849, author=" 77 ", reposts=1, likes="1.2万", has_counts=True), edge())
    assert (post.id, post.mid, post.bid, post.text) == ("1", "4645748019299849", "Kjc77D1jz", "上海")
    assert post.root_id == "1" and post.observed_ms == post.created_ms == NOW_MS
    assert post.counts is not None and post.counts.likes == 12_000 and post.counts.approximate
    assert post.author_known and "77" not in post.author


def test_the_id_falls_back_to_the_mid_and_to_the_mid_in_the_bid() -> None:
    assert clean(raw(id=None, mid="4645748019299849"), edge()).id == "4645748019299849"
    assert clean(raw(id=None, bid="Kjc77D1jz"), edge()).id == "4645748019299849"
    assert clean(raw(id=None, bid="no bid!"), edge()).id == "no bid!"
    assert refused(raw(id=None))[0] == "bad_field"
    assert refused(raw(id="x" * 129))[0] == "bad_field"
    assert refused(raw(id="a\nb"))[0] == "bad_field"


def test_an_unknown_author_is_one_pseudo_author_per_post() -> None:
    for author in (None, "", "  "):
        post = clean(raw(author=author), edge())
        assert post.author == "post:1" and not post.author_known


@pytest.mark.parametrize(
    ("created_at", "reason"),
    [
        (NOW_MS + 300_000, None), (NOW_MS + 300_001, "time_future"), ("2009-08-14", None),
        ("2009-08-13T23:59:59+08:00", "time_past"), (0, "time_past"), (-5, "time_past"), (None, "bad_field"),
        ("soon", "bad_field"), (float("nan"), "bad_field"),
    ],
)  # fmt: skip
def test_creation_times_are_bounded(created_at: str | float | None, reason: str | None) -> None:
    if reason is None:
        assert clean(raw(created_at=created_at), edge()).id == "1"
    else:
        assert refused(raw(created_at=created_at))[0] == reason


def test_observed_times_are_bounded_and_never_before_creation() -> None:
    assert clean(raw(observed_at=NOW_MS + 5), edge()).observed_ms == NOW_MS + 5
    assert clean(raw(observed_at=NOW_MS - 5), edge()).observed_ms == NOW_MS
    assert refused(raw(observed_at=NOW_MS * 2)) == (
        "time_future",
        f"observed_at is {NOW_MS // 1000} s in the future; check the clock or the zone",
    )


def test_empty_text_needs_a_picture_or_a_repost() -> None:
    for text in ("", " \n", "\u200b", "\x00"):
        assert refused(raw(text=text))[0] == "empty"
    assert clean(raw(text="", pictures=[RawPicture(url="https://x/y.jpg")]), edge()).pictures[0].problem
    assert clean(raw(text="", repost_of=7), edge()).repost_of == "7"
    assert refused(raw(text=None))[0] == "bad_field"


def test_a_repost_points_to_its_root() -> None:
    assert clean(raw(repost_of="7"), edge()).root_id == "7"
    assert clean(raw(repost_of="7", root_id=3), edge()).root_id == "3"
    assert clean(raw(root_id="3"), edge()).root_id == "1"
    assert refused(raw(repost_of="1"))[0] == "bad_field"


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1.5, "many", 2**60])
def test_impossible_counts_name_their_field(value: float | str) -> None:
    for field in ("reposts", "comments", "likes"):
        reason, detail = refused(raw(has_counts=True, **{field: value}))
        assert reason == "bad_field" and detail.startswith(f"counts.{field}: ")


def test_control_characters_become_spaces_and_line_ends_lf() -> None:
    post = clean(raw(text="a\x00b\x1bc\r\nd\re\tf\x85g", region="发布于 江\x00苏"), edge())
    assert post.text == "a b c\nd\ne\tf g"
    assert post.region == "江 苏"


def test_edit_versions_are_bounded() -> None:
    assert clean(raw(edit_version=3), edge()).edit_version == 3
    for version in (-1, 2**40):
        assert refused(raw(edit_version=version))[0] == "bad_field"


def test_a_megabyte_of_text_is_cut_flagged_and_travels() -> None:
    post = clean(raw(text="\U0001f600" * 1_000_000), edge())
    assert (len(post.text), post.text_cut_from) == (20_000, 1_000_000)
    assert clean(raw(text="x" * 20_000), edge()).text_cut_from == 0
    assert len(encode(post)) < RECORD_BYTES_MAX


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("abcdef", "abcd"), ("abcde\u0301", "abcd"), ("abcd\u0301f", "abc"), ("ab👩\u200d🚀", "ab"), ("abc👍🏽", "abc"),
        ("abc❤\ufe0f", "abc"), ("abcd", "abcd"),
    ],
)  # fmt: skip
def test_a_cut_never_parts_a_character_from_its_marks(text: str, kept: str) -> None:
    assert text[: cut_point(text, 4)] == kept


@given(st.text(alphabet=st.sampled_from("ab\u0301\u200d👍🏽\ufe0f中"), max_size=200), st.integers(1, 60))
def test_a_cut_keeps_its_limit_whatever_the_text(text: str, limit: int) -> None:
    cut = cut_point(text, limit)
    assert cut <= limit
    assert cut == len(text) or cut == limit or not unicodedata.combining(text[cut])


@given(st.text())
def test_any_text_makes_a_post_that_travels_or_a_refusal(text: str) -> None:
    try:
        post = clean(raw(text=text), edge())
    except Refusal as refusal:
        assert refusal.reason == "empty"
    else:
        assert "\x00" not in post.text and encode(post)


def test_settings_that_let_a_record_grow_too_large_are_refused() -> None:
    for wrong in ({"text_chars_max": 200_000}, {"pictures_bytes_max": 900_000}, {"future_s_max": 0}):
        with pytest.raises(ValueError):
            EdgeSettings(**wrong)
