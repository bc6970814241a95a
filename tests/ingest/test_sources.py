import asyncio
from pathlib import Path

import pytest

from stream.contract.ports import SourceError
from tests.ingest.corpus import chunks, line, source


@pytest.mark.parametrize(
    "spec", ["", "x", "weibo", "rss", "jsonl", "jsonl:", "demo:x", "JSONL:a", "cmner:", "conll", ":a"]
)
def test_an_unknown_source_is_refused_with_the_list_of_those_that_are(spec: str) -> None:
    with pytest.raises(SourceError, match=r"demo.*jsonl:FILE.*cmner:FILE.*conll:FILE"):
        source(spec)


def test_a_source_has_the_name_that_the_user_wrote() -> None:
    polled = ("rss:https://example.org/feed?a=b", "mastodon:example.org/上海")
    for spec in ("demo", "jsonl:a b.jsonl", "jsonl:-", "cmner:~/x.txt", *polled):
        assert source(spec).name == spec


async def test_the_event_loop_is_never_blocked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(line(n) + "\n" for n in range(20_000)), encoding="utf-8")
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.001)
            longest_s = max(longest_s, loop.time() - before)

    watcher = asyncio.create_task(watch())
    await chunks(source(f"jsonl:{path}"))
    watcher.cancel()
    assert longest_s < 0.5


async def test_a_cancelled_replay_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(line(n) + "\n" for n in range(5000)), encoding="utf-8")
    for steps in range(1, 20):
        task = asyncio.create_task(chunks(source(f"jsonl:{path}")))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
