"""The ablation: the trainings of its rows as parts, on drawn sets, the example posts, or one's own set."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy.experiments import ablation_own, running, trainings
from deploy.experiments.ablation_sets import (
    EXAMPLES,
    SET_SEED,
    Job,
    Own,
    Sizes,
    Trial,
    drawn_trial,
    example_trials,
    own_trial,
)
from deploy.experiments.parts import Plan, Told
from deploy.experiments.subject import digest_of
from ingest.sources import DEMO_FILE
from nlp.experiments import ablation_report, drawn
from nlp.experiments.ablation import Pictures, Results, Run, results_of
from nlp.experiments.ablation_runs import joined, run_of
from nlp.models.families import model_type
from nlp.rendered.encoder import PICTURES
from nlp.rendered.posts import Kind

FULL: Final = Sizes(posts=800, epochs=10, pretraining=PICTURES, example_posts=600, example_epochs=6)
QUICK: Final = Sizes(posts=80, epochs=2, pretraining=64, example_posts=24, example_epochs=1)
QUICK_MODELS: Final = ("bilstm", "fusion")
EXAMPLE_MODELS: Final = ("bilstm", "fusion")
FOLDER: Final = "sets"
"""Drawn sets and encoder while the parts run, in that of the report."""


class Declared(msgspec.Struct, frozen=True):
    """What is trained: all ``models`` on the sets of ``kinds`` and the examples, or on a set of one's ``own``."""

    kinds: tuple[Kind, ...]
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    sizes: Sizes
    own: Own | None = None
    examples: bool = True

    @property
    def text_of(self) -> Mapping[str, str]:
        """The text model of each multimodal one."""
        return self.own.text_of if self.own else drawn.TEXT_OF


class Found(msgspec.Struct, frozen=True):
    """The table, and that of the six example posts, which has tests of its own."""

    results: Results
    examples: Results | None


def run(declared: Declared, out: Path, *, resume: bool, workers: int | None = None) -> Found:
    """Run it, or what an earlier run in ``out`` left, and write its report. Raises ``Failure``."""
    facts = _facts(declared)
    jobs = {job.name: job for job in jobs_of(declared)}
    # Which models and seeds are wanted is told by the names of parts; the rest decides what a part gives.
    digest = digest_of(facts, declared.sizes, declared.own, drawn.MODELS)
    folder = out / FOLDER / digest
    plan = Plan(digest, tuple(jobs), partial(_part, declared, jobs, str(folder)), Run)
    parts = running.run(plan, out, resume=resume, workers=workers)
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    found = _results(declared, jobs, parts)
    facts |= {"seeds": declared.seeds, "sizes": declared.sizes, "models": _settings(declared)}
    runs = {name: msgspec.structs.replace(part, counts={}) for name, part in parts.items()}
    figures = {"kind": "ablation", "facts": facts, "found": found, "trainings": runs}
    running.write(out, ablation_report.report(found.results, found.examples, facts), figures)
    return found


def jobs_of(declared: Declared) -> Iterator[Job]:
    """The trainings, the longest first."""
    if declared.own:
        roles = ablation_own.roles_of(declared.own)
        for seed in declared.seeds:
            yield from (Job(declared.own.name, model, pictures, seed) for model, pictures in roles)
        return
    if declared.examples:
        for model in EXAMPLE_MODELS:
            yield from (Job(EXAMPLES, model, pictures, declared.seeds[0]) for pictures in _pictures_of(model))
    for seed in declared.seeds:
        for kind in declared.kinds:
            for model in sorted(declared.models, key=lambda model: model not in ("umt", "transformer")):
                yield from (Job(kind, model, pictures, seed) for pictures in _pictures_of(model))


def _pictures_of(model: str) -> tuple[Pictures, ...]:
    if not model_type(drawn.MODELS[model]["family"]).sees_pictures:
        return ("removed",)
    return ("own", "constant") if model in drawn.TEXT_OF else ("own",)


def _part(declared: Declared, jobs: Mapping[str, Job], folder: str, name: str, told: Told) -> Run:
    """A training and its scores. Raises ``Failure``."""
    job = jobs[name]
    with trainings.failures():
        runs = [
            run_of(settings, job.model, job.pictures, test, told) for settings, test in _trials(declared, job, folder)
        ]
        return joined(runs) if len(runs) > 1 else runs[0]


def _trials(declared: Declared, job: Job, folder: str) -> list[Trial]:
    if declared.own:
        return [own_trial(Path(folder), job, declared.sizes, declared.own)]
    if job.set == EXAMPLES:
        return example_trials(Path(folder), job, declared.sizes)
    return [drawn_trial(Path(folder), job, declared.sizes)]


def _results(declared: Declared, jobs: Mapping[str, Job], parts: Mapping[str, Run]) -> Found:
    order = list(declared.own.models if declared.own else drawn.MODELS)
    by_set: dict[str, list[Run]] = {}
    for name, job in sorted(jobs.items(), key=lambda item: order.index(item[1].model)):
        by_set.setdefault(job.set, []).append(parts[name])
    examples = by_set.pop(EXAMPLES, None)
    return Found(
        results_of(by_set, declared.text_of, SET_SEED),
        results_of({EXAMPLES: examples}, declared.text_of, SET_SEED) if examples else None,
    )


def _facts(declared: Declared) -> dict[str, Any]:
    if declared.own is None:
        return {**trainings.facts(), "data": trainings.digests(DEMO_FILE), "set_seed": SET_SEED}
    own = declared.own
    return {
        **trainings.facts(),
        "data": trainings.digests(Path(own.train), Path(own.data)),
        "posts_with_pictures": ablation_own.check(own),
        "set_seed": SET_SEED,
    }


def _settings(declared: Declared) -> dict[str, Any]:
    """The settings of each model, without the places of files."""
    if declared.own is None:
        return {name: drawn.MODELS[name] for name in declared.models}
    trees = {name: msgspec.to_builtins(one) for name, one in declared.own.models.items()}
    return {name: {key: tree[key] for key in tree if key not in ("data", "picture")} for name, tree in trees.items()}
