"""The search language and the tokeniser."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.match import expression, highlights
from index.query import (
    QUERY_CHARS_MAX,
    QUERY_CLAUSES_MAX,
    Clause,
    Field,
    Filters,
    Phrase,
    Query,
    QueryError,
    moment,
    narrowed,
    parse,
)
from stream.contract.text import token_string, tokens

words = st.sampled_from(
    ["上海", "-", "OR", '"', "“", "entity:", "type:PER", "since:", "2022-03-01", "has:image", "until:", " ", "：", "a",
     "source:x", "🎤", "!", "-type:LOC", "　", "99999999999999", "２０２２"]
)  # fmt: skip
queries = st.one_of(st.text(max_size=40), st.lists(words, max_size=12).map("".join), st.lists(words).map(" ".join))


@given(queries)
def test_parsing_never_crashes_and_points_into_the_text(text: str) -> None:
    try:
        query = parse(text)
    except QueryError as error:
        assert 0 <= error.position <= len(text)
        assert error.message
    else:
        expression(query)
        assert all(clause.any_of for clause in query.clauses)


@given(st.text(max_size=60))
def test_tokens_and_token_string_agree(text: str) -> None:
    found = tokens(text)
    assert token_string(text) == " ".join(token.text for token in found)
    assert all(0 <= token.start < token.end <= len(text) for token in found)
    assert [token.start for token in found] == sorted(token.start for token in found)
    assert not any(char.isspace() for token in found for char in token.text)


@given(st.text(max_size=30), st.text(max_size=30))
def test_separated_texts_have_their_own_tokens(left: str, right: str) -> None:
    assert token_string(f"{left} {right}").split() == token_string(left).split() + token_string(right).split()


@given(st.text(alphabet=st.characters(categories=("Lu", "Ll", "Nd", "Lo")), max_size=20))
def test_case_and_width_do_not_matter(text: str) -> None:
    wide = "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)
    assert token_string(wide) == token_string(text)
    assert token_string(text.casefold()) == token_string(text) or unicodedata.normalize("NFKC", text) != text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("上海 Disneyland乐园", "上 海 disneyland 乐 园"),
        ("ＨＥＬＬＯ１２３", "hello123"),
        ("𠮷野家", "𠮷 野 家"),
        ("❤️🎤👨‍👩‍👧", "❤ 🎤 👨 👩 👧"),
        ("a\u200db\u00adc", "abc"),
        ("カタカナ 한국어 café", "カ タ カ ナ 한국어 café"),
        ("!?,。#话题# @某人", "话 题 某 人"),
        ("㍿", "株 式 会 社"),
        ("", ""),
    ],
)
def test_what_a_token_is(text: str, expected: str) -> None:
    assert token_string(text) == expected


def test_the_grammar() -> None:
    query = parse('上海 "a B" -北京 entity:"LOC/上海" OR type:per -has:image since:2022-03-01')
    assert query == Query(
        clauses=(
            Clause((Phrase(("上", "海")),)),
            Clause((Phrase(("a", "b")),)),
            Clause((Phrase(("北", "京")),), negative=True),
            Clause((Field("entity", "loc/上海"), Field("type", "per"))),
            Clause((Field("has", "image"),), negative=True),
        ),
        since_ms=1_646_092_800_000,
    )
    assert parse("  ") == Query()
    assert parse("entity：上海 “甲 乙”") == parse('entity:上海 "甲 乙"')
    assert parse("https://t.cn/x") == Query(clauses=(Clause((Phrase(("https", "t", "cn", "x")),)),))
    assert parse("a ！！") == parse("a")


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ('a "b', 2, "never closed"),
        ("OR a", 0, "both sides"),
        ("a OR", 2, "both sides"),
        ("a OR OR b", 5, "both sides"),
        ("a OR -b", 5, "excluded"),
        ("a OR since:2022-01-01", 5, "alternative"),
        ("-until:2022-01-01", 0, "excluded"),
        ("上海 since:yesterday", 9, "date"),
        ("type:", 0, "value"),
        ("has:video", 4, "has:image"),
        ("!!!", 0, "punctuation"),
        ("a" * (QUERY_CHARS_MAX + 1), QUERY_CHARS_MAX, "longer"),
        ("a " * (QUERY_CLAUSES_MAX + 1), 2 * QUERY_CLAUSES_MAX, "more than"),
    ],
)
def test_errors_say_what_and_where(text: str, position: int, words: str) -> None:
    with pytest.raises(QueryError, match=words) as caught:
        parse(text)
    assert caught.value.position == position


def test_times() -> None:
    assert moment("2022-03-01") == moment("2022-03-01T00:00Z") == moment("2022-03-01T08:00+08:00") == 1_646_092_800_000
    assert moment("1646092800") == moment("1646092800000") == 1_646_092_800_000


def test_ranges_are_narrowed_from_both_sides() -> None:
    query = narrowed(parse("since:2022-03-01 until:2022-03-09"), Filters(since_ms=0, until_ms=1_646_092_800_001))
    assert (query.since_ms, query.until_ms) == (1_646_092_800_000, 1_646_092_800_001)


def test_highlights_are_merged_code_points() -> None:
    text = "🎤上海上海滩 ＳＨ"
    phrases = [("上", "海"), ("海", "滩"), ("sh",)]
    assert [text[start:end] for start, end in highlights(text, phrases)] == ["上海上海滩", "ＳＨ"]
    assert highlights(text, []) == []
