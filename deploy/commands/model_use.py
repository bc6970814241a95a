"""``weibowatch model use``: another model for a monitor that runs."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from deploy.commands.common import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    StoreOption,
    cluster_libraries,
    existing_database,
    in_cluster,
    print_json,
    reports_failures,
    settings_for,
    store_directory,
)
from deploy.commands.model_group import model_app
from deploy.errors import UsageFailure
from deploy.settings import Settings
from stream.runtime.sqlite import drop_in_inbox, read_only

if TYPE_CHECKING:
    from nlp.evaluate import NamedTagger
    from stream.core.models import Model, Order

AHEAD_S = 30.0
"""How long workers of the cluster mode have to load a model before it is ordered."""

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="Model folder.", file_okay=False)]
AheadOption = Annotated[
    float,
    typer.Option("--ahead", min=0, max=3600, help="Cluster: seconds that workers have to load it first."),
]


def register() -> None:
    """Add the commands of this file to the group of models."""
    model_app.command("use", epilog="Example: weibowatch model use models/umt --store weibowatch-data")(model_use)


@reports_failures
def model_use(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Model folder.", file_okay=False, show_default=False)
    ] = None,
    configured: Annotated[bool, typer.Option("--configured", help="Back to the model of the settings.")] = False,
    store: StoreOption = None,
    cluster: ClusterOption = False,
    ahead: AheadOption = AHEAD_S,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Tag all posts that come from now on with another model, without a stop.

    The monitor loads it while the old one works on. In the cluster mode the folder must be at the same path wherever a
    worker runs, with the same content.
    """
    from stream.core.models import Model

    if (folder is None) != configured:
        raise UsageFailure("name a FOLDER, or --configured")
    place = Place(store, in_cluster(store, cluster), config, ahead)
    model = Model() if folder is None else loaded(settings_for(config), folder)[1]
    epoch = order(place, model)
    if json:
        print_json({"model": model.version, "folder": model.folder, "epoch": epoch})
    else:
        typer.echo(ordered(place, model))


class Place(NamedTuple):
    """Where a model is put in force: a store, or the cluster of the settings, ``ahead_s`` after it was announced."""

    store: Path | None
    cluster: bool
    config: Path | None
    ahead_s: float


def loaded(settings: Settings, folder: Path) -> tuple[NamedTagger, Model]:
    """The tagger in ``folder``, and how an order names it. Raises ``ModelError``."""
    from deploy import wiring
    from stream.core.models import Model

    path = folder.absolute()
    tagger = wiring.load_tagger(settings, path)
    return tagger, Model(str(path), tagger.model_version.partition("+")[0])


def in_force(place: Place) -> Model:
    """The model that was ordered last; an empty one is that of the settings. Raises ``Failure``, ``KafkaProblem``."""
    from stream.core.models import TOPIC, Model, order_in

    if place.cluster:
        with cluster_libraries():
            from deploy import orders
        control = orders.in_force(settings_for(place.config), TOPIC)
        return (order_in(control).model if control else None) or Model()
    return _order_of_store(place).model or Model()


def order(place: Place, model: Model) -> int:
    """Put ``model`` in force; the epoch that begins with it. Raises ``Failure``, ``KafkaProblem``."""
    if place.cluster:
        return _order_in_cluster(settings_for(place.config), model, place.ahead_s)
    return _order_in_store(place, model)


def ordered(place: Place, model: Model) -> str:
    """What has come of an order, for people."""
    name = model.version or "the model of the settings"
    if place.cluster:
        return f"{name}: in force for all posts that come now"
    return f"{name}: handed over; a running weibowatch loads it and then uses it, else the next run does"


def _order_in_store(place: Place, model: Model) -> int:
    from stream.core.models import Order, control

    order = Order(_order_of_store(place).epoch + 1, model)
    drop_in_inbox(store_directory(place.store, place.config), [(control(order), None)])
    return order.epoch


def _order_of_store(place: Place) -> Order:
    from stream.runtime.sqlite_in_force import model_in_force

    with contextlib.closing(read_only(existing_database(place.store, place.config))) as connection:
        return model_in_force(connection)


def _order_in_cluster(settings: Settings, model: Model, ahead_s: float) -> int:
    """Tell the workers which model will come, let them load it, then put it in force."""
    with cluster_libraries():
        from deploy import orders
    from stream.core.models import AHEAD, TOPIC, Order, control, order_in

    if ahead_s > 0:
        orders.announce(settings, control(Order(0, model), AHEAD))
        typer.echo(f"announced; it is put in force in {ahead_s:g} s", err=True)
        time.sleep(ahead_s)
    # Not before: meanwhile somebody else may have ordered one.
    before = orders.in_force(settings, TOPIC)
    order = Order(order_in(before).epoch + 1 if before else 1, model)
    orders.put_in_force(settings, control(order))
    return order.epoch
