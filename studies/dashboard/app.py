"""The WSGI application of the dashboard: Optuna's own, with access control and our amendments."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

import optuna
from optuna.storages import BaseStorage

from nas_sv2.database.database import Database
from nas_sv2.errors import NasError
from nas_sv2.studies.dashboard.view import StudyView
from nas_sv2.studies.findings.attributes import IDENTITY, KEY
from nas_sv2.studies.storage.certificate_store import CertificateStore
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import store_errors

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
        identity = study.user_attrs.get(IDENTITY, {})
        key = identity.get(KEY)
        if key is None:
            return StudyView(study, self.db.shown)
        records = RecordStore(self.db, key).all()
        certificate = None
        if records:
            trained = next(iter(records.values())).evaluation
            certificates = CertificateStore(self.db)
            space = identity.get("space_digest", "")
            certificate = certificates.find(trained.recipe_digest, trained.data, space)
        return StudyView(study, self.db.shown, records, certificate)


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
