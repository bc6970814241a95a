"""``weibowatch model convert`` and ``model logits``: checkpoints of other implementations, and raw scores."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from deploy.commands.common import JsonOption, needs_torch, print_json, reports_failures
from deploy.commands.model_group import model_app
from deploy.errors import Failure, UsageFailure


def register() -> None:
    """Add the commands of this file to the group of models."""
    model_app.command(
        "convert", epilog="Example: weibowatch model convert --from umt.pt --architecture umt --to models/reference-umt"
    )(model_convert)
    model_app.command(
        "logits",
        epilog="Example: weibowatch model logits --model models/reference-umt --input in.npz --output out.npz",
    )(model_logits)


@reports_failures
def model_convert(
    source: Annotated[
        Path, typer.Option("--from", help="Checkpoint of the reference code: .pt or .safetensors.", dir_okay=False)
    ],
    architecture: Annotated[str, typer.Option("--architecture", help="aca or umt.")],
    target: Annotated[Path, typer.Option("--to", help="Folder of the model; written.", file_okay=False)],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="JSON with what shapes do not tell: n_heads, region_layout, map_layer, labels.",
            show_default="what the checkpoint suggests",
            dir_okay=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a model folder of a checkpoint with the reference's names for weights (docs/models.md)."""
    if architecture not in ("aca", "umt"):
        raise UsageFailure(f"--architecture {architecture}: expected aca or umt")
    kind: Literal["aca", "umt"] = "aca" if architecture == "aca" else "umt"
    with needs_torch():
        from nlp import backbones, reference
        from nlp.models import families
    try:
        made = reference.convert(backbones.read_weights(source), kind, _options(config, reference.Options))
        target.mkdir(parents=True, exist_ok=True)
        families.save_model(target, made.model, kind, made.labels)
    except reference.CheckpointError as error:
        raise Failure(f"{source}: {error}") from error
    except backbones.BackboneError as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"{error.filename or target}: cannot be written ({error.strerror})") from error
    if json:
        settings = msgspec.to_builtins(made.model.settings)
        print_json({"model": str(target), "settings": settings, "labels": made.labels, "left_out": made.left_out})
        return
    typer.echo(f"{target}: {kind} with the labels {', '.join(made.labels)}")
    if made.left_out:
        typer.echo(f"left out, no tagger reads them: {', '.join(made.left_out)}")


@reports_failures
def model_logits(
    model: Annotated[Path, typer.Option("--model", help="Model folder of family aca or umt.", file_okay=False)],
    source: Annotated[
        Path,
        typer.Option(
            "--input",
            help="Arrays: word_ids, char_ids, mask, regions for aca; input_ids, attention_mask, feature_maps for umt.",
            dir_okay=False,
        ),
    ],
    target: Annotated[Path, typer.Option("--output", help="Arrays to write: logits, tags.", dir_okay=False)],
) -> None:
    """The raw scores that the main CRF sees and its best path, to compare implementations (docs/models.md)."""
    with needs_torch():
        import numpy as np

        from nlp.artifact import ArtifactError
        from nlp.raw_scores import InputError, raw_scores
    try:
        found = raw_scores(model, _arrays(source))
    except InputError as error:
        raise Failure(f"{source}: {error}") from error
    except ArtifactError as error:
        raise Failure(str(error)) from error
    try:
        # Through a handle: numpy would add .npz to another name.
        with target.open("wb") as handle:
            np.savez(handle, logits=found["logits"], tags=found["tags"])
    except OSError as error:
        raise Failure(f"{target}: cannot be written ({error.strerror})") from error


def _options(config: Path | None, kind: type[Any]) -> Any:
    """The options in a JSON file; without one, none."""
    if config is None:
        return kind()
    try:
        return msgspec.json.decode(config.read_bytes(), type=kind)
    except OSError as error:
        raise Failure(f"{config}: cannot be read ({error.strerror})") from error
    except msgspec.DecodeError as error:
        fields = ", ".join(kind.__struct_fields__)
        raise Failure(f"{config}: {error}; expected a JSON object of {fields}, all optional") from error


def _arrays(path: Path) -> dict[str, Any]:
    """The arrays of an .npz file, never with code in it."""
    import numpy as np

    try:
        held = np.load(path, allow_pickle=False)
        if not isinstance(held, np.lib.npyio.NpzFile):
            raise Failure(f"{path}: expected an .npz file with named arrays")
        with held:
            return {name: held[name] for name in held.files}
    except OSError as error:
        raise Failure(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise Failure(f"{path}: no readable .npz file: {error}") from error
