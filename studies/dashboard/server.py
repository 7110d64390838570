"""Our server of the Optuna dashboard: Optuna's own application, with access control and our view.

By default it can be reached from this machine alone. On any other address it is read-only.
"""

import errno
import json
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import optuna
from optuna.storages import BaseStorage, get_storage
from optuna_dashboard import wsgi

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, NasError
from nas_sv2.studies.dashboard.artifacts import ArtifactFolder
from nas_sv2.studies.dashboard.view import StudyView
from nas_sv2.studies.findings.attributes import IDENTITY, KEY
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.study import optuna_storage, store_errors

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


SHOWING = {"GET", "HEAD"}
LOCAL = "localhost"

Environment = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environment, StartResponse], Iterable[bytes]]

_STUDY = re.compile(r"/api/studies/(\d+)/*")
_FILE = re.compile(r"/artifacts/(\d+)/(\d+)/([0-9a-f-]+)/*")


@dataclass(frozen=True)
class Dashboard:
    """Optuna's WSGI application with access control, and with our view of our studies.

    Attributes:
        inner: Optuna's own application.
        storage: Optuna's storage of the studies.
        db: Database with the records.
        exposed: Whether other machines can reach the dashboard.
        names: Host names, in lower case, that others may use besides its addresses if exposed.
    """

    inner: App
    storage: BaseStorage
    db: Database
    exposed: bool
    names: frozenset[str] = frozenset()

    def __call__(self, environ: Environment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        refusal = self._refusal(method, host, origin)
        if refusal:
            return _answer(start_response, "403 Forbidden", {"reason": refusal})
        try:
            with store_errors():
                if method == "GET" and (match := _STUDY.fullmatch(path)):
                    return self._study(int(match[1]), environ, start_response)
                if method == "GET" and (match := _FILE.fullmatch(path)):
                    found = self._file(int(match[1]), int(match[2]), match[3])
                    if found is not None:
                        return _file_answer(start_response, *found)
        except NasError as error:
            return _answer(start_response, "500 Internal Server Error", {"reason": str(error)})
        return self.inner(environ, start_response)

    def _refusal(self, method: str, host: str, origin: str | None) -> str:
        """Return the reason for refusing a request; empty if it is answered."""
        # A foreign page can point its own host name at our address (DNS rebinding), so only
        # addresses and known names are allowed. It can also send forms here, although it cannot
        # read the answers, so its origin is checked as well.
        called = _called(host)
        if self.exposed:
            if not (_is_address(called) or called == LOCAL or called in self.names):
                return (
                    f"this dashboard is not called {called!r}: use its address, or start it with "
                    "every host name that it has"
                )
            return "" if method in SHOWING else "this dashboard is open to others and read-only"
        ours = method in SHOWING or origin is None or origin == f"http://{host}"
        local = called == LOCAL or (_is_address(called) and ip_address(called).is_loopback)
        return "" if local and ours else "this dashboard is for this machine only"

    def _study(
        self, study_id: int, environ: Environment, start_response: StartResponse
    ) -> Iterable[bytes]:
        after = parse_qs(environ.get("QUERY_STRING", "")).get("after", ["0"])[0]
        if not after.isdecimal():
            return self.inner(environ, start_response)
        seen: list[Any] = []
        whole = {**environ, "QUERY_STRING": ""}
        body = self.inner(whole, lambda *status: seen.append(status))
        content = b"".join(body)
        status, headers = seen[-1][:2]
        if not status.startswith("200"):
            start_response(status, headers)
            return [content]
        try:
            view = self._view(study_id)
        except KeyError:  # deleted in the meantime
            return _answer(start_response, "404 Not Found", {"reason": "the study is gone"})
        return _answer(start_response, status, view.amend(json.loads(content), int(after)))

    def _file(self, study_id: int, trial_id: int, wanted: str) -> tuple[str, bytes] | None:
        try:
            number = self.storage.get_trial_number_from_id(trial_id)
            return self._view(study_id).file(number, wanted)
        except KeyError:
            return None

    def _view(self, study_id: int) -> StudyView:
        """Return the study as it is now.

        Raises:
            KeyError: If there is no such study.
        """
        name = self.storage.get_study_name_from_id(study_id)
        study = optuna.load_study(study_name=name, storage=self.storage)
        ours = KEY in study.user_attrs.get(IDENTITY, {})
        return StudyView(study, read_study(self.db, name) if ours else None)


def _called(host: str) -> str:
    """Return the name or address in a request's `Host`, in lower case; empty if there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _answer(start_response: StartResponse, status: str, data: Mapping[str, Any]) -> list[bytes]:
    content = json.dumps(data).encode()
    start_response(
        status, [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    )
    return [content]


def _file_answer(start_response: StartResponse, mimetype: str, content: bytes) -> list[bytes]:
    headers = [
        ("Content-Type", mimetype),
        ("Content-Length", str(len(content))),
        ("X-Content-Type-Options", "nosniff"),
    ]
    start_response("200 OK", headers)
    return [content]
