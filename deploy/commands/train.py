"""The command ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from deploy import trainfile
from deploy.commands.common import JsonOption, print_json, reports_failures
from deploy.errors import Failure, UsageFailure

CONFIG = "config.yaml"
"""In a run's folder: the configuration as it is used."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: weibowatch train --config nlp/configs/bilstm.yaml --out runs/bilstm --seed 2")(train)


@reports_failures
def train(
    config: Annotated[
        Path | None, typer.Option("--config", help="What to train on what, YAML (docs/training.md).", dir_okay=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run.", show_default="runs/NAME", file_okay=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, exactly.")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="key=value over the file: --set loop.epochs=5. Repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Over the file's seed.", min=0)] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda, over the file's.")] = None,
    json: JsonOption = False,
) -> None:
    """Train a tagger: texts, or texts with pictures, of any family. The model is in the run's folder model."""
    if resume and config is None and out is not None:
        config = out / CONFIG
    if config is None:
        raise UsageFailure("name what to train: --config FILE, or --resume --out RUN. Examples are in nlp/configs")
    tree = trainfile.read(config)
    changes = [*(assignments or []), *_over("seed", seed), *_over("device", device)]
    trainfile.put(tree, changes)
    folder = out or Path("runs") / str(tree.get("name") or tree.get("family") or "run")
    card = _trained(tree, str(config), folder, resume=resume)
    if json:
        print_json({"model": str(folder / "model"), "scores": card["scores"], "minutes": card["minutes"]})
        return
    micro = card["scores"]["micro"]
    typer.echo(f"{folder / 'model'}: dev F1 {micro['f1']:.4f}, {card['minutes']} minutes")


def _over(name: str, value: Any) -> list[str]:
    return [] if value is None else [f"{name}={value}"]


def _trained(tree: dict[str, Any], where: str, folder: Path, *, resume: bool) -> dict[str, Any]:
    """Run it; the card as plain values."""
    try:
        from nlp.artifact import ArtifactError
        from nlp.backbones import BackboneError
        from nlp.datasets import DatasetError
        from nlp.training.checkpoints import CHECKPOINT
        from nlp.training.errors import OtherConfiguration, TrainingError
        from nlp.training.report import Report
        from nlp.training.run import holds_run
    except ImportError as error:
        raise _missing(error) from error
    if not resume and holds_run(folder):
        raise UsageFailure(f"{folder} holds a run. Go on with it: --resume; or name another folder with --out")
    work = trainfile.work_of(tree, where)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / CONFIG
        before = kept.read_bytes() if kept.exists() else None
        if before is None or not (_last_part(tree, folder) / CHECKPOINT).exists():
            kept.write_text(trainfile.written(tree), encoding="utf-8")
        try:
            with Report() as report:
                found: dict[str, Any] = msgspec.to_builtins(work(folder, report, resume=resume))
        except OtherConfiguration:
            if before is not None:
                kept.write_bytes(before)
            raise
        return found
    except (TrainingError, BackboneError, ArtifactError, DatasetError) as error:
        raise Failure(str(error)) from error
    except ImportError as error:
        raise _missing(error) from error
    except OSError as error:
        raise Failure(f"{error.filename or folder}: {error.strerror or error}") from error
    except KeyboardInterrupt as error:
        raise Failure(f"stopped. Go on with: weibowatch train --resume --out {folder}") from error


def _last_part(tree: dict[str, Any], folder: Path) -> Path:
    """Where what a run does last is kept. Once that has begun, nothing in its configuration may change."""
    if tree["family"] == "towers":
        return folder / "training"
    stages = tree.get("stages") or []
    return folder / f"{len(stages)}-{stages[-1]['name']}" if stages else folder


def _missing(error: ImportError) -> Failure:
    what = f"{error.name} is missing" if error.name else str(error)
    return Failure(f"{what}. Install: pip install 'weibowatch[train]'")
