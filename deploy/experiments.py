"""What ``weibowatch experiment`` reads and keeps: tagged posts as a corpus, and the parts of a run in a folder."""

from __future__ import annotations

import contextlib
import gzip
import json
import multiprocessing
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from deploy import __version__, rulefile, wiring
from deploy.application import tune_interpreter
from deploy.errors import Failure
from ingest.ids import created_ms_from_mid, mid_from_bid
from ingest.sources import DEMO_FILE
from nlp import datasets
from nlp.datasets import DatasetError, Example
from nlp.labels import chunks
from stream.core.entities import entity_id, raw_key
from stream.experiment import report
from stream.experiment.trends import PARTS as RUNS
from stream.experiment.trends import Bench, Declared, Part, Results, Told
from stream.experiment.world import Corpus

FILES: Final = ("train.txt", "dev.txt")
PARTS: Final = "parts"


def corpus(folder: Path | None) -> Corpus:
    """Texts and names of CMNER's train and dev in ``folder``, else of the built-in demo. Raises ``Failure``."""
    if folder is None:
        return _corpus("demo", list(_demo()))
    try:
        return _corpus("CMNER train + dev", [one for name in FILES for one in datasets.read(folder / name)])
    except (DatasetError, OSError, ValueError) as error:
        raise Failure(f"{error}. --data names the folder with CMNER's {' and '.join(FILES)}") from error


def _demo() -> Iterator[Example]:
    with gzip.open(DEMO_FILE, "rt", encoding="utf-8") as handle:
        for line in handle:
            post = json.loads(line)
            yield Example(post["bid"], tuple(post["text"]), tuple(post["tags"].split(" ")))


def _corpus(name: str, examples: Iterable[Example]) -> Corpus:
    t2s = wiring.traditional_to_simplified()
    counts: Counter[str] = Counter()
    texts, posts = [], []
    for example in examples:
        text = example.text
        keys = [(one.type, raw_key(text[one.start : one.end], t2s=t2s)) for one in chunks(example.char_tags())]
        entities = tuple(dict.fromkeys(entity_id(type_, key) for type_, key in keys if key))
        counts.update(entities)
        texts.append(text)
        posts.append((created_ms_from_mid(mid_from_bid(example.id)), entities))
    ranked = sorted(counts, key=lambda entity: (-counts[entity], entity))
    return Corpus(name, tuple(texts), tuple(ranked), tuple(posts))


def rules(path: Path) -> str:
    """The payload of a rules file. Raises ``Failure`` with every error of it."""
    payload, errors = rulefile.load(path, wiring.traditional_to_simplified())
    if errors:
        raise Failure(f"{path} has errors:\n  " + "\n  ".join(errors))
    return payload


def write_report(folder: Path, declared: Declared, found: Results) -> None:
    """``report.html``, ``report.md`` and ``figures.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(report.page(declared, found, __version__), encoding="utf-8")
    (folder / "report.md").write_text(report.markdown(declared, found, __version__), encoding="utf-8")
    every = {
        "version": __version__, "digest": declared.digest, "corpus": declared.corpus.name, "stream": declared.stream,
        "core": declared.core, "rules": declared.rules, "simulated": report.SIMULATED, "results": found,
    }  # fmt: skip
    (folder / "figures.json").write_bytes(msgspec.json.format(msgspec.json.encode(every), indent=1))


class PartStore:
    """Parts of a run as files of ``folder``, each with the digest of what it was run with."""

    def __init__(self, folder: Path, declared: Declared) -> None:
        self._folder = folder / PARTS
        self._digest = f"{__version__}-{declared.digest}"

    def kept(self, name: str) -> Part | None:
        """The part that was kept, None when there is none or it was run with something else."""
        try:
            return msgspec.json.decode(self._path(name).read_bytes(), type=Part)
        except (OSError, msgspec.DecodeError):
            return None

    def keep(self, name: str, part: Part) -> None:
        """Write it whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(name)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(part))
        fresh.replace(path)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}-{self._digest}.json"


# --- parts in processes of their own -------------------------------------------------------------------------------

LOOK_S: Final = 0.2
Heard: TypeAlias = "multiprocessing.Queue[tuple[str, int, int]]"


def run_parts(
    declared: Declared, names: Sequence[str], told: Told, done: Callable[[str, Part], None], workers: int | None = None
) -> None:
    """Run the parts ``names`` at the same time, as many as there are cores or ``workers``.

    ``told`` hears how far each is, ``done`` gets each when it has ended. Raises ``ValueError`` where ``declared`` is
    impossible.
    """
    fresh = multiprocessing.get_context("spawn")
    heard: Heard = fresh.Queue()
    with ProcessPoolExecutor(workers or os.cpu_count(), fresh, _end_with_parent, (heard,)) as pool:
        running = {pool.submit(_run_part, declared, name): name for name in names}
        try:
            while running:
                ended, _ = wait(running, LOOK_S, FIRST_COMPLETED)
                with contextlib.suppress(queue.Empty):
                    while True:
                        told(*heard.get_nowait())
                for one in ended:
                    done(running.pop(one), one.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_heard: Heard | None = None
"""In a process that runs parts: where it tells how far it is."""


def _end_with_parent(heard: Heard) -> None:
    """Part with a parent that was killed: nobody would take what comes out."""
    global _heard
    _heard = heard
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run_part(declared: Declared, name: str) -> Part:
    tune_interpreter()

    def told(part: str, done: int, total: int) -> None:
        assert _heard is not None
        _heard.put((part, done, total))

    return RUNS[name](Bench(declared, told))
