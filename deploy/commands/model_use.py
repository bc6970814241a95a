"""``weibowatch model use``: another model for a monitor that runs."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Annotated, Any

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

AHEAD_S = 30.0
"""How long workers of the cluster mode have to load a model before it is ordered."""


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
    ahead: Annotated[
        float,
        typer.Option("--ahead", min=0, max=3600, help="Cluster: seconds that workers have to load it first."),
    ] = AHEAD_S,
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
    cluster = in_cluster(store, cluster)
    settings = settings_for(config)
    model = Model() if folder is None else _checked(settings, folder)
    if cluster:
        epoch = _order_in_cluster(settings, model, ahead)
    else:
        epoch = _order_in_store(store, config, model)
    if json:
        print_json({"model": model.version, "folder": model.folder, "epoch": epoch})
    elif cluster:
        typer.echo(f"{model.version or 'the model of the settings'}: in force for all posts that come now")
    else:
        typer.echo(
            f"{model.version or 'the model of the settings'}: handed over; a running weibowatch loads it and then uses "
            "it, else the next run does"
        )


def _checked(settings: Settings, folder: Path) -> Any:
    """The model in ``folder``, which can be loaded here. Raises ``ModelError``."""
    from deploy import wiring
    from stream.core.models import Model

    path = folder.absolute()
    tagger = wiring.load_tagger(settings, path)
    return Model(str(path), tagger.model_version.partition("+")[0])


def _order_in_store(store: Path | None, config: Path | None, model: Any) -> int:
    from stream.core.models import Order, control
    from stream.runtime.sqlite_in_force import model_in_force

    with contextlib.closing(read_only(existing_database(store, config))) as connection:
        order = Order(model_in_force(connection).epoch + 1, model)
    drop_in_inbox(store_directory(store, config), [(control(order), None)])
    return order.epoch


def _order_in_cluster(settings: Settings, model: Any, ahead_s: float) -> int:
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
