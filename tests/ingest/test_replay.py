"""The laws of a replayed file: event-time order, nothing lost or doubled over any stop, growth, replacement."""

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import replay
from stream.contract.ports import SourceError
from stream.contract.records import End, Post, Reach
from tests.ingest import corpus
from tests.ingest.corpus import NOW_MS, check_reach, chunks, line, posts, records, rejects, source

BASE_MS = NOW_MS - 10_000_000


def write(path: Path, lines: list[str], mode: str = "w") -> str:
    with path.open(mode, encoding="utf-8") as file:
        file.write("".join(text + "\n" for text in lines))
    return f"jsonl:{path}"


async def test_posts_come_by_time_then_by_line(tmp_path: Path) -> None:
    times = [5, 3, 5, 1, 3]
    spec = write(tmp_path / "a.jsonl", [line(n, BASE_MS + time) for n, time in enumerate(times)])
    taken = await chunks(source(spec))
    assert [post.id for post in posts(taken)] == ["p3", "p1", "p4", "p0", "p2"]
    assert taken[-1].end and taken[-1].records == (End(source=spec, through_ms=BASE_MS + 6),)
    assert sum(chunk.total for chunk in taken) == 5
    check_reach(taken)


async def test_duplicates_pass_through(tmp_path: Path) -> None:
    spec = write(tmp_path / "a.jsonl", [line(1), line(2), line(1)])
    assert [post.id for post in posts(await chunks(source(spec)))] == ["p1", "p1", "p2"]


async def test_empty_lines_byte_order_mark_and_crlf_are_no_posts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{line(1)}\r\n\r\n   \n\n{line(2)}\r\n".encode())
    taken = await chunks(source(f"jsonl:{tmp_path}/a.jsonl"))
    assert [post.id for post in posts(taken)] == ["p1", "p2"] and not rejects(taken)


async def test_an_empty_file_ends_at_once(tmp_path: Path) -> None:
    spec = write(tmp_path / "a.jsonl", [])
    taken = await chunks(source(spec))
    assert records(taken) == [End(source=spec, through_ms=0)]
    assert not posts(await chunks(source(spec), taken[-1].cursor))
    write(tmp_path / "a.jsonl", [line(1)], "a")
    assert len(posts(await chunks(source(spec), taken[-1].cursor))) == 1


async def test_chunks_are_bounded(tmp_path: Path) -> None:
    spec = write(tmp_path / "a.jsonl", [line(n, text="中" * 15_000) for n in range(600)])
    sizes = [len(posts([chunk])) for chunk in await chunks(source(spec))]
    assert max(sizes) <= replay.CHUNK_BYTES_MAX // 45_000 + 1 and sum(sizes) == 600
    spec = write(tmp_path / "b.jsonl", [line(n) for n in range(600)])
    assert [len(posts([chunk])) for chunk in await chunks(source(spec))] == [256, 256, 88, 0]


_entries = st.lists(
    st.one_of(st.integers(0, 12), st.sampled_from(["broken", "future", "nan", "untimed"])), min_size=1, max_size=40
)


def written(number: int, entry: int | str) -> str:
    if entry == "broken":
        return f'{{"id": {number}'
    if entry == "future":
        return line(number, NOW_MS + 10**9)
    if entry == "untimed":
        return line(number, created_at=None)
    # A line that only the lenient parser reads must still find its place in time.
    return line(
        number, BASE_MS + (7 if entry == "nan" else int(entry)), **({"z": float("nan")} if entry == "nan" else {})
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=_entries, size=st.integers(1, 7), stop=st.integers(0, 50), grown=_entries)
async def test_stopped_anywhere_and_resumed_it_gives_exactly_the_rest(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    entries: list[int | str],
    size: int,
    stop: int,
    grown: list[int | str],
) -> None:
    monkeypatch.setattr(replay, "CHUNK_POSTS_MAX", size)
    path = tmp_path / "a.jsonl"
    spec = write(path, [written(n, entry) for n, entry in enumerate(entries)])
    whole = await chunks(source(spec))
    check_reach(whole)
    assert len(corpus.given(whole)) == len(entries)
    assert {reject.place for reject in rejects(whole)} == {
        f"line {n + 1}" for n, entry in enumerate(entries) if isinstance(entry, str) and entry != "nan"
    }
    before = whole[: stop % len(whole) + 1]
    # The clock has moved on: what was in the future when the file was indexed stays refused.
    after = await chunks(source(spec, now_ms=lambda: NOW_MS * 2), before[-1].cursor)
    assert corpus.given(before) + corpus.given(after) == corpus.given(whole)
    assert after[-1].records == whole[-1].records

    write(path, [written(1000 + n, entry) for n, entry in enumerate(grown)], "a")
    more = await chunks(source(spec), before[-1].cursor)
    assert len(corpus.given(before)) + len(corpus.given(more)) == len(entries) + len(grown)
    assert corpus.given(more)[: len(corpus.given(after))] == corpus.given(after)


async def test_a_half_written_last_line_is_read_whole_once_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    half = line(2)[:20]
    path.write_text(line(1) + "\n" + half, encoding="utf-8")
    first = await chunks(source(f"jsonl:{path}"))
    assert [reject.raw.decode() for reject in rejects(first)] == [half]
    again = await chunks(source(f"jsonl:{path}"), first[-1].cursor)
    assert not corpus.given(again)
    path.write_text(line(1) + "\n" + line(2) + "\n" + line(3), encoding="utf-8")
    second = await chunks(source(f"jsonl:{path}"), again[-1].cursor)
    assert [post.id for post in posts(second)] == ["p2", "p3"] and not rejects(second)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + line(4) + "\nbroken\n")
    third = await chunks(source(f"jsonl:{path}"), second[-1].cursor)
    assert [post.id for post in posts(third)] == ["p4"]
    assert [reject.place for reject in rejects(third)] == ["line 5"]


async def test_growth_while_it_runs_is_taken_in_the_same_run(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    spec = write(path, [line(1)])
    ids = []
    async for chunk in source(spec).chunks(None):
        ids += [post.id for post in posts([chunk])]
        if ids == ["p1"]:
            write(path, [line(2)], "a")
    assert ids == ["p1", "p2"]


@pytest.mark.parametrize("change", ["shorter", "other head", "other tail", "other times"])
async def test_a_replaced_file_is_refused_with_advice(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.jsonl"
    lines = [line(n, text="x" * 200) for n in range(100)]
    spec = write(path, lines)
    cursor = (await chunks(source(spec), limit=1))[-1].cursor
    if change == "shorter":
        lines = lines[:50]
    elif change == "other head":
        lines[0] = line(0, text="y" * 200)
    elif change == "other tail":
        lines[-1] = line(99, text="y" * 200)
    else:
        lines[50] = line(50, NOW_MS - 7, text="x" * 200)
    write(path, lines)
    with pytest.raises(SourceError, match="under another name"):
        await chunks(source(spec), cursor)


@pytest.mark.parametrize("cursor", ["", "x", "{}", '{"v":2}', "[]"])
async def test_an_unreadable_cursor_is_refused_with_advice(tmp_path: Path, cursor: str) -> None:
    spec = write(tmp_path / "a.jsonl", [line(1)])
    with pytest.raises(SourceError, match="under another name"):
        await chunks(source(spec), cursor)


async def test_a_file_cut_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    spec = write(path, [line(n) for n in range(600)])
    with pytest.raises(SourceError, match="shorter"):
        async for _ in source(spec).chunks(None):
            os.truncate(path, 10)


async def test_gz_is_replayed_resumed_and_may_grow(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    lines = [line(n, BASE_MS + (n * 7) % 300) for n in range(300)]
    path.write_bytes(gzip.compress("\n".join(lines[:290]).encode() + b"\n"))
    spec = f"jsonl:{path}"
    first = await chunks(source(spec), limit=1)
    rest = await chunks(source(spec), first[-1].cursor)
    assert len(posts(first)) == 256 and len(posts(rest)) == 34
    path.write_bytes(path.read_bytes() + gzip.compress("\n".join(lines[290:]).encode() + b"\n"))
    assert len(posts(await chunks(source(spec), rest[-1].cursor))) == 10


async def test_damaged_gz_is_refused_with_advice(tmp_path: Path) -> None:
    packed = gzip.compress(os.urandom(5000))
    for number, data in enumerate([packed[:2000], b"no gzip", packed[:100] + b"\xff" * 900 + packed[1000:]]):
        path = tmp_path / f"{number}.gz"
        path.write_bytes(data)
        with pytest.raises(SourceError, match="fetch it again"):
            await chunks(source(f"jsonl:{path}"))


async def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", "pipe", "."):
        with pytest.raises(SourceError, match="read"):
            await chunks(source(f"jsonl:{tmp_path}/{name}"))


async def test_an_enormous_line_is_refused_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(line(1).encode() + b"\n")
        file.write(b"x" * 9_000_000 + b"\n")
        file.write(line(2).encode() + b"\n")
    taken = await chunks(source(f"jsonl:{path}"))
    assert [post.id for post in posts(taken)] == ["p1", "p2"]
    [reject] = rejects(taken)
    assert reject.reason == "too_large" and "9000000" in reject.detail and len(reject.raw) == 900_000


async def test_reach_stands_in_every_chunk_with_posts(tmp_path: Path) -> None:
    spec = write(tmp_path / "a.jsonl", [line(n, BASE_MS + n * 7919 % 5) for n in range(1000)])
    taken = await chunks(source(spec))
    check_reach(taken)
    assert [post.id for post in posts(taken)] == [f"p{n}" for n in sorted(range(1000), key=lambda n: n * 7919 % 5)]
    for chunk in taken[:-1]:
        assert isinstance(chunk.records[-1], Reach) and isinstance(chunk.records[0], Post)
