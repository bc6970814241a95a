"""The experiment on errors: tag the posts, look at what is wrong, write it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from deploy.experiments import running
from deploy.experiments.parts import Plan
from deploy.experiments.subject import Subject, digest_of, examples_of, facts_of, tagger_of
from deploy.experiments.tagging import Tagging, tag
from nlp.experiments import errors_report
from nlp.experiments.error_results import Results, results_of

PART = "posts"


def run(subject: Subject, out: Path, *, top: int, seed: int, resume: bool, workers: int | None = None) -> Results:
    """Run it, or take what an earlier run in ``out`` left, and write its report. Raises ``Failure``, ``ModelError``."""
    examples = examples_of(subject)
    facts = facts_of(subject, tagger_of(subject))
    plan = Plan(digest_of(facts, subject.images), (PART,), partial(tag, subject), Tagging)
    tagging = running.run(plan, out, resume=resume, workers=workers)[PART]
    facts |= {"seed": seed, "top": top, "pictures_left_out": tagging.pictures_left_out}
    found = results_of(examples, tagging.found, top, seed)
    every = {"kind": "errors", "facts": facts, "results": found}
    running.write(out, errors_report.report(found, examples, tagging.found, facts), every)
    return found
