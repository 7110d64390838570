"""The dashboard, served for real."""

import dataclasses
import http.client
import json
import random
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import matplotlib.figure  # noqa: F401  here: fonts are found once, not within a request
import numpy as np
import optuna
import pytest
from browser import BROWSER, NO_BROWSER, browser
from doubles import evaluation_of, latency_of, small_space
from optuna.artifacts import upload_artifact
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from running import running

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.fitting.evaluation import Epoch
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import load_network, lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.dashboard.artifacts import ArtifactFolder
from nas_sv2.studies.dashboard.server import HOST, Served, open_dashboard
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, study_key
from nas_sv2.studies.storage.trial_lease import TrialLeases
from nas_sv2.studies.storage.weights_folder import WeightsFolder

HOSTILE = '"><img src=x onerror=alert(1)> [a](javascript:alert(1)) | `b`'
IDENTITY = {"targets": {"arm": "emulated"}, "space": HOSTILE, "recipe": "fake", "seed": 0}
FOUND = {  # accuracy, ms, beyond the limit
    0: (0.80, 10.0, -0.1),
    1: (0.99, 1.0, 0.2),  # best by far, were it within the limit
    2: (0.85, 12.0, -0.2),
    3: (0.70, 15.0, -0.3),
}
FRONT = {0, 2}
REPEATED, REJECTED, PRUNED, RUNNING = 4, 5, 6, 7


def networks() -> list[Architecture]:
    found = {}
    for seed in range(50):
        architecture = small_space().sample(RandomSuggester(random.Random(seed)))
        found[architecture.digest] = architecture
    return list(found.values())


def record(number: int) -> Record:
    accuracy, ms, excess = FOUND[number]
    architecture = networks()[number]
    history = (Epoch(2.0, 0.1, accuracy / 2, 1.5), Epoch(1.0, 0.1, accuracy, 1.0))
    evaluation = dataclasses.replace(evaluation_of(accuracy), history=history)
    latency = dataclasses.replace(latency_of(ms, HOSTILE), ci_ms=(ms * 0.9, ms * 1.2))
    cost = cost_of(lower(architecture))
    return Record(architecture, cost, {"flops": excess}, {"arm": latency}, evaluation)


def told(study: optuna.Study, excess: float, **attributes: Any) -> optuna.Trial:
    trial = study.ask()
    trial.suggest_int("stage2.width", 16, 64)
    trial.set_constraint("flops", excess)
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    return trial


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ours, with every kind of trial, and two of others."""
    url = f"sqlite:///{tmp_path_factory.mktemp('dashboard') / 'studies.db'}"
    study = create_or_resume(Database.open(url), HOSTILE, IDENTITY, RandomSampler())
    db = Database.open(url)
    db.migrate()
    store = RecordStore(db, study_key(study))
    for number, (accuracy, ms, excess) in FOUND.items():
        store.save(number, record(number))
        study.tell(told(study, excess), [accuracy, ms])
    db.close()
    study.tell(told(study, -0.2, duplicate_of=2), [0.85, 12.0])
    study.tell(told(study, 0.5, rejected_by="flops by <b>50 %</b>"), [0.70, 15.0])
    study.tell(told(study, 0.4, rejected_by="flops by 40 %"), state=TrialState.PRUNED)
    study.ask()
    others = optuna.create_study(storage=url, study_name="constrained")
    for value, excess in ((1.0, 1.0), (2.0, -1.0)):
        others.tell(told(others, excess), value)
    plain = optuna.create_study(storage=url, study_name="plain")
    plain.tell(plain.ask(), 1.0)
    return url


OPENER = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
"""Keeps the cookies of all dashboards, as a browser does."""


@contextmanager
def listening(storage: str, *args: Any, **options: Any) -> Iterator[Served]:
    """A dashboard that answers requests."""
    dashboard = open_dashboard(Database.open(storage), 0, *args, **options)
    thread = threading.Thread(target=dashboard.server.serve_forever)
    thread.start()
    try:
        yield dashboard
    finally:
        dashboard.server.shutdown()
        dashboard.server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def dashboard(storage: str) -> Iterator[Served]:
    with listening(storage, write=True) as opened:
        assert opened.exposes == ""
        yield opened


@pytest.fixture(scope="module")
def served(dashboard: Served) -> str:
    return enter(dashboard)


def enter(dashboard: Served) -> str:
    """Open the printed address, and return the address without the token."""
    OPENER.open(dashboard.url, timeout=60).close()
    return dashboard.url.partition("/?")[0]


def get(url: str, **headers: str) -> bytes:
    with OPENER.open(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        content: bytes = answer.read()
        return content


Answer = tuple[int, dict[str, str], str]


def ask(url: str, method: str = "GET", path: str = "/api/studies", **headers: str) -> Answer:
    """Status, headers and text of one answer, without cookies and redirections."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        found = connection.getresponse()
        return found.status, dict(found.getheaders()), found.read().decode(errors="replace")
    finally:
        connection.close()


def cookie_of(dashboard: Served) -> str:
    _, headers, _ = ask(dashboard.url, path="/" + dashboard.url.rpartition("/")[2])
    return headers["Set-Cookie"].partition(";")[0]


def detail(served: str, name: str = HOSTILE, query: str = "") -> dict[str, Any]:
    summaries = json.loads(get(f"{served}/api/studies"))["study_summaries"]
    (number,) = (each["study_id"] for each in summaries if each["study_name"] == name)
    answer: dict[str, Any] = json.loads(get(f"{served}/api/studies/{number}{query}"))
    return answer


def test_the_best_trials_are_the_feasible_front(served: str, storage: str) -> None:
    shown = detail(served)
    best = {trial["number"] for trial in shown["best_trials"]}
    study = optuna.load_study(storage=storage, study_name=HOSTILE)
    # Optuna's own view is the same; it names the repeated network twice.
    assert best == FRONT == {t.number for t in study.best_trials} - {REPEATED}
    records = {number: record(number) for number in FOUND}
    assert best == {entry.number for entry in Front(records).entries}
    assert shown["objective_names"] == ["top-1 accuracy", "arm latency (ms, emulated)"]


def test_the_constraints_are_optunas(served: str, storage: str) -> None:
    study = optuna.load_study(storage=storage, study_name=HOSTILE)
    for shown, trial in zip(detail(served)["trials"], study.get_trials(), strict=True):
        assert shown["constraints"] == list(trial.constraints.values())
        assert shown.get("values") == trial.values
        # Nothing was written for the dashboard's sake: samplers see each limit once.
        assert "constraints" not in trial.system_attrs


def test_a_browser_that_has_the_first_trials_is_sent_the_others(served: str) -> None:
    shown = detail(served, query="?after=3")
    assert [trial["number"] for trial in shown["trials"]] == [3, 4, 5, 6, 7]
    assert {trial["number"] for trial in shown["best_trials"]} == FRONT
    with pytest.raises(urllib.error.HTTPError, match=r"500|400"):
        detail(served, query="?after=x")


def test_studies_of_others_are_shown_by_optunas_rule(served: str) -> None:
    constrained = detail(served, "constrained")
    assert [trial["number"] for trial in constrained["best_trials"]] == [1]
    assert [trial["constraints"] for trial in constrained["trials"]] == [[1.0], [-1.0]]
    plain = detail(served, "plain")
    assert [trial["number"] for trial in plain["best_trials"]] == [0]
    assert plain["note"]["body"] == plain["trials"][0]["note"]["body"] == ""
    assert plain["plotly_graph_objects"] == plain["trials"][0]["artifacts"] == []


def test_the_front_is_drawn_as_in_the_report(served: str) -> None:
    (shown,) = detail(served)["plotly_graph_objects"]
    drawn = json.loads(shown["graph_object"])
    members = [trace for trace in drawn["data"] if trace.get("name") == "front"]
    assert [len(trace["x"]) for trace in members] == [len(FRONT)]
    assert drawn["layout"]["title"]["text"].startswith("Front, recipe fake")
    assert drawn["layout"]["xaxis"]["title"]["text"].startswith("latency on ")
    assert "<script" not in shown["graph_object"]


def test_notes_say_what_was_found_or_why_nothing_was(served: str) -> None:
    shown = detail(served)
    notes = {trial["number"]: trial["note"]["body"] for trial in shown["trials"]}
    for stated in ("on the front", "12.000", "10.800 to 14.400", "measured", "fake, seed 0"):
        assert stated in notes[2]
    assert "beyond flops" in notes[1]
    assert "beaten by trial 2" in notes[3]
    assert "trial 2" in notes[REPEATED]
    assert "+50.0%" in notes[REJECTED]
    assert "+40.0%" in notes[PRUNED]
    assert notes[RUNNING] == ""
    assert "4 candidates" in shown["note"]["body"]
    assert "beyond the budget" in shown["note"]["body"] and "1 (flops)" in shown["note"]["body"]


def test_a_note_of_the_user_stands_in_place_of_ours(served: str) -> None:
    shown = detail(served)
    study, trial = shown["trials"][3]["study_id"], shown["trials"][3]["trial_id"]
    note = {"body": "mine", "version": shown["trials"][3]["note"]["version"] + 1}
    request = urllib.request.Request(
        f"{served}/api/studies/{study}/{trial}/note",
        json.dumps(note).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    OPENER.open(request, timeout=60).close()
    assert detail(served)["trials"][3]["note"] == note


def test_every_finished_trial_has_its_files(served: str, tmp_path: Path) -> None:
    import onnx

    shown = detail(served)
    for trial in shown["trials"]:
        names = [each["filename"] for each in trial["artifacts"]]
        if trial["number"] not in FOUND:
            assert names == []
            continue
        assert names == ["architecture.yaml", "timing.onnx", "training-curve.png"]
        where = f"{served}/artifacts/{trial['study_id']}/{trial['trial_id']}"
        yaml, model, curve = (get(f"{where}/{a['artifact_id']}") for a in trial["artifacts"])
        (tmp_path / "network.yaml").write_bytes(yaml)
        assert load_network(tmp_path / "network.yaml") == networks()[trial["number"]]
        onnx.checker.check_model(onnx.load_from_string(model))
        assert curve.startswith(b"\x89PNG")
    first, second = shown["trials"][0], shown["trials"][2]
    other = f"{first['study_id']}/{first['trial_id']}/{second['artifacts'][0]['artifact_id']}"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{served}/artifacts/{other}")


def test_a_page_from_elsewhere_is_not_let_in(served: str) -> None:
    assert get(f"{served}/api/studies", Host="localhost:9000")  # the near end of a tunnel
    for host in ("evil.example", "localhost.evil.example", "[", "10.0.0.1"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(f"{served}/api/studies", Host=host)
    for origin, code in (("http://evil.example", 403), ("null", 403), (served, 404)):
        headers = {"Origin": origin}
        url = f"{served}/api/studies/99/0/skip"
        request = urllib.request.Request(url, headers=headers, method="POST")
        with pytest.raises(urllib.error.HTTPError, match=str(code)):
            OPENER.open(request, timeout=60)


def test_open_to_others_it_says_so_and_only_shows(storage: str) -> None:
    with listening(storage, "0.0.0.0") as dashboard:
        assert "can read every study" in dashboard.exposes
        url = f"http://127.0.0.1:{dashboard.server.server_port}"
        assert ask(url)[0] == 403
        cookie = cookie_of(dashboard)
        assert ask(url, Cookie=cookie)[0] == 200
        status, _, said = ask(url, "DELETE", "/api/studies/1", Cookie=cookie)
        assert status == 403 and "read-only" in said
    with pytest.raises(ConfigError, match=r"host must be this machine's own to take changes"):
        open_dashboard(Database.open(storage), 0, "0.0.0.0", write=True)


PATHS = (
    "/",
    "/dashboard",
    "/dashboard/studies/1",
    "/static/bundle.js",
    "/favicon.ico",
    "/api/meta",
    "/api/studies",
    "/api/studies/1",
    "/api/studies/1/rename",
    "/csv/1",
    "/artifacts/1/1/0",
    "/nothing",
)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "MADE-UP")


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_answered_without_the_token(
    dashboard: Served, served: str, method: str
) -> None:
    name, _, token = cookie_of(dashboard).partition("=")
    wrong = [
        {},
        {"Cookie": f"{name}="},
        {"Cookie": f"{name}={token[:-1]}"},
        {"Cookie": f"other={token}"},
        {"Cookie": token},
        {"Authorization": f"Bearer {token}"},
        {"Cookie": f"{name}=\xe9"},
    ]
    for path in PATHS:
        for headers in wrong if path == "/api/studies/1" else wrong[:1]:
            status, answered, said = ask(served, method, path, **headers)
            assert status == 403
            assert method == "HEAD" or json.loads(said).keys() == {"reason"}
            assert answered["X-Frame-Options"] == "DENY"
    for query in ("token=", "token=x", f"tokens={token}", f"token={token}x", "token=%FF"):
        assert ask(served, method, f"/api/studies/1?{query}")[0] == 403
    assert detail(served)["trials"]


def test_the_printed_address_opens_it_and_hides_its_token(dashboard: Served, served: str) -> None:
    _, _, token = cookie_of(dashboard).partition("=")
    for path, leads_to in (
        (f"/?token={token}", "/"),
        (f"/dashboard/studies/1?token={token}&a=b", "/dashboard/studies/1?a=b"),
        (f"//evil.example/?token={token}", "/evil.example/"),
        (f"/a%0D%0AX:%20b?token={token}", "/a%0D%0AX%3A%20b"),
    ):
        status, headers, _ = ask(served, path=path)
        assert (status, headers["Location"]) == (303, leads_to)
        name, *rules = headers["Set-Cookie"].split("; ")
        assert name.endswith(f"={token}") and rules == ["Path=/", "HttpOnly", "SameSite=Lax"]
        assert headers["Referrer-Policy"] == "no-referrer"
    assert ask(served, Cookie=f"other=a b; {name};x")[0] == 200
    assert ask(served, Cookie=name, Host="evil.example")[0] == 403


def test_it_only_shows_unless_changes_are_asked_for(storage: str) -> None:
    with listening(storage) as dashboard:
        cookie = cookie_of(dashboard)
        for method in METHODS[2:]:
            for path in PATHS:
                status, _, said = ask(dashboard.url, method, path, Cookie=cookie)
                assert status == 403 and "--write" in said
        assert ask(dashboard.url, "GET", "/api/studies", Cookie=cookie)[0] == 200
        assert ask(dashboard.url, "HEAD", "/dashboard", Cookie=cookie)[0] == 200


@pytest.fixture
def own(tmp_path: Path) -> tuple[str, optuna.Study, RecordStore]:
    """A database with one study of ours, its number and the store of its records."""
    db = Database.open(f"sqlite:///{tmp_path / 'own.db'}")
    study = create_or_resume(db, "own", IDENTITY, RandomSampler())
    db.migrate()
    store = RecordStore(db, study_key(study))
    store.save(0, record(0))
    study.tell(told(study, -0.1), [0.8, 10.0])
    return db.url, study, store


def test_a_file_of_others_is_saved_and_not_run(
    own: tuple[str, optuna.Study, RecordStore], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script>alert(1)</script>")
    storage, study, store = own
    waiting = study.ask()
    kept = {
        owner: upload_artifact(
            artifact_store=ArtifactFolder.of_database(store.db),
            file_path=str(page),
            study_or_trial=owned,
            mimetype="text/html",
        )
        for owner, owned in (("study", study), ("trial", waiting))
    }
    number, trial = study._study_id, waiting._trial_id
    with listening(storage) as dashboard:
        cookie = cookie_of(dashboard)
        for path in (
            f"/artifacts/{number}/{kept['study']}",
            f"/artifacts/{number}/{trial}/{kept['trial']}",
            f"/artif%FFacts/{number}/{kept['study']}",  # Bottle drops the byte
        ):
            status, headers, said = ask(dashboard.url, path=path, Cookie=cookie)
            assert (status, said) == (200, page.read_text())
            assert headers["Content-Disposition"] == "attachment"
            assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert "Access-Control-Allow-Origin" not in headers
        for path in PATHS:
            _, headers, _ = ask(dashboard.url, path=path, Cookie=cookie)
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Frame-Options"] == "DENY"


def test_a_study_under_search_is_neither_deleted_nor_renamed(
    own: tuple[str, optuna.Study, RecordStore],
) -> None:
    storage, study, store = own
    path, origin = f"/api/studies/{study._study_id}", "http://evil.example"
    with listening(storage, write=True) as dashboard:
        cookie = cookie_of(dashboard)
        for method, more in (("DELETE", ""), ("POST", "/rename")):
            said = ask(dashboard.url, method, path + more, Cookie=cookie, Origin=origin)[2]
            assert "its own pages only" in said
        leases = TrialLeases(store.db, store.study)
        assert leases.take(lambda others: True)
        for method, more in (("DELETE", ""), ("POST", "/rename")):
            status, _, said = ask(dashboard.url, method, path + more, Cookie=cookie)
            assert status == 409 and "must not be in use" in said
        assert [*store.all()] == [0]


def test_a_study_that_is_deleted_leaves_nothing(
    own: tuple[str, optuna.Study, RecordStore],
) -> None:
    storage, study, store = own
    weights = WeightsFolder.of_study(store.db, store.study)
    weights.save("0" * 16, {"a": np.zeros(1, np.float32)})
    with listening(storage, write=True) as dashboard:
        cookie, url = cookie_of(dashboard), dashboard.url.partition("/?")[0]
        path = f"/api/studies/{study._study_id}"
        assert ask(url, "DELETE", path, Cookie=cookie, Origin=url)[0] == 204
        assert ask(url, "DELETE", path, Cookie=cookie, Origin=url)[0] in (404, 500)
        assert ask(url, "GET", f"/api/studies/{10**9}0", Cookie=cookie)[0] in (404, 500)
    assert not store.all() and not weights.path.exists()


@pytest.mark.parametrize(
    ("called", "answer"),
    [
        ("127.0.0.1", 200),  # an address, whatever it is: no page can give itself one
        ("192.168.1.5", 200),
        ("[fd00::1]", 200),
        ("localhost", 200),
        ("lab.example.org", 200),
        ("LAB.example.org.", 200),
        ("elsewhere.example", 403),
        ("lab.example.org.elsewhere.example", 403),
        ("127.0.0.1.elsewhere.example", 403),
        ("[nothing", 403),
        ("", 403),
    ],
)
def test_open_to_others_it_answers_to_addresses_and_its_names(
    storage: str, called: str, answer: int
) -> None:
    """A page that gives its own name our address (DNS rebinding) would read it by a browser."""
    with listening(storage, "0.0.0.0", ["lab.example.org"]) as dashboard:
        port, cookie = dashboard.server.server_port, cookie_of(dashboard)
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        connection.putrequest("GET", "/api/studies", skip_host=True)
        connection.putheader("Host", f"{called}:{port}" if called else "")
        connection.putheader("Cookie", cookie)
        connection.endheaders()
        found = connection.getresponse()
        said = found.read().decode()
        connection.close()
    assert found.status == answer
    assert ("every host name" in said) == (answer == 403)


def test_a_name_without_host_is_refused(storage: str) -> None:
    with pytest.raises(ConfigError, match=r"server_name .*this machine only.*; got 'lab'"):
        open_dashboard(Database.open(storage), 0, HOST, ["lab"])


def test_the_command_serves_until_interrupted(storage: str) -> None:
    command = [sys.executable, "-m", "nas_sv2", "dashboard", "--storage", storage]
    with running(
        [*command, "--port", str(free_port())], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[0]
        assert b"<html" in get(url).lower()
        server.send_signal(2)
        assert server.wait(60) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        number: int = probe.getsockname()[1]
        return number


def test_what_cannot_be_listened_on_is_refused(storage: str) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(ConfigError, match="port must"):
            open_dashboard(Database.open(storage), taken.getsockname()[1])
    for host in ("no.such.host.invalid", "192.0.2.1"):
        with pytest.raises(ConfigError, match="host must"):
            open_dashboard(Database.open(storage), 0, host)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_a_browser_shows_the_feasible_front_and_runs_no_name(
    dashboard: Served, served: str
) -> None:
    study = detail(served)["trials"][0]["study_id"]
    listed = "[...document.querySelectorAll('h6, h5, h4')].map(title => title.innerText)"
    with browser() as page:
        page.open(dashboard.url)
        page.open(f"{served}/dashboard/studies/{study}", height=2400)
        page.wait_for("document.body.innerText.includes('Objective Values')")
        best = {title for title in page.value(listed) if re.fullmatch(r"Trial \d+", title)}
        assert best == {f"Trial {number}" for number in FRONT}
        text = page.text()
        for said in (HOSTILE, "top-1 accuracy", "arm latency (ms, emulated)", "95 % intervals"):
            assert said in text
        page.open(f"{served}/dashboard/studies/{study}/trials?numbers=2", height=1600)
        drawn = "[...document.images].some(image => image.naturalWidth > 100)"
        page.wait_for(f"document.body.innerText.includes('timing.onnx') && {drawn}")
        text = page.text()
        assert re.search(r"Trial 2 .*Complete\s+Best Trial", text, re.DOTALL)
        for said in ("on the front", "10.800 to 14.400", "architecture.yaml", HOSTILE):
            assert said in text  # names stand there letter for letter, and are nothing else
        assert (
            page.value("document.querySelectorAll('img[src=x], a[href^=javascript]').length") == 0
        )
        page.open(f"{served}/dashboard/studies/{study}/trials?numbers=1")
        page.wait_for("document.body.innerText.includes('beyond flops')")
        assert "Best Trial" not in page.text().partition("Trial 1 (")[2]
        assert page.errors == []
