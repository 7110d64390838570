"""Our server of the Optuna dashboard, on the database of the studies.

By default it can be reached from this machine alone. On any other address it is read-only.
"""

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from optuna.storages import get_storage
from optuna_dashboard import wsgi

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.studies.dashboard.app import Dashboard
from nas_sv2.studies.dashboard.artifacts import ArtifactFolder
from nas_sv2.studies.storage.study import optuna_storage

HOST = "127.0.0.1"  # this machine alone; a user may add a tunnel


@dataclass(frozen=True)
class Served:
    """A dashboard that listens.

    Attributes:
        server: Server, which accepts connections already.
        url: Address for the browser.
        exposes: Warning about access by others; empty if only this machine has access.
    """

    server: WSGIServer
    url: str
    exposes: str

    def serve(self) -> None:
        """Answer requests until interrupted."""
        with self.server, suppress(KeyboardInterrupt):
            self.server.serve_forever()


def open_dashboard(db: Database, port: int, host: str = HOST, names: Sequence[str] = ()) -> Served:
    """Start the dashboard of a database, so that it accepts connections.

    Args:
        db: Database of the studies.
        port: Port to listen on; 0 for any free port.
        host: Address to listen on.
        names: Host names that others may use besides its addresses and `host`.

    Raises:
        ConfigError: If there is no such database, or the address or port cannot be used.
        StoreError: If the database cannot be read.
    """
    db.require()
    studies = optuna_storage(db)
    family, address = _address(host)
    exposed = not ip_address(address.partition("%")[0]).is_loopback
    if names and not exposed:
        allowed = "needs a host: without one the dashboard is for this machine only"
        raise ConfigError("server_name", ", ".join(names), allowed)
    dashboard = Dashboard(
        wsgi(studies, artifact_store=ArtifactFolder.of_database(db)),
        get_storage(studies),
        db,
        exposed,
        frozenset(name.lower() for name in (host, *names)),
    )
    server = _listening(address, port, family)
    server.set_app(dashboard)
    url = f"http://{f'[{address}]' if ':' in address else address}:{server.server_port}"
    return Served(server, url, _exposes(url, db.shown) if exposed else "")


def _exposes(url: str, storage: str) -> str:
    return (
        f"open to everybody who reaches {url} (by an address or a server name): without a "
        f"password they can read every study in {storage}, its notes, files and attributes, host "
        "names among them. Nobody can change anything there, nor can you. For access by yourself "
        "alone, give no host and use a tunnel: ssh -L 8080:127.0.0.1:8080 HOST"
    )


def _address(host: str) -> tuple[int, str]:
    """Resolve `host` once, so that the address that is checked is the one listened on."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError("host", host, f"must be an address of this machine ({error})") from None
    family, _, _, _, address = found[0]
    return family, str(address[0])


def _listening(address: str, port: int, family: int) -> WSGIServer:
    # A browser opens connections that it may never use, and one thread would wait for them.
    kind = type(
        "Server",
        (ThreadingMixIn, WSGIServer),
        {"address_family": family, "daemon_threads": True},
    )
    quiet = type("Quiet", (WSGIRequestHandler,), {"log_message": lambda *said: None})
    try:
        server: WSGIServer = kind((address, port), quiet)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
            raise ConfigError("host", address, "must be an address of this machine") from None
        raise ConfigError("port", port, f"must be a free port ({error})") from None
    return server
