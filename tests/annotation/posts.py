"""Hostile posts and their marks."""

from __future__ import annotations

from hypothesis import strategies as st

from nlp.annotation.records import Drawn, Prediction
from nlp.labels import Chunk

HOSTILE = "👨🏻\u200d🚒周杰伦在e\u0301\u4e0a海\n\r\n\t𠮷野家 <b>&amp;\\n \ufeff👍!"
TEXTS = st.text(st.sampled_from("a周海𠮷👍🏻\u200d\u0301\n\r\t\\\"<& \ufeff\u2028\x00"), min_size=1, max_size=25)


@st.composite
def marks(draw: st.DrawFn, text: str, types: tuple[str, ...] = ("PER", "LOC")) -> tuple[Chunk, ...]:
    """Entities of ``text`` that do not overlap, in order."""
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    pairs = list(zip(places[::2], places[1::2], strict=False))
    return tuple(Chunk(start, end, draw(st.sampled_from(types))) for start, end in pairs)


@st.composite
def posts(draw: st.DrawFn) -> list[Drawn]:
    """A batch in which the model found some entities."""
    texts = draw(st.lists(TEXTS, min_size=1, max_size=4))
    return [
        Drawn(str(number), text, model="m", predictions=tuple(Prediction(*one, 0.5) for one in draw(marks(text))))
        for number, text in enumerate(texts)
    ]


def drawn(text: str, *found: Prediction, id: str = "1", popularity: str = "*", by: str = "random") -> Drawn:
    return Drawn(id, text, by=by, popularity=popularity, predictions=found, model="m")
