"""The Optuna dashboard on the database of the studies, shown by our own server.

It listens on this machine alone unless told otherwise, and then it only shows.
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

HOST = "127.0.0.1"  # nobody but this machine; a tunnel is the user's own choice


@dataclass(frozen=True)
class Served:
    """A dashboard that listens.

    Attributes:
        server: Accepts connections already.
        url: Where to look.
        exposes: What others can see, for the user; empty where only this machine can.
    """

    server: WSGIServer
    url: str
    exposes: str

    def serve(self) -> None:
        """Answer until interrupted."""
        with self.server, suppress(KeyboardInterrupt):
            self.server.serve_forever()


def open_dashboard(db: Database, port: int, host: str = HOST, names: Sequence[str] = ()) -> Served:
    """The dashboard on a database, listening.

    Args:
        db: Where the studies are.
        port: Where it listens; 0 for any that is free.
        host: The address that it listens on.
        names: By which others may call it, beside its addresses and `host`.

    Raises:
        ConfigError: There is no such database, or it cannot listen there.
        StoreError: The database cannot be read.
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
        f"open to everybody who reaches {url} (and calls it by an address or a server "
        f"name): without a password they can read every study in {storage}, its notes, files and "
        "attributes, host names among them; they can change nothing, and nor can you there. For "
        "yourself alone give no host and tunnel: ssh -L 8080:127.0.0.1:8080 HOST"
    )


def _address(host: str) -> tuple[int, str]:
    """Family and number of the address that `host` names: the one judged is listened on."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError("host", host, f"must be an address of this machine ({error})") from None
    family, _, _, _, address = found[0]
    return family, str(address[0])


def _listening(address: str, port: int, family: int) -> WSGIServer:
    # A browser opens connections that it may never use: a server of one thread would wait on them.
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
