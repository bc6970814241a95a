"""``weibowatch model promote``: a model takes the place of the one in force, if it is no worse."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from deploy.commands.common import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    StoreOption,
    in_cluster,
    print_json,
    reports_failures,
    settings_for,
    store_directory,
)
from deploy.commands.model_compare import DataOption, ImagesOption, named, show
from deploy.commands.model_group import model_app
from deploy.commands.model_use import AHEAD_S, AheadOption, FolderArgument, Place, in_force, loaded, order, ordered
from deploy.errors import Failure

if TYPE_CHECKING:
    from deploy.comparison import Compared, Contender
    from deploy.settings import Settings
    from stream.core.models import Model

PROMOTIONS = "promotions.jsonl"


def register() -> None:
    """Add the commands of this file to the group of models."""
    model_app.command("promote", epilog="Example: weibowatch model promote runs/next/model --data dev.txt")(
        model_promote
    )


@reports_failures
def model_promote(
    folder: FolderArgument,
    data: DataOption,
    images: ImagesOption = None,
    margin: Annotated[
        float, typer.Option("--margin", help="How much lower its F1 may be, e.g. 0.005.", min=0, max=1)
    ] = 0.0,
    force: Annotated[bool, typer.Option("--force", help="Whatever speaks against it; the record tells.")] = False,
    record: Annotated[
        Path | None,
        typer.Option(help="File to add a record to.", dir_okay=False, show_default="in the store's folder"),
    ] = None,
    store: StoreOption = None,
    cluster: ClusterOption = False,
    ahead: AheadOption = AHEAD_S,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Compare a model with the one in force, and put it in force unless it is worse.

    Refused, with exit code 1: a lower F1 than --margin allows, a worse one beyond chance, and data that the new model
    was trained on or chosen by. A record with models, digests and figures goes to promotions.jsonl.
    """
    from deploy.comparison import Contender, compared
    from deploy.experiments.subject import Subject

    place = Place(store, in_cluster(store, cluster), config, ahead)
    settings = settings_for(config)
    before = in_force(place)
    tagger, model = loaded(settings, folder)
    subject = Subject(settings=settings, data=data, images=str(images) if images else "")
    found = compared(subject, _contender(settings, before), Contender(tagger, Path(model.folder)))
    if not json:
        show(found)
    against = _objections(found, margin)
    told = {
        "promoted": force or not against, "model": msgspec.to_builtins(model), "before": msgspec.to_builtins(before),
        "objections": against, "forced": force and bool(against), "margin": margin, **msgspec.to_builtins(found),
    }  # fmt: skip
    if against and not force:
        if json:
            print_json(told)
        raise Failure(f"{model.version} is not promoted: {'; '.join(against)}. Anyway: --force")
    if in_force(place) != before:
        raise Failure("meanwhile somebody put another model in force; run it again to compare with that one")
    path = record or store_directory(store, config) / PROMOTIONS
    told = _recorded(path, place, model, told)
    if json:
        print_json(told)
    else:
        typer.echo(f"{ordered(place, model)}\nrecord: {path}")


def _contender(settings: Settings, model: Model) -> Contender:
    """The model in force. Raises ``ModelError``, also where its folder holds another one by now."""
    from deploy import wiring
    from deploy.comparison import Contender
    from deploy.telemetry import Telemetry

    if not model.folder:
        return named(settings, "")
    return Contender(wiring.ModelLoader(settings, None, Telemetry()).in_force(model), Path(model.folder))


def _objections(found: Compared, margin: float) -> list[str]:
    from nlp.experiments.comparing import objections

    used = ["it was trained on this data or chosen by it, so that its scores are too high"] if found.new_knows else []
    return used + objections(found.comparison, margin)


def _recorded(path: Path, place: Place, model: Model, told: dict[str, Any]) -> dict[str, Any]:
    """Put ``model`` in force and add ``told`` to the record with epoch and time; all that was added is returned.

    The record is opened first: a model whose record cannot be kept is not put in force.
    """
    from deploy import wiring

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("ab")
    except OSError as error:
        raise Failure(f"{path}: cannot be written ({error.strerror}); nothing was changed") from error
    with handle:
        line = {"epoch": order(place, model), "at_ms": wiring.now_ms(), **told}
        try:
            handle.write(msgspec.json.encode(line) + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
        except OSError as error:
            raise Failure(f"{model.version} is in force, but {path} cannot be written ({error.strerror})") from error
    return line
