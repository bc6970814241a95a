"""``weibowatch series``: what it reads, what it writes, and what it says of files that it cannot use."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app

HEAD = "timestamp,value\n"


def run(*words: str, given: str | bytes = "") -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["series", *words], input=given)
    return done.exit_code, done.stdout, done.stderr


def counts(stamp: str = "iso") -> str:
    """Eight days of rows every ten minutes, with a burst of two hours on the seventh day."""
    rows = []
    for row in range(8 * 144):
        seconds = 1_640_995_200 + 600 * row
        written = {
            "iso": f"2022-01-{1 + row // 144:02}T{row // 6 % 24:02}:{row % 6 * 10:02}:00Z",
            "blank": f"2022-01-{1 + row // 144:02} {row // 6 % 24:02}:{row % 6 * 10:02}:00",
            "slash": f"2022/01/{1 + row // 144:02} {row // 6 % 24:02}:{row % 6 * 10:02}",
            "offset": f"2022-01-{1 + row // 144:02}T{row // 6 % 24:02}:{row % 6 * 10:02}:00+00:00",
            "seconds": str(seconds),
            "milliseconds": str(1000 * seconds),
        }[stamp]
        rows.append(f"{written},{row * 7 % 5 + (40 if 900 <= row < 912 else 0)}\n")
    return HEAD + "".join(rows)


def scores(text: str) -> list[float]:
    return [float(row["score"]) for row in csv.DictReader(text.splitlines())]


def test_a_pipe_does(tmp_path: Path) -> None:
    code, out, said = run(given=counts())
    assert (code, said) == (0, "")
    found = scores(out)
    assert len(found) == 8 * 144
    assert found[900] >= 0.5 > max(found[:900])


@pytest.mark.parametrize("stamp", ["blank", "slash", "offset", "seconds", "milliseconds"])
def test_times_may_be_written_in_several_ways(stamp: str) -> None:
    _, out, _ = run(given=counts(stamp))
    assert scores(out) == scores(run(given=counts())[1])
    assert out.splitlines()[1].split(",")[0] == counts(stamp).splitlines()[1].split(",")[0]


def test_other_columns_another_order_and_a_byte_order_mark_do_no_harm() -> None:
    lines = counts().splitlines()[1:]
    turned = "\ufeffname, Value ,timestamp\r\n" + "".join(
        f'"a, b",{value},{time}\r\n' for time, value in (line.split(",") for line in lines)
    )
    assert scores(run(given=turned.encode())[1]) == scores(run(given=counts())[1])


def test_values_that_are_missing_score_nothing_and_those_that_are_no_numbers_are_told() -> None:
    lines = counts().splitlines()
    lines[800] = lines[800].split(",")[0] + ",NA"
    code, out, said = run(given="\n".join(lines))
    assert (code, said, scores(out)[799]) == (0, "", 0.0)
    lines[801] = lines[801].split(",")[0] + ",many"
    code, out, said = run(given="\n".join(lines))
    assert (code, scores(out)[800]) == (0, 0.0)
    assert "standard input: no number in 1 rows (first: line 802)" in said


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ("", 2, "it is empty"),
        ("time,count\n1,2\n", 2, "these are time, count"),
        (HEAD + "2022-01-01,1\nyesterday,2\n", 1, "standard input:3: 'yesterday' is no time"),
        (HEAD + "2022-01-01,1\n\n,2\n", 1, "standard input:4: '' is no time"),
        (b"timestamp,value\n\xff\xfe,1\n", 1, "no readable CSV"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line(given: str | bytes, code: int, says: str) -> None:
    done, out, said = run(given=given)
    assert done == code
    assert says in said
    assert out == ""


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    assert "cannot be read" in run("--input", str(tmp_path / "no.csv"))[2]
    code, _, said = run("--output", str(tmp_path / "no" / "out.csv"), given=counts())
    assert code == 1
    assert "cannot be written" in said


def test_it_draws(tmp_path: Path) -> None:
    picture = tmp_path / "out.png"
    code, _, said = run("--plot", str(picture), given=counts())
    assert (code, said) == (0, "")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_file_of_nothing_but_its_head_gives_the_same() -> None:
    code, out, _ = run(given=HEAD)
    assert (code, out.split()) == (0, ["timestamp,score"])
