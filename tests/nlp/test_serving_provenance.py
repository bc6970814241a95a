"""Which picture an entity is owed to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nlp.labels import Chunk
from nlp.serving.provenance import marked, picture_of
from stream.contract.records import Span

CHUNK = Chunk(0, 2, "LOC")
HAS, LACKS = {CHUNK}, set[Chunk]()


def test_the_picture_of_an_entity() -> None:
    assert picture_of(CHUNK, [HAS, LACKS, LACKS], [LACKS, HAS, HAS]) == 1, "the first whose removal loses it"
    assert picture_of(CHUNK, [HAS, HAS, HAS], [LACKS, LACKS, HAS]) == 2, "else the first that gives it alone"
    assert picture_of(CHUNK, [HAS, HAS], [LACKS, LACKS]) == 0, "else the first"
    assert picture_of(CHUNK, [{Chunk(0, 2, "PER")}], [HAS]) == 0, "of another type it is another entity"


@given(st.lists(st.integers(0, 5), unique=True, max_size=6), st.sets(st.integers(0, 5)))
def test_marking_changes_only_what_the_text_alone_does_not_give(places: list[int], known: set[int]) -> None:
    spans = [Span(start=place, end=place + 1, type="PER", confidence=0.5) for place in places]
    bare = [Chunk(place, place + 1, "PER") for place in sorted(known)]
    found = marked(spans, bare, lambda chunk: f"p{chunk.start}")
    assert [(span.start, span.confidence) for span in found] == [(place, 0.5) for place in places]
    for span in found:
        expected = ("text", "") if span.start in known else ("image", f"p{span.start}")
        assert (span.provenance, span.picture_id) == expected
