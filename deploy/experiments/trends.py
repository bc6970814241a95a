"""The experiment on trends: tagged posts as a corpus, its rules, its parts and its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

from deploy import __version__, rulefile, wiring
from deploy.errors import Failure
from deploy.experiments import running
from deploy.experiments.parts import Plan, Told
from deploy.experiments.subject import demo_examples
from ingest.ids import created_ms_from_mid, mid_from_bid
from nlp import datasets
from nlp.datasets import DatasetError, Example
from nlp.labels import chunks
from stream.core.entities import entity_id, raw_key
from stream.experiment import report
from stream.experiment.trends import PARTS, Bench, Declared, Part, Results, results
from stream.experiment.world import Corpus

FILES: Final = ("train.txt", "dev.txt")


def corpus(folder: Path | None) -> Corpus:
    """Texts and names of CMNER's train and dev in ``folder``, else of the built-in demo. Raises ``Failure``."""
    if folder is None:
        return _corpus("demo", demo_examples())
    try:
        return _corpus("CMNER train + dev", [one for name in FILES for one in datasets.read(folder / name)])
    except (DatasetError, OSError, ValueError) as error:
        raise Failure(f"{error}. --data names the folder with CMNER's {' and '.join(FILES)}") from error


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


def run(declared: Declared, out: Path, *, resume: bool, workers: int | None) -> Results:
    """Run it, or what an earlier run in ``out`` left, and write its report. Raises ``ValueError`` as ``declared``."""
    plan = Plan(declared.digest, tuple(PARTS), partial(_part, declared), Part)
    found = results(declared.stream, running.run(plan, out, resume=resume, workers=workers))
    every = {
        "version": __version__, "digest": declared.digest, "corpus": declared.corpus.name, "stream": declared.stream,
        "core": declared.core, "rules": declared.rules, "simulated": report.SIMULATED, "results": found,
    }  # fmt: skip
    running.write(out, report.report(declared, found, __version__), every)
    return found


def _part(declared: Declared, name: str, told: Told) -> Part:
    return PARTS[name](Bench(declared, lambda _, done, total: told(done, total)))
