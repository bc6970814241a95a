"""``weibowatch kibana``: what Kibana imports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.commands.common import ConfigOption, reports_failures, settings_for
from deploy.errors import Failure


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command(epilog="Example: weibowatch kibana --out weibowatch.ndjson")(kibana)


@reports_failures
def kibana(
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write.", dir_okay=False, show_default="standard output")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Cluster mode: data views, saved searches and a dashboard for Kibana 8 and 9, for the indices of the settings.

    Import it in Kibana under Stack Management, Saved Objects, Import.
    """
    from deploy.kibana.objects import ndjson

    text = ndjson(settings_for(config).elastic.prefix)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{out}: {error.strerror}. Choose another --out.") from error
    typer.echo(f"{out}: {len(text.splitlines()) - 1} saved objects")
