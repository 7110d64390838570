"""`dashboard`: the studies of a database in Optuna's dashboard."""

import sys
from typing import Annotated

import typer

from nas_sv2.commands.options import STORAGE, Storage, open_database


def dashboard(
    storage: Storage = STORAGE,
    port: Annotated[
        int, typer.Option("--port", help="Port to listen on.", min=1, max=65535)
    ] = 8080,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen on; an address other than this machine's own opens it to all.",
        ),
    ] = "127.0.0.1",
    server_name: Annotated[
        list[str] | None,
        typer.Option(
            "--server-name",
            help="With --host, a host name that others use for this machine; repeatable.",
        ),
    ] = None,
) -> None:
    """Open the Optuna dashboard on the studies, for this machine only by default."""
    from nas_sv2.api.dashboards import open_dashboard

    opened = open_dashboard(open_database(storage), port, host, server_name or [])
    if opened.exposes:
        print(f"nas-sv2: {opened.exposes}", file=sys.stderr)
    print(f"{opened.url}  (Ctrl-C ends it)", flush=True)
    opened.serve()
