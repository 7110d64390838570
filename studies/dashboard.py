"""The Optuna dashboard on the database of the studies."""

import socket

from optuna.storages import RDBStorage
from optuna_dashboard import run_server

from nas_sv2.errors import ConfigError
from nas_sv2.studies.study import open_storage, require_database

HOST = "127.0.0.1"  # nobody but this machine; a tunnel is the user's own choice


def dashboard_storage(storage: str, port: int) -> RDBStorage:
    """The opened database, once it is sure that the dashboard can be served.

    Raises:
        ConfigError: There is no such database, or the port is taken.
    """
    require_database(storage)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise ConfigError("--port", port, f"a free port ({error})") from None
    return open_storage(storage)


def serve_dashboard(storage: RDBStorage, port: int) -> None:
    """Serve until interrupted."""
    run_server(storage, host=HOST, port=port)
