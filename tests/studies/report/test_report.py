"""What a report says of a study, and that nobody's names become a part of the page."""

import dataclasses
import errno
import json
import os
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.samplers import RandomSampler
from scripted_study import MEASURED, SPACE, ScriptedStudy, certificate

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, DeviceError, NasError, StoreError
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.studies.dashboard.view import trial_note
from nas_sv2.studies.findings.confirmation import Confirmation, Confirmed, Finding, ScoreGain
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.timed_and_trained import Form, TimedAndTrained
from nas_sv2.studies.report import write
from nas_sv2.studies.report.charts import axes_of, front_chart, score_noise
from nas_sv2.studies.report.facts import ReportFacts, read_report
from nas_sv2.studies.report.network_card import OperatorProfiles
from nas_sv2.studies.report.words import (
    certificate_lines,
    commands_of,
    repeat_lines,
    rivals_of,
    speed,
)
from nas_sv2.studies.report.write import draw_front, report_markdown, report_page, write_report
from nas_sv2.studies.storage.facts import StudyFacts
from nas_sv2.studies.storage.recipe_evidence import CertificateStore
from nas_sv2.studies.storage.runs import Run
from nas_sv2.studies.storage.study import create_or_resume
from nas_sv2.studies.storage.weights_folder import WeightsFolder

HOSTILE = "</script><script>alert(1)</script>"
HOSTILE_DATA = "<img src=x onerror=alert(2)>|`${x}`@0"


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the text of each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._within = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._within = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._within = False

    def handle_data(self, data: str) -> None:
        if self._within:
            self.scripts.append(data)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('told')}/s.db"
    ScriptedStudy(url, name=HOSTILE, data=HOSTILE_DATA).all(found=9)
    return url


@pytest.fixture(scope="module")
def report(storage: str) -> ReportFacts:
    return read_report(
        Database.open(storage),
        HOSTILE,
        OperatorProfiles(Database.open(storage), False, lambda _: None),
    )


@pytest.fixture(scope="module")
def facts(report: ReportFacts) -> StudyFacts:
    return report.study


def changed(report: ReportFacts, **facts: Any) -> ReportFacts:
    """The report of a study with other facts."""
    return dataclasses.replace(report, study=dataclasses.replace(report.study, **facts))


@pytest.fixture(scope="module")
def page(report: ReportFacts) -> str:
    return report_page(report)


def test_the_facts_are_those_that_were_told(report: ReportFacts, facts: StudyFacts) -> None:
    assert len(facts.records) == 11
    assert list(facts.baselines) == [0, 1]
    assert [facts.records[n].baseline for n in (0, 1)] == list(SPACE.baselines)
    assert facts.audited == {6: "G3", 9: "G3"}
    assert facts.rejected == {"flops": 2, "G3": 1}
    assert facts.stops is not None and facts.stops.stopped == 1
    verdicts = [step.verdict for step in facts.times.steps]
    assert {name: verdicts.count(name) for name in set(verdicts)} == {
        **{"finished": 11, "rejected": 3, "duplicate": 1, "failed": 1}
    }
    assert report.importances == []  # from ten trainings
    on_front = [entry.number for entry in facts.front.members]
    assert [winner.number for winner in report.winners] == on_front


def test_emulated_operators_are_priced_and_measured_ones_only_on_demand(
    report: ReportFacts,
) -> None:
    for winner in report.winners:
        (target, profile), *others = winner.profiles.items()
        assert (target, others) == ("arm", [])
        assert profile.ms == pytest.approx(winner.record.latencies["arm"].ms)
    why = "cpu was not asked; a report with operators times them"
    assert report.notes == [f"By operator: {why}"]


def test_a_map_of_feature_reuse_that_cannot_be_drawn_is_said(
    facts: StudyFacts, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = facts.front.members

    def find(self: WeightsFolder, digest: str) -> dict[str, Any] | None:
        if digest == first.record.architecture.digest:
            raise StoreError("first.safetensors cannot be read: Permission denied")
        foreign = digest == second.record.architecture.digest
        return {"stem": np.zeros(1, np.float32)} if foreign else None

    monkeypatch.setattr(WeightsFolder, "find", find)
    ask = OperatorProfiles(Database.open(storage), False, lambda _: None)
    report = read_report(Database.open(storage), HOSTILE, ask)
    _, unreadable, foreign, *_ = report.notes
    why = "first.safetensors cannot be read: Permission denied"
    assert unreadable == f"Feature reuse of trial {first.number}: {why}"
    assert foreign.startswith(f"Feature reuse of trial {second.number}: weights must ")
    assert not any(card.reuse_png for card in report.winners)
    assert f'<p class="small soft">{unreadable}.</p>' in report_page(report)


def test_a_device_that_is_gone_or_another_is_said_and_not_made_up(
    facts: StudyFacts, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(self: TargetBook, name: str, **_: object) -> EmulatedArm:
        if name == "cpu":
            raise DeviceError("cpu: it is away")
        return EmulatedArm.open("cortex-a53", name=name)

    monkeypatch.setattr(TargetBook, "open", opened)
    ask = OperatorProfiles(Database.open(storage), True, lambda _: None)
    on_front = {entry.number: entry.record for entry in facts.front.members}
    found, (cpu, arm) = ask(on_front, facts.identity)
    assert not any(found.values())
    assert cpu == "cpu cannot tell: cpu: it is away"
    assert "the study was measured on arm: Cortex-A57" in arm and "here is arm: Cortex-A53" in arm


def test_the_device_behind_a_figure_is_named_by_its_fingerprint(report: ReportFacts) -> None:
    cpu, arm = report.devices
    assert (cpu.target, arm.target) == ("cpu", "arm")
    assert cpu.key is not None and cpu.facts is not None and cpu.key == cpu.key.lower()
    assert (arm.key, arm.provenance) == (None, "emulated")


def test_no_name_becomes_a_tag_or_ends_a_script(page: str) -> None:
    tags = Tags(page)
    assert len(tags.scripts) == len([tag for tag, _ in tags.found if tag == "script"]) == 3
    json.loads(tags.scripts[0])
    assert all("alert(" not in text or "\\u003c" in text for text in tags.scripts[:1])
    assert not [tag for tag, attributes in tags.found if "onerror" in attributes]
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page
    assert "&lt;img src=x onerror=alert(2)&gt;" in page


def test_plotly_is_given_no_tags_of_others(facts: StudyFacts) -> None:
    (figure, *_) = [front_chart(facts, axis) for axis in axes_of(facts)]
    said = [text for trace in figure["data"] for text in trace.get("hovertext", [])]
    assert said
    assert {tag for text in said for tag in re.findall(r"<[^>]*>", text)} == {"<br>"}


def test_the_page_loads_nothing(page: str) -> None:
    for tag, attributes in Tags(page).found:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), tag
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    "said",
    [
        "cpu (measured), arm (emulated)",
        "40 M multiply-adds + 5%, 2.6 ms on cpu",
        "Not certified",
        "pruned, looked at by the audit (2)",
        "hand-designed (2)",
        "guideline G3",
        "budget flops",
        "1 training stopped early",
        "Beyond the budget, finished but never on the front: trials",
        "nothing can be said about which parameters mattered",
        "stage 2",
        "Where the time goes on arm (emulated)",
        "feature-reuse map of",
        "--sampler random",
    ],
)
def test_the_page_says(page: str, said: str) -> None:
    assert said in page


def test_figures_hold_every_candidate_with_intervals_and_budget(facts: StudyFacts) -> None:
    cpu, arm, flops = axes_of(facts)
    for axis in (cpu, arm, flops):
        drawn = [x for trace in front_chart(facts, axis)["data"] for x in trace["x"]]
        assert sorted(drawn) == sorted(map(axis.value, facts.records.values()))
    figure = front_chart(facts, cpu)
    assert figure["layout"]["shapes"][0]["x0"] == 2.6
    assert "shapes" not in front_chart(facts, arm)["layout"]
    front = next(trace for trace in figure["data"] if trace["name"] == "front")
    assert all(length > 0 for length in front["error_x"]["array"])
    assert facts.estimates is not None
    intervals = [each.high - each.low for each in facts.estimates.by_trial.values()]
    assert 2 * max(front["error_y"]["array"]) <= 100 * max(intervals) + 1e-9
    marks = {
        trace["name"]: trace["marker"]["symbol"][0] for trace in front_chart(facts, arm)["data"]
    }
    assert marks["front"] == "circle-open"


def test_a_certificate_gives_bars_and_ties(report: ReportFacts) -> None:
    known = certificate(noise=0.05)
    page = changed(report, certificate=known)
    certified = page.study
    figure = front_chart(certified, axes_of(certified)[0])
    front = next(trace for trace in figure["data"] if trace["name"] == "front")
    shown = certified.front.members[0].estimate
    assert shown is not None
    assert 100 * (shown.high - shown.low) / 2 in [
        pytest.approx(bar) for bar in front["error_y"]["array"]
    ]
    text = report_page(page)
    (worse, better), *_ = certified.ties
    assert "Ties on the front" in text and f"{worse} and {better}" in text
    assert "of space 40M, not of this study" in text  # another digest
    assert "not certified" not in text.casefold()


def test_scores_in_nats_are_not_called_accuracies(report: ReportFacts) -> None:
    def in_nats(record: Record) -> Record:
        scores = (-(record.evaluation.loss or 0.0),)
        evaluation = dataclasses.replace(
            record.evaluation, scored_by="cross_entropy", scores=scores
        )
        return dataclasses.replace(record, evaluation=evaluation)

    records = {number: in_nats(record) for number, record in report.study.records.items()}
    known = dataclasses.replace(
        certificate(noise=0.05), scored_by="cross_entropy", reference_scored_by="cross_entropy"
    )
    study = changed(report, records=records, certificate=known)
    winners = [
        dataclasses.replace(report.winners[0], number=entry.number, record=entry.record)
        for entry in study.study.front.members
    ]
    study = dataclasses.replace(study, winners=winners)
    page, text = report_page(study), report_markdown(study, "x.png")
    for said in (page, text):
        assert "most accurate" not in said.casefold() and "by cross-entropy" in said
        noise = known.in_words(known.noise or 0)
        assert f"standard deviation of cross-entropy between seeds {noise}, beside what a" in said
        assert f"± {noise}" not in said  # no interval of a single score
    assert "beaten by none in expected cross-entropy (nats)" in page


def test_the_certificate_of_the_space_goes_before_a_later_one(tmp_path: Path) -> None:
    told = ScriptedStudy(f"sqlite:///{tmp_path}/s.db")
    told.all(found=0)
    store = CertificateStore(told.measurements.db)
    store.save(dataclasses.replace(certificate(), space_digest=SPACE.digest))
    store.save(certificate())
    found = store.find_for({"space_digest": SPACE.digest}, told.records.all())
    assert found is not None and found.space_digest == SPACE.digest


def test_bars_of_several_seeds_are_of_the_score_that_is_drawn(facts: StudyFacts) -> None:
    number, record = next(iter(facts.records.items()))
    scores = tuple(record.evaluation.score + d for d in (-0.01, 0.0, 0.01))
    evaluation = dataclasses.replace(record.evaluation, scores=scores)
    several = dataclasses.replace(record, evaluation=evaluation)
    own = dataclasses.replace(facts, records={number: several}, certificate=None)
    assert score_noise(own, several) == pytest.approx(100 * 0.01 / 3**0.5)
    known = certificate(noise=0.05)  # of the recipe's scores, which are such means already
    certified = dataclasses.replace(own, certificate=known)
    assert score_noise(certified, several) == pytest.approx(100 * (known.noise or 0))


def test_every_latency_says_where_it_comes_from(
    report: ReportFacts, facts: StudyFacts, page: str
) -> None:
    assert "<th>cpu ms\n(measured)</th><th>arm ms\n(emulated)</th>" in page
    best = facts.records[facts.best or 0]
    busy = {name: dataclasses.replace(v, contended=True) for name, v in best.latencies.items()}
    records = {**facts.records, facts.best or 0: dataclasses.replace(best, latencies=busy)}
    text = report_markdown(changed(report, records=records), "x.png")
    assert ", contended)" in text.splitlines()[2]


def test_an_accuracy_of_a_proxy_is_called_one_everywhere(report: ReportFacts) -> None:
    timed, trained = Form.of(SPACE), Form(28, 1, 10, 2, False)
    kept = {"timed_and_trained": TimedAndTrained(timed, trained).to_json()}
    proxy = changed(report, identity={**report.study.identity, **kept})
    page, text = report_page(proxy), report_markdown(proxy, "x.png")
    for said in (page, text):
        assert "timed: 224×224×3, stem of stride 2 and a pool; trained: 28×28×1" in said
        assert "accuracies are of a proxy (28×28×1" in said
    assert "top-1 accuracy of a proxy</span>" in page
    assert "<th>top-1\n(proxy)</th>" in page and "top-1 accuracy of a proxy, %" in page
    assert "% of a proxy, " in text.splitlines()[2]


@pytest.mark.parametrize("figure", ["accuracy", "mean_ap", "mae", "box_ap"])
def test_a_certificate_is_suggested_but_for_detectors(report: ReportFacts, figure: str) -> None:
    """Recipes for detectors are not qualified: the command would refuse them."""
    records = {}
    for number, record in report.study.records.items():
        plain = dataclasses.replace(
            record.evaluation,
            accuracy=0.5 if figure == "accuracy" else None,
            mean_ap=0.5 if figure == "mean_ap" else None,
            mae=0.5 if figure == "mae" else None,
            box_ap=0.5 if figure == "box_ap" else None,
        )
        records[number] = dataclasses.replace(record, evaluation=plain)
    lines = certificate_lines(changed(report, records=records, certificate=None).study)
    assert lines[0].startswith("Not certified")
    assert any("recipe qualify" in line for line in lines) == (figure != "box_ap")


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        (
            "--data 'imagefolder:/a b' --recipe my.yaml --evaluator recipe",
            ["--recipe", "my.yaml", "--data", "imagefolder:/a b"],
        ),
        (
            "--data animals --recipe quick --evaluator supernet:shared --space own.yaml",
            ["--data", "animals", "--evaluator", "supernet:shared", "--space", "own.yaml"],
        ),
    ],
)
def test_the_command_for_a_certificate_names_files_as_the_search_did(
    report: ReportFacts, typed: str, asked: list[str]
) -> None:
    run = Run("2026-11-30", f"nas-sv2 search {typed}", {}, "Linux")
    facts = changed(report, runs=[run], certificate=None, storage="s.db").study
    _, command = certificate_lines(facts)[1].split(": ", 1)
    assert shlex.split(command) == [*("nas-sv2", "recipe", "qualify", *asked, "--storage", "s.db")]


def test_a_study_of_an_older_version_does_not_know_its_forms(page: str) -> None:
    assert "timed and trained: not known: the study was begun by an older version" in page
    assert "of a proxy" not in page


def test_a_study_without_a_feasible_network_says_so(report: ReportFacts) -> None:
    found = report.study.records.items()
    broken = {n: dataclasses.replace(r, excesses={"flops": 0.5}) for n, r in found}
    none = changed(dataclasses.replace(report, winners=[]), records=broken)
    assert "No finished network keeps every limit" in report_page(none)
    assert "No finished network keeps every limit" in report_markdown(none, "x.png")


def test_markdown_says_the_same_and_no_name_becomes_markup(
    report: ReportFacts, facts: StudyFacts, tmp_path: Path
) -> None:
    text = report_markdown(report, "report.png")
    outside_of_code = re.sub(r"(?<!\\)(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert not re.search(r"(?<!\\)<", outside_of_code)
    assert "![Front](report.png)" in text
    best = facts.records[facts.best or 0]
    assert f"{best.evaluation.accuracy:.2%}" in text
    assert "Beyond the budget, finished but never on the front: trials" in text
    assert "guideline G3" in text and "not certified" in text.casefold()
    columns = [line for line in text.splitlines() if line.startswith("| ")]
    counts = {len(re.findall(r"(?<!\\)\|", line)) for line in columns}
    assert counts == {3, 12, 6}  # question, front, what was turned away
    draw_front(report, tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_a_study_from_before_there_were_notes_gives_its_command_all_the_same(
    report: ReportFacts,
) -> None:
    page = report_page(changed(report, runs=[]))
    assert "is from before searches noted how they were started" in page
    assert "--target cpu,arm --budget 40M --budget cpu=2.6ms --space 40M" in page


@pytest.mark.parametrize(
    ("modules", "target"),
    [({}, "cpu"), ({"target_modules": {"cpu": "my_lab.boards:Board"}}, "my_lab.boards:Board")],
)
def test_a_replay_says_of_what_and_gives_its_command(
    facts: StudyFacts, modules: dict[str, Any], target: str
) -> None:
    more = {"replay_of": {"study": "first", "key": "k"}, **modules}
    replayed = dataclasses.replace(
        facts,
        identity={**facts.identity, **more},
        records={
            0: dataclasses.replace(facts.records[0], latencies={"cpu": MEASURED.latency("cpu")})
        },
        runs=[],
    )
    (command,) = commands_of(replayed)
    assert command.startswith(
        f"nas-sv2 study replay first --target {target} --budget cpu=2.6ms --study "
    )
    assert repeat_lines(replayed) == [
        "The networks and their accuracies are those of study first; latencies were taken anew, "
        "nothing was trained."
    ]


def test_a_study_without_a_finished_trial_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    create_or_resume(
        Database.open(url), "empty", {"targets": {"arm": "emulated"}}, RandomSampler()
    )
    ScriptedStudy(url, name="other")
    with pytest.raises(ConfigError, match="finished trial"):
        read_report(
            Database.open(url),
            "empty",
            OperatorProfiles(Database.open(url), False, lambda _: None),
        )


def test_the_command_writes_both_forms(
    command_line: Callable[..., tuple[int, str, str]],
    storage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = ("--storage", storage)
    code, said, _ = command_line("report", HOSTILE, "--out", "page.html", *at)
    assert (code, said) == (0, "written: page.html\n")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "feature-reuse map of" in page
    monkeypatch.setattr("nas_sv2.studies.report.facts.reuse_png", None)  # Markdown shows none
    code, said, _ = command_line("report", HOSTILE, "--format", "md", *at)
    assert (code, said) == (0, "written: report.md, report.png\n")
    export = re.search(r"nas-sv2 search .*", (tmp_path / "report.md").read_text())
    assert export and HOSTILE in shlex.split(export[0].rstrip("`"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "STUDY"),
        ((HOSTILE, "--format", "pdf"), "--format"),
        ((HOSTILE, "--format", "md", "--out", "x.png"), "--out"),
        ((HOSTILE, "--format", "html", "--out", "x.md"), "--out"),
        ((HOSTILE, "--out", "x.pdf"), "--out"),
        ((HOSTILE, "--out", "x.svg"), "--out"),
        ((HOSTILE, "--out", "no/folder.html"), "--out"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    command_line: Callable[..., tuple[int, str, str]],
    storage: str,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    code, _, error = command_line("report", *arguments, "--storage", storage)
    assert code == 2
    assert error.startswith(f"nas-sv2: {said}") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "form", "field"),
    [
        ("r.pdf", None, "out"),
        ("r.PNG", None, "out"),
        ("r", None, "out"),
        ("r.html.gz", None, "out"),
        ("r.md", "html", "out"),
        ("r.html", "md", "out"),
        ("r.pdf", "html", "out"),
        ("r.html", "pdf", "form"),
    ],
)
def test_a_name_of_another_kind_of_file_is_refused(
    storage: str, tmp_path: Path, name: str, form: str | None, field: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        write_report(Database.open(storage), HOSTILE, tmp_path / name, form, False, lambda _: None)
    assert refused.value.field == field
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["r.HTML", "r.htm", "r.md", "r.markdown"])
def test_a_report_is_written_whole_or_stays_as_it_was(
    storage: str, report: ReportFacts, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "read_report", lambda *_, **__: report)  # the same, read once
    path = tmp_path / name
    path.write_text("earlier")
    with monkeypatch.context() as patched:

        def no_space(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patched.setattr(os, "replace", no_space)
        with pytest.raises(NasError, match="No space left"):
            write_report(Database.open(storage), HOSTILE, path, None, False, lambda _: None)
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert path.read_text() == "earlier"
    written = write_report(Database.open(storage), HOSTILE, path, None, False, lambda _: None)
    assert path.read_text().startswith("<!doctype" if "h" in path.suffix.lower()[:3] else "#")
    assert written[0] == path and all(each.exists() for each in written)


@pytest.mark.parametrize(
    ("saved", "said"),
    [(0.5, "2.00 times as fast"), (0.0, "1.00 times as fast"), (-1.0, "0.50 times as fast")],
)
def test_half_the_time_is_twice_as_fast(saved: float, said: str) -> None:
    assert speed(saved) == said


def test_a_report_shows_the_balanced_accuracy_of_uneven_classes(report: ReportFacts) -> None:
    def uneven(record: Record) -> Record:
        balance: Any = {"balanced_accuracy": 0.5, "majority": 0.996, "classes": 2}
        return dataclasses.replace(
            record, evaluation=dataclasses.replace(record.evaluation, **balance)
        )

    records = {number: uneven(record) for number, record in report.study.records.items()}
    winners = [dataclasses.replace(one, record=records[one.number]) for one in report.winners]
    study = changed(dataclasses.replace(report, winners=winners), records=records)
    for said in (report_page(study), report_markdown(study, "x.png")):
        assert "balanced 50.00%" in said and "99.60% of the" in said
    assert "<th>balanced</th>" in report_page(study)
    assert "balanced" not in report_page(report) + report_markdown(report, "x.png")


@pytest.mark.parametrize(
    ("verdict", "mark"), [("better", "sure"), ("tie", "not confirmed"), ("worse", "not confirmed")]
)
def test_a_difference_that_longer_trainings_did_not_confirm_is_not_called_sure(
    verdict: Any, mark: str, report: ReportFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas_sv2.studies.report.words.SURE", 0.5)  # of estimates, any chance

    def marks(study: StudyFacts) -> dict[tuple[str, str], str]:
        rows = rivals_of(study).items()
        return {(rival, one.name): one.better.mark for rival, all_ in rows for one in all_}

    before = marks(report.study)
    (rival, name), *_ = (pair for pair, said in before.items() if said == "sure")
    better = next(one.better.gain for one in rivals_of(report.study)[rival] if one.name == name)
    assert better > 0
    trial = int(name.partition("trial ")[2].rstrip(")"))
    gain = ScoreGain((0.1, 0.2, 0.3), -0.1, 0.5, 0.2, verdict, 0.05)
    older = dataclasses.replace(gain, verdict="better")
    confirmations = [
        Confirmation(
            *(rival, "longer", "d" * 16, "a@0", 60, (1, 2, 3), 4.0, ()),
            *((Finding(trial, "d", each, {}),), "2026-01-02T00:00:00+00:00", "cpu"),
        )
        for each in (older, gain)
    ]
    after = marks(dataclasses.replace(report.study, confirmations=confirmations))
    assert after == {**before, (rival, name): mark}


def test_confirmations_are_stated_with_the_score_that_they_compare(report: ReportFacts) -> None:
    entry = report.study.front.members[0]
    digest = entry.record.architecture.digest
    gain = ScoreGain((0.5, 0.6, 0.4), 0.25, 0.75, 0.01, "better", 0.05)
    networks = tuple(
        Confirmed(name, name, None, scores, None, {})
        for name, scores in ((digest, (-4.5, -4.4, -4.6)), ("bb", (-5.0, -5.0, -5.0)))
    )
    finding = Finding(entry.number, digest, gain, {})
    whole = ("bb", "ages", "d" * 16, "csv:a@0", 60, (1, 2, 3), 4.0, networks, (finding,))
    found = Confirmation(*whole, "2026-01-02T00:00:00+00:00", "cpu", together=1, scored_by="mae")
    study = dataclasses.replace(report.study, confirmations=[found])
    told = dataclasses.replace(report, study=study)
    for text in (report_markdown(told, "f.png"), report_page(told), trial_note(study, entry)):
        assert "MAE after ages -0.5, 95 % -0.75 to -0.25: better" in text
    for text in (report_markdown(report, "f.png"), trial_note(report.study, entry)):
        assert "# Confirmation" not in text
    assert f"see Confirmation for longer trainings of trial {entry.number}." in report_page(told)
    assert "<h2>Confirmation</h2>" in report_page(told)
    assert "<h2>Confirmation</h2>" not in report_page(report)
