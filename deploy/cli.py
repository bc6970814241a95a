"""The command line: ``weibowatch``. Exit codes: 0 done, 1 failed, 2 usage."""

from __future__ import annotations

import typer

from deploy import __version__
from deploy.commands import (
    admin,
    alerts,
    annotate,
    backtest,
    bias,
    cluster,
    data,
    delete,
    experiment,
    experiment_ablation,
    experiment_crosslingual,
    experiment_errors,
    experiment_robustness,
    experiment_slices,
    kibana,
    model,
    model_compare,
    model_group,
    model_promote,
    model_use,
    query,
    run,
    services,
    silences,
    tagger,
    train,
    transfer,
    weibo,
)

app = typer.Typer(
    name="weibowatch",
    help="Watch Weibo: entities in posts and pictures, how they trend, and alerts with evidence.",
    epilog="Start with: weibowatch run --source demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"weibowatch {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Nothing happens before the command."""


run.register(app)
query.register(app)
alerts.register(app)
silences.register(app)
backtest.register(app)
tagger.register(app)
admin.register(app)
delete.register(app)
cluster.register(app)
services.register(app)
kibana.register(app)
transfer.register(app)
train.register(app)
model_group.register(app)
model.register()
model_use.register()
model_compare.register()
model_promote.register()
data.register(app)
bias.register(app)
experiment.register(app)
experiment_ablation.register()
experiment_crosslingual.register()
experiment_errors.register()
experiment_robustness.register()
experiment_slices.register()
annotate.register(app)
weibo.register(app)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
