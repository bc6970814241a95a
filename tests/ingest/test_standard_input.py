"""Standard input over a real pipe, and over a file as the shell's ``<`` gives it."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest import standard_input
from ingest.clean import Edge
from ingest.standard_input import DISORDER_MS, StandardInput
from stream.contract.ports import SourceError
from stream.contract.records import End, Reach
from tests.ingest.corpus import NOW_MS, chunks, edge, line, posts, records, rejects


def edge_at(_: int) -> Edge:
    return edge()


def over(descriptor: int) -> StandardInput:
    return StandardInput("jsonl:-", descriptor, edge_at, lambda: NOW_MS)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


def feed(writer: int, data: bytes) -> threading.Thread:
    def work() -> None:
        with open(writer, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


async def test_lines_come_in_arrival_order_and_end_with_the_pipe(pipe: tuple[int, int]) -> None:
    texts = [line(n, NOW_MS - (n * 7) % 5 * 1000) for n in range(2000)]
    texts[500] = "broken"
    thread = feed(pipe[1], "\n".join(texts).encode())  # the last line has no line end
    taken = await chunks(over(pipe[0]))
    thread.join()
    assert [post.id for post in posts(taken)] == [f"p{n}" for n in range(2000) if n != 500]
    assert [reject.place for reject in rejects(taken)] == ["line 501"]
    assert max(len(chunk.records) for chunk in taken) <= 257
    assert taken[-1].end and taken[-1].records == (End(source="jsonl:-", through_ms=NOW_MS + 1),)


async def test_its_reach_leaves_room_for_stragglers(pipe: tuple[int, int]) -> None:
    thread = feed(pipe[1], (line(1, NOW_MS - 5) + "\n" + line(2, NOW_MS - 30_000)).encode())
    taken = await chunks(over(pipe[0]))
    thread.join()
    told = [record.through_ms for record in records(taken) if isinstance(record, Reach)]
    assert set(told) == {NOW_MS - 5 - DISORDER_MS}


async def test_an_enormous_line_is_refused_and_the_next_one_read(pipe: tuple[int, int]) -> None:
    thread = feed(pipe[1], b"x" * 9_000_000 + b"\n" + line(1).encode() + b"\n")
    taken = await chunks(over(pipe[0]))
    thread.join()
    assert [reject.reason for reject in rejects(taken)] == ["too_large"]
    assert "9000000 bytes" in rejects(taken)[0].detail
    assert [post.id for post in posts(taken)] == ["p1"]


async def test_a_silent_pipe_says_that_it_idles_and_can_be_left(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standard_input, "IDLE_S", 0.1)
    [chunk] = await asyncio.wait_for(chunks(over(pipe[0]), limit=1), 5)
    assert chunk.records == (Reach(source="jsonl:-", through_ms=0, state="idle"),)
    os.close(pipe[1])


async def test_line_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_text("broken\n\nbroken\n")
    cursor = None
    for expected in (["line 1", "line 3"], ["line 4", "line 6"]):
        with path.open("rb") as file:
            taken = await chunks(over(file.fileno()), cursor)
        cursor = taken[-1].cursor
        assert [reject.place for reject in rejects(taken)] == expected


async def test_a_closed_descriptor_and_a_foreign_cursor_are_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        await chunks(over(10_000))
    with pytest.raises(SourceError, match="new store"):
        await chunks(over(0), "no cursor")
