"""Texts in parts that fit the memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.runtime.tagging import CHARS_MAX, groups


@given(st.lists(st.integers(0, 2 * CHARS_MAX), max_size=12))
def test_groups_keep_order_and_size(sizes: list[int]) -> None:
    texts = ["长" * size for size in sizes]
    found = [list(group) for group in groups(texts)]
    assert [text for group in found for text in group] == texts
    assert all(group and (len(group) == 1 or sum(map(len, group)) <= CHARS_MAX) for group in found)
