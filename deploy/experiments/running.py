"""Run an experiment with bars for its parts, and write what it gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from rich.console import Console
from rich.progress import Progress

from deploy.experiments.parts import PartStore, Plan, run_parts
from stream.report import pages

P = TypeVar("P")

BARS_MAX: Final = 12
"""Parts that have a bar all the time; of more, those that run have one, and all together."""


def run(plan: Plan[P], out: Path, *, resume: bool, workers: int | None = None) -> dict[str, P]:
    """Every part by its name: run now, or with ``resume`` kept in ``out`` from before. Raises what its work raises."""
    store = PartStore(out, plan.digest, plan.made)
    found: dict[str, P] = {}
    few = len(plan.names) <= BARS_MAX
    with Progress(console=Console(stderr=True)) as progress:
        every = progress.add_task("all parts", total=len(plan.names), visible=not few)
        tasks = {name: progress.add_task(name, total=None, visible=few) for name in plan.names}

        def told(name: str, done: int, total: int) -> None:
            if name not in found:
                progress.update(tasks[name], completed=done, total=total, visible=True)

        def done(name: str, part: P) -> None:
            found[name] = part
            progress.update(tasks[name], completed=1, total=1, visible=few)
            progress.advance(every)

        def done_now(name: str, part: P) -> None:
            store.keep(name, part)
            done(name, part)

        kept = {name: part for name in plan.names if resume and (part := store.kept(name)) is not None}
        for name, part in kept.items():
            done(name, part)
        missing = [name for name in plan.names if name not in kept]
        run_parts(plan.work, missing, told, done_now, workers)
    return {name: found[name] for name in plan.names}


def write(folder: Path, report: pages.Report, figures: Any) -> None:
    """``report.html``, ``report.md`` with ``plots/``, and ``figures.json``."""
    (folder / pages.PLOTS).mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(pages.page(report), encoding="utf-8")
    (folder / "report.md").write_text(pages.markdown(report), encoding="utf-8")
    for name, svg in pages.plots_of(report).items():
        (folder / pages.PLOTS / name).write_text(svg, encoding="utf-8")
    (folder / "figures.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1))
