"""Our server of the Optuna dashboard: Optuna's own application, with access control and our view.

Every request needs the token of the printed address: on a shared machine, all users reach its
loopback address. It shows only, unless it is started for changes on that address.
"""

import errno
import hashlib
import json
import re
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import optuna
from optuna.storages import BaseStorage, get_storage
from optuna_dashboard import wsgi

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, NasError
from nas_sv2.studies.dashboard.artifacts import ArtifactFolder, delete_whole
from nas_sv2.studies.dashboard.view import StudyView
from nas_sv2.studies.findings.attributes import IDENTITY, KEY, key_of
from nas_sv2.studies.storage.catalog import check_unused
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.study import optuna_storage, store_errors

HOST = "127.0.0.1"  # this machine alone; a user may add a tunnel


@dataclass(frozen=True)
class Served:
    """A dashboard that listens.

    Attributes:
        server: Server, which accepts connections already.
        url: Address for the browser, with the token that opens the dashboard.
        exposes: Warning about access by others; empty if only this machine has access.
    """

    server: WSGIServer
    url: str
    exposes: str

    def serve(self) -> None:
        """Answer requests until interrupted."""
        with self.server, suppress(KeyboardInterrupt):
            self.server.serve_forever()


def open_dashboard(
    db: Database, port: int, host: str = HOST, names: Sequence[str] = (), *, write: bool = False
) -> Served:
    """Start the dashboard of a database, so that it accepts connections.

    Args:
        db: Database of the studies.
        port: Port to listen on; 0 for any free port.
        host: Address to listen on.
        names: Host names that others may use besides its addresses and `host`.
        write: Whether studies can be renamed, annotated and deleted; never by other machines.

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
    if write and exposed:
        raise ConfigError("host", host, "must be this machine's own to take changes")
    dashboard = Dashboard(
        wsgi(studies, artifact_store=ArtifactFolder.of_database(db)),
        get_storage(studies),
        db,
        Door(write, exposed, frozenset(name.lower() for name in (host, *names))),
    )
    server = _listening(address, port, family)
    server.set_app(dashboard)
    url = f"http://{f'[{address}]' if ':' in address else address}:{server.server_port}"
    exposes = _exposes(url, db.shown) if exposed else ""
    return Served(server, f"{url}/?{TOKEN}={dashboard.door.token}", exposes)


def _exposes(url: str, storage: str) -> str:
    return (
        f"{url} can be reached by other machines, and nothing on the way is encrypted: whoever "
        f"has the address with its token can read every study in {storage}, its notes, files and "
        "attributes, host names among them. Nobody can change anything there, nor can you. For "
        "access by yourself alone, give no host and use a tunnel: "
        "ssh -L 8080:127.0.0.1:8080 HOST"
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
TOKEN = "token"
"""Name of the token in the query of the printed address."""

Environment = dict[str, Any]
Headers = list[tuple[str, str]]
StartResponse = Callable[..., Any]
App = Callable[[Environment, StartResponse], Iterable[bytes]]

_STUDY = re.compile(r"/api/studies/(\d{1,9})/*")
_RENAMED = re.compile(r"/api/studies/(\d{1,9})/rename/*")
_FILE = re.compile(r"/artifacts/(\d{1,9})/(\d{1,9})/([0-9a-f-]+)/*")
_PAGES = ("/dashboard", "/static/", "/api/", "/csv/", "/favicon.ico")
"""How the paths of the dashboard's own content begin; all other content is somebody's file."""
GUARDS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILE_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class Door:
    """Decides which requests are answered.

    Every user of this machine reaches its loopback address, and a page elsewhere on the web can
    send requests there through the browser. So each request needs the token of the printed
    address. The browser keeps it as a cookie, which scripts cannot read.

    Attributes:
        write: Whether changes are taken.
        exposed: Whether other machines can reach the dashboard.
        names: Host names, in lower case, that others may use besides its addresses if exposed.
        token: Secret of this start of the dashboard.
    """

    write: bool
    exposed: bool
    names: frozenset[str] = frozenset()
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)

    @property
    def cookie(self) -> str:
        """Name of the cookie; cookies of other ports of a host are sent here too."""
        return "nas-sv2-" + hashlib.sha256(self.token.encode()).hexdigest()[:8]

    def refusal(self, environ: Environment) -> str:
        """Return the reason for refusing a request; empty if it is answered."""
        method = environ["REQUEST_METHOD"]
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        # A foreign page can point its own host name at our address (DNS rebinding), so only
        # addresses and known names are allowed. It can also send forms here, although it cannot
        # read the answers, so its origin is checked as well.
        called = _called(host)
        local = called == LOCAL or (_is_address(called) and ip_address(called).is_loopback)
        known = local or (self.exposed and (_is_address(called) or called in self.names))
        if not known:
            return (
                f"this dashboard is not called {called!r}: use its address, or start it with "
                "every host name that it has"
            )
        if not (self.brings_token(environ) or self._has_cookie(environ)):
            return "this dashboard needs the address that nas-sv2 printed, with its token"
        if method in SHOWING:
            return ""
        if not self.write:
            return "this dashboard is read-only: start it with --write for changes"
        ours = origin is None or origin == f"http://{host}"
        return "" if ours else "this dashboard takes changes from its own pages only"

    def brings_token(self, environ: Environment) -> bool:
        """Whether the query of a request has the token."""
        given = parse_qs(environ.get("QUERY_STRING", "")).get(TOKEN, [])
        return any(map(self._is_token, given))

    def let_in(self, environ: Environment) -> Headers:
        """Return headers that keep the token as a cookie and lead to the path without it."""
        query = parse_qsl(environ.get("QUERY_STRING", ""))
        rest = urlencode([(name, value) for name, value in query if name != TOKEN])
        path = "/" + quote(environ.get("PATH_INFO", "").lstrip("/"), encoding="latin-1")
        # Lax, because a link in another program's page shall open the dashboard.
        kept = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax"
        return [("Location", path + ("?" + rest if rest else "")), ("Set-Cookie", kept)]

    def _has_cookie(self, environ: Environment) -> bool:
        pairs = (each.strip().partition("=") for each in environ.get("HTTP_COOKIE", "").split(";"))
        return any(name == self.cookie and self._is_token(value) for name, _, value in pairs)

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())


@dataclass(frozen=True)
class Dashboard:
    """Optuna's WSGI application with access control, and with our view of our studies.

    Attributes:
        inner: Optuna's own application.
        storage: Optuna's storage of the studies.
        db: Database with the records.
        door: Decides which requests are answered.
    """

    inner: App
    storage: BaseStorage
    db: Database
    door: Door

    def __call__(self, environ: Environment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        respond = _guarded(start_response, environ.get("PATH_INFO", ""))
        refusal = self.door.refusal(environ)
        if refusal:
            return _answer(respond, "403 Forbidden", {"reason": refusal})
        if environ["REQUEST_METHOD"] in SHOWING and self.door.brings_token(environ):
            respond("303 See Other", [*self.door.let_in(environ), ("Content-Length", "0")])
            return []
        try:
            with store_errors():
                return self._content(environ, respond)
        except ConfigError as error:
            return _answer(respond, "409 Conflict", {"reason": str(error)})
        except NasError as error:
            return _answer(respond, "500 Internal Server Error", {"reason": str(error)})

    def _content(self, environ: Environment, respond: StartResponse) -> Iterable[bytes]:
        """Answer a request that is allowed.

        Raises:
            ConfigError: If a search is running on the study that is to be changed.
        """
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if method == "GET" and (match := _STUDY.fullmatch(path)):
            return self._study(int(match[1]), environ, respond)
        if method == "GET" and (match := _FILE.fullmatch(path)):
            found = self._file(int(match[1]), int(match[2]), match[3])
            if found is not None:
                return _file_answer(respond, *found)
        if method == "DELETE" and (match := _STUDY.fullmatch(path)) and self._key(match[1]):
            delete_whole(self.db, self.storage.get_study_name_from_id(int(match[1])))
            respond("204 No Content", [])
            return []
        if method == "POST" and (match := _RENAMED.fullmatch(path)) and self._key(match[1]):
            name = self.storage.get_study_name_from_id(int(match[1]))
            check_unused(self.db, name, self._key(match[1]))
        return self.inner(environ, respond)

    def _key(self, study_id: str) -> str:
        """Return the key of a study's records; empty if there is none, as of another program."""
        try:
            attributes = self.storage.get_study_user_attrs(int(study_id))
        except KeyError:
            return ""
        return str(attributes.get(IDENTITY, {}).get(KEY, ""))

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
        ours = key_of(study.user_attrs) is not None
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


def _guarded(start_response: StartResponse, path: str) -> StartResponse:
    """Return `start_response` with headers that keep others' pages and files from acting here."""
    ours = path == "/" or path.startswith(_PAGES)
    more = {**GUARDS, "Content-Security-Policy": _PAGE_POLICY if ours else _FILE_POLICY}
    if not ours:
        more["Content-Disposition"] = "attachment"
    replaced = {"access-control-allow-origin", *map(str.lower, more)}

    def respond(status: str, headers: Headers, *error: Any) -> Any:
        kept = [(name, value) for name, value in headers if name.lower() not in replaced]
        return start_response(status, [*kept, *more.items()], *error)

    return respond


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
    ]
    start_response("200 OK", headers)
    return [content]
