"""The audit: what a file may say, what is refused, and which row a mention belongs to."""

from __future__ import annotations

import pytest

from stream.bias.audit import Audit, AuditError, Cell, read
from stream.bias.strata import Matcher, Place, Stratum, StratumError

HEADER = "type,popularity,time,image,sampled,correct,missed\n"
DAY = 86_400_000


def table(*rows: str) -> bytes:
    return (HEADER + "\n".join(rows) + "\n").encode()


def place(type: str = "PER", popularity: float | None = 5, hour: int = 20, day: int = 0, image: bool = False) -> Place:
    return Place(type, popularity, hour, day * DAY + hour * 3_600_000, image)


def test_csv_and_json_lines_say_the_same() -> None:
    csv = table("PER,0-99,18-24,no,40,30,5", "per,100+,,,10,9,1")
    lines = (
        b'{"type": "PER", "popularity": "0-99", "time": "18-24", "image": "no", "sampled": 40, "correct": 30, "missed":'
        b' 5}\n\n{"type": "PER", "popularity": "100+", "sampled": 10, "correct": 9, "missed": 1}\n'
    )
    expected = (
        Cell(Stratum("PER", "0-99", "18-24", "no"), 40, 30, 5), Cell(Stratum("PER", "100+"), 10, 9, 1),
    )  # fmt: skip
    assert read(csv, "audit.csv").cells == read(lines, "audit.jsonl").cells == expected


def test_rows_of_one_stratum_are_added_up() -> None:
    audit = read(table("PER,0,*,*,10,8,1", "PER,0,,,5,5,2"), "a.csv")
    assert audit.cells == (Cell(Stratum("PER", "0"), 15, 13, 3),)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no column"),
        (b"type,sampled,correct\nPER,1,1\n", "no column missed"),
        (HEADER.encode(), "no rows"),
        (table("PER,0,*,*,10,11,1"), "line 2: 11 correct of 10"),
        (table("PER,0,*,*,10,-1,1"), "line 2: correct must be a whole number"),
        (table("PER,0,*,*,1e3,1,1"), "line 2: sampled must be"),
        (table("PER,0,*,*,10,9"), "as many values as columns"),
        (table("PER,0,*,*,10,9,1,7"), "as many values as columns"),
        (table(",0,*,*,10,9,1"), "type must be"),
        (table("PER,hot,*,*,10,9,1"), "popularity is e.g."),
        (table("PER,9-1,*,*,10,9,1"), "popularity is e.g."),
        (table("PER,0,24-18,*,10,9,1"), "time is hours"),
        (table("PER,0,2022-02-30..2022-03-01,*,10,9,1"), "a day that does not exist"),
        (table("PER,0,*,maybe,10,9,1"), "image is yes, no or"),
        ("type,sampled,correct,missed\nPER,1,1,1\n".encode("utf-16"), "not UTF-8"),
        (b"type,sampled,correct,missed,who\nPER,1,1,1,me\n", "nobody knows who"),
        (b'type,sampled,correct,missed\n"PER,1,1,1\n', "line 1: unexpected end"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(data: bytes, told: str) -> None:
    with pytest.raises(AuditError, match=told) as caught:
        read(data, "audit.csv")
    assert "audit.csv" in str(caught.value)


@pytest.mark.parametrize("line", [b"[1]", b"{", b'{"type": "PER", "sampled": true, "correct": 1, "missed": 0}'])
def test_lines_that_make_no_sense_are_refused(line: bytes) -> None:
    with pytest.raises(AuditError, match="line 1"):
        read(line, "audit.jsonl")


@pytest.mark.parametrize(
    ("stratum", "inside", "outside"),
    [
        (Stratum("PER"), place(), place("LOC")),
        (Stratum("PER", "0"), place(popularity=0.4), place(popularity=1)),
        (Stratum("PER", "1-99"), place(popularity=99.8), place(popularity=100)),
        (Stratum("PER", "100+"), place(popularity=1e9), place(popularity=None)),
        (Stratum("PER", "unknown"), place(popularity=None), place(popularity=0)),
        (Stratum("PER", time="18-24"), place(hour=23), place(hour=17)),
        (Stratum("PER", time="1970-01-02..1970-01-04"), place(day=2), place(day=3)),
        (Stratum("PER", image="yes"), place(image=True), place(image=False)),
        (Stratum("PER", image="no"), place(image=False), place(image=True)),
    ],
)
def test_what_a_stratum_holds(stratum: Stratum, inside: Place, outside: Place) -> None:
    matcher = Matcher(stratum)
    assert matcher.holds(inside) and not matcher.holds(outside)


def test_a_mention_belongs_to_the_row_that_names_most() -> None:
    audit = Audit(
        tuple(
            Cell(stratum, 10, 9, 1)
            for stratum in (Stratum("PER"), Stratum("PER", "0-9"), Stratum("PER", "0-9", "18-24"), Stratum("LOC", "0"))
        )
    )
    found = [audit.cell_of(one) for one in (place(), place(hour=3), place(popularity=50), place("LOC"))]
    names = [None if cell is None else str(cell.stratum) for cell in found]
    assert names == ["PER/0-9/18-24/*", "PER/0-9/*/*", "PER/*/*/*", None]


def test_a_stratum_says_what_it_may_be() -> None:
    with pytest.raises(StratumError, match="18-24"):
        Matcher(Stratum("PER", time="evening"))
