"""Whatever a file, an answer, a stored row or a word says: a value or one error of ours, at once.

Good inputs are made odd: values of other types and sizes, keys left out or twice, bytes lost or
changed. `NAS_SV2_FUZZ` sets how many inputs each parser gets; the slow test gives 10⁵ in all.
"""

import ast
import gc
import io
import json
import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import safetensors.numpy
import yaml
from doubles import evaluation_of, latency_of, record_of
from scripted import measurement_of
from scripted_study import certificate

from nas_sv2.database.processes import is_alive, process_name
from nas_sv2.documents import read_document, reading_stored
from nas_sv2.errors import NasError
from nas_sv2.evaluate.data.array_file import ArrayFile
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.files import open_recipe, recipe_to_document
from nas_sv2.evaluate.supernet.trained import open_supernet
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.devices.reply import measurements_of
from nas_sv2.latency.emulated.kernel_table import KernelTable, table_text
from nas_sv2.latency.guidelines.profile import Accuracy, GuidelineProfile
from nas_sv2.latency.kernels.coverage import Coverage
from nas_sv2.latency.kernels.node_costs import NodeCosts, class_of, pieces_of_graph
from nas_sv2.latency.measurements.exchange import FILE, read_file
from nas_sv2.latency.measurements.grade import Grade
from nas_sv2.latency.measurements.measurement import SCHEMA
from nas_sv2.latency.measurements.measurement_check import (
    checked_facts,
    checked_node_times,
    checked_outputs,
)
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.predictor.predictor import Predictor, Report, Residual
from nas_sv2.latency.targets.device_file import read_devices
from nas_sv2.plain_data import parse_json
from nas_sv2.search.walk.budget import parse_budget, parse_duration
from nas_sv2.show.console import output_to
from nas_sv2.show.study_tables import confirmation_notes, confirmation_table
from nas_sv2.space.choices.levels import LEVELS, open_space
from nas_sv2.space.choices.search_space import space_to_document
from nas_sv2.space.networks.lowering import load_network, lower
from nas_sv2.space.units.documents import architecture_to_document
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.attributes import (
    OF_STUDY,
    OF_TRIAL,
    RUN,
    TRAINED,
    check_attributes,
    whole_identity,
)
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.confirmation import (
    Confirmation,
    Confirmed,
    Finding,
    LatencyGain,
    ScoreGain,
)
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.package.folder import SUMS, read_folder
from nas_sv2.studies.package.load import parse_card
from nas_sv2.studies.storage.confirmation_store import HeldOutScore, confirmation_lines
from nas_sv2.studies.storage.runs import Run, runs_of
from nas_sv2.studies.storage.study import limits_of
from nas_sv2.studies.storage.weights_folder import WeightsFolder

INPUTS = int(os.environ.get("NAS_SV2_FUZZ", "60"))
SECONDS, MEGABYTES = 1.0, 200
PLAN = MeasurePlan(reference=None)
MODEL = Payload("0" * 16, b"a model")
GRADE = Grade("good", 3, "a", 1.0, 0.1, "b", 2.0, 0.1, 0.0, 0.1, 1.0, None, "2026-01-01", ())
DEVICES = """[devices.pi]
kind = "ssh"
host = "pi@pi5.local"
[devices.pi.plan]
threads = 4
[devices.a57]
kind = "emulated"
core = "cortex-a57"
"""
ODD: list[Any] = [None, True, False, 0, -1, 1, 2**70, 10**400, -0.0, 0.5, 5e-324, 1e308, "", "x"]
ODD += ["1/0", "1e999999999", "1e999", "\x1b[2J", "\0", "\ud800", "é" * 9, "../x", "9" * 5000]
ODD += [[], {}, [[]], [None], [1, 2], {"a": 1}, {"": {}}, "!!int ''", "*a", "nan", "inf", "4e-5"]
TOKENS = [
    b"[" * 3000,
    b'{"a":' * 3000,
    b"NaN",
    b"1e999",
    b"1" * 5000,
    b"\x00",
    b"\xff\xfe",
    b"\r\n",
]
TOKENS += [
    b"!!int ''",
    b"!!bool x",
    b"!!timestamp x",
    b"&a [*a]",
    b"<<: *a",
    b"---\n",
    b"\xef\xbb\xbf",
]
TOKENS += [
    b"\xef\xbb\xbf",
    b"\x1b[2J",
    b"'",
    b'"',
    b"{",
    b"]",
    b": ",
    b"- ",
    b"0x" + b"f" * 5000,
    b"a.a" * 99,
]


def facts() -> dict[str, Any]:
    return dict(measurement_of().fingerprint.facts)


def answer() -> dict[str, Any]:
    of_plan = {name: getattr(PLAN, name) for name in ("runtime", "threads", "precision")}
    network = {
        "digest": MODEL.digest,
        "wall_ns": [10**6] * 30,
        "cpu_ns": [10**6] * 30,
        "rounds": [run // 5 for run in range(30)],
        "switches": [0] * 30,
        "warmup_runs": 5,
        "stationary": True,
        "series": {"event_ms": [1.0]},
    }
    device = {**facts(), **of_plan}
    return {"networks": [network], "conditions": [], "heating": [[1, 2]], "fingerprint": device}


def as_nas_error(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """A check that its caller gives a `NasError`: `ValueError` is its own error."""

    def checked(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise NasError(str(error)) from error

    return checked


def stored_grade(text: str) -> object:
    with reading_stored("a stored grade"):
        return Grade.from_json(parse_json(text))


def confirmation() -> str:
    gain = LatencyGain(0.9, (0.88, 0.92), "measured", True, "better", "in turn", 0.001, 0.025)
    found = ScoreGain((0.01, 0.02), 0.005, 0.015, 0.01, "better", 0.05)
    latencies = {"cpu": latency_of(2)}
    networks = tuple(
        Confirmed(name, name, 3, (0.9, 0.91), (0.3, 0.3), latencies, None, 0.9)
        for name in ("aa", "bb")
    )
    findings = (Finding(3, "aa", found, {"cpu": gain}),)
    whole = ("bb", "long", "d" * 16, "animals@0", 1000, (1, 2), 4.0, networks, findings)
    there = Confirmation(*whole, "2026-01-02T00:00:00+00:00", "cpu", 5.0, 2, 0.5, 2)
    return json.dumps(there.to_json())


def described_confirmation(text: str) -> object:
    found = Confirmation.from_json(as_nas_error(parse_json)(text))
    output_to(io.StringIO()).print(confirmation_table(found))
    return [*confirmation_lines([found]), *confirmation_notes(found), found.question]


def identity() -> dict[str, Any]:
    recipe, space = RECIPES["quick"], LEVELS["40M"]
    return {
        "key": "0" * 32,
        "targets": {"cpu": "measured"},
        "budget": {"flops": 4e7, "params": None, "latency_ms": {"cpu": 2.5}, "tolerance": 0.05},
        "guidelines": {"G1": 0.05},
        "space": space.name,
        "space_digest": space.digest,
        "data": "animals",
        "data_content": "animals@0",
        "skip_unreadable": False,
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "recipe_document": {"seeds": 1},
        "seed": 0,
        "replay_of": {"study": "a", "key": "1" * 32},
    }


OF_A_STUDY = {"key_of": 1, "training_threads": 2, "reference_ms": {"cpu": 5.0}}
OF_A_TRIAL = {"architecture": "a", "audited": {"G1": 1.1}, "duplicate_of": 0, "rejected_by": "x"}
OF_A_TRIAL |= {"deaths": 1, "retry_of": 1, "worker": None}


def checked_study(text: str) -> object:
    data = as_nas_error(parse_json)(text)
    if not isinstance(data, dict) or "nas_sv2" not in data:
        raise NasError("no attributes of a study of ours")
    check_attributes(data, OF_STUDY, "study s")
    whole = whole_identity(data, "study s", ("budget", "guidelines", *TRAINED))
    return [*limits_of(whole["budget"]), *whole["guidelines"], *whole["targets"].items()]


def checked_trial(text: str) -> object:
    data = as_nas_error(parse_json)(text)
    if not isinstance(data, dict):
        raise NasError("no attributes of a trial")
    check_attributes(data, OF_TRIAL, "trial 1 of study s")
    return data


PRICED = lower(reference("shufflenet_v2_x0_5"))
COSTS = NodeCosts(
    {class_of(piece.kernel): [1.0] * 8 for piece in pieces_of_graph(PRICED, "shuffle_free")}
)


def profile() -> str:
    found = GuidelineProfile(
        "cpu", "measured", "shuffle_free", "2026", COSTS, Accuracy(9, 0.1, 0.9)
    )
    return json.dumps({**found.to_json(), "schema": 1})


def used_profile(text: str) -> object:
    with reading_stored("a stored guideline profile"):
        found = GuidelineProfile.from_json(parse_json(text))
    return found.waste(PRICED), found.accuracy.describe(), found.digest


def predictor() -> str:
    kernels = [piece.kernel for piece in pieces_of_graph(PRICED, "shuffle_free")]
    found = Predictor(
        "shuffle_free",
        COSTS,
        Residual(["depthwise"], [0.1, 0.0, 0.0], 0.0),
        Coverage.of(kernels, kernels),
        (1.0, 1e12),
        0.1,
        5.0,
        0.5,
        Report(60, 0.5, 0.9, 0.99, (0.98, 1.0), 9.0),
    )
    return json.dumps(found.to_json())


def used_predictor(text: str) -> object:
    with reading_stored("a stored predictor"):
        found = Predictor.from_json(parse_json(text))
    return found.predict(reference("shufflenet_v2_x0_5")), found.report.describe()


def as_yaml(document: Any) -> str:
    text: str = yaml.safe_dump(json.loads(json.dumps(document)))
    return text


def good_table() -> str:
    return table_text("cortex-a57")


def supernet() -> str:
    recipe, space = RECIPES["quick"], LEVELS["40M"]
    return json.dumps(
        {
            "nas_sv2_supernet": 1,
            "space": space_to_document(space),
            "space_digest": space.digest,
            "data": "blobs@0",
            "recipe": recipe_to_document(recipe),
            "recipe_digest": recipe.digest,
            "guidelines": {},
            "random": 2,
            "seed": 0,
            "steps": 10,
            "images": 100,
            "device": "cpu",
            "seconds": 1.0,
            "weights": "0" * 64,
        }
    )


def tensors(folder: Path) -> None:
    content = safetensors.numpy.save({"a": np.ones((2, 3), np.float32)})
    (folder / "input").write_bytes(content)


TEXTS: dict[str, tuple[Callable[[], str], Callable[[str], object]]] = {
    "an agent's answer": (
        lambda: json.dumps(answer()),
        lambda text: measurements_of(as_nas_error(parse_json)(text), [MODEL], PLAN, None),
    ),
    "facts of a device": (
        lambda: json.dumps(facts()),
        as_nas_error(lambda text: checked_facts(parse_json(text))),
    ),
    "times of nodes": (
        lambda: json.dumps([["a", "Conv", 1.0]] * 3),
        as_nas_error(lambda text: checked_node_times(parse_json(text))),
    ),
    "outputs": (
        lambda: json.dumps([0.5, 1.0]),
        as_nas_error(lambda text: checked_outputs(parse_json(text))),
    ),
    "a stored record": (lambda: record_of(0.5, 1.0, 2.0).to_json(), Record.from_json),
    "a stored evaluation": (lambda: evaluation_of(0.5).to_json(), Evaluation.from_json),
    "a stored certificate": (
        lambda: certificate().to_json(),
        Certificate.from_json,
    ),
    "a stored test score": (
        lambda: HeldOutScore({"accuracy": 0.5}, 1.0, 10, 10, 1.0).to_json(),
        HeldOutScore.from_json,
    ),
    "a stored grade": (
        lambda: json.dumps(GRADE.to_json()),
        stored_grade,
    ),
    "a stored confirmation": (confirmation, described_confirmation),
    "a stored guideline profile": (profile, used_profile),
    "a stored predictor": (predictor, used_predictor),
    "attributes of a study": (
        lambda: json.dumps({"nas_sv2": identity(), **OF_A_STUDY}),
        checked_study,
    ),
    "attributes of a trial": (lambda: json.dumps(OF_A_TRIAL), checked_trial),
    "the start of a search": (
        lambda: json.dumps(asdict(Run("2026", "nas-sv2 search --seed 0", {"a": "1"}, "Linux"))),
        lambda text: runs_of(
            cast(Any, SimpleNamespace(user_attrs={RUN: as_nas_error(parse_json)(text)}))
        ),
    ),
    "a process": (lambda: process_name() or "", is_alive),
    "a budget": (lambda: "arm=25.5ms", lambda text: parse_budget([text], ["arm"])),
    "a duration": (lambda: "90s", lambda text: parse_duration("timeout", text)),
    "a card": (
        lambda: json.dumps({"nas_sv2_card": 1, "a": {"b": [1, 2.5]}}),
        lambda text: parse_card(Path("card.json"), text.encode("utf-8", "surrogatepass")),
    ),
}
FILES: dict[str, tuple[str, Callable[[], str | bytes], Callable[[Path], object]]] = {
    "an architecture": (
        "a.yaml",
        lambda: as_yaml(architecture_to_document(reference("shufflenet_v2_x0_5"))),
        load_network,
    ),
    "a space": (
        "a.yaml",
        lambda: as_yaml(space_to_document(LEVELS["40M"])),
        lambda path: open_space(str(path)),
    ),
    "a space in TOML": (
        "a.toml",
        lambda: "nas_sv2_space = 1\nstem = [16, 24]\nhead = 1024\n"
        '[[stages]]\nsplit = ["1/2", "3/4"]\n'
        "depth = {low = 2, high = 5}\nwidth = {low = 64, high = 160, step = 4}\n",
        lambda path: open_space(str(path)),
    ),
    "a recipe": (
        "a.yaml",
        lambda: as_yaml(recipe_to_document(RECIPES["paper"])),
        lambda path: open_recipe(str(path)),
    ),
    "devices": ("nas-sv2.toml", lambda: DEVICES, lambda path: read_devices()),
    "any document": ("a.json", lambda: json.dumps({"a": [1, {"b": 2}]}), read_document),
    "a supernet": ("supernet.json", supernet, lambda path: open_supernet(path.parent)),
    "measurements": (
        "a.jsonl",
        lambda: json.dumps({FILE: 1, "measurement_schema": SCHEMA})
        + "\n"
        + json.dumps(measurement_of().to_json())
        + "\n",
        lambda path: list(read_file(path)),
    ),
    "a table of kernel costs": ("a.json", good_table, lambda path: KernelTable.load(path)),
    "weights": (
        "a.safetensors",
        lambda: safetensors.numpy.save({"a": np.ones((2, 3), np.float32)}),
        lambda path: WeightsFolder(path.parent).find("a"),
    ),
    "checksums": (SUMS, lambda: f"{'0' * 64}  card.json\n", lambda path: read_folder(path.parent)),
    "arrays": ("a.npz", lambda: npz(), lambda path: ArrayFile(f"npz:{path}", path)),
}  # fmt: skip


def npz() -> bytes:
    buffer = io.BytesIO()
    images, labels = np.zeros((6, 8, 8, 3), np.uint8), np.arange(6) % 2
    np.savez_compressed(buffer, images=images, labels=labels)
    return buffer.getvalue()


def places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inner = document.items() if isinstance(document, dict) else ()
    for key, value in enumerate(document) if isinstance(document, list) else inner:
        yield from places(value, (*at, key))


def with_value(document: Any, place: tuple[Any, ...], value: Any, choose: random.Random) -> Any:
    """Plain data with another value at a place, or without it, or with it under another key."""
    if not place:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    key = place[0]
    if len(place) == 1 and choose.random() < 0.2:
        held = copy.pop(key)
        if isinstance(copy, dict) and choose.random() < 0.5:
            copy[choose.choice(["x", "\x1b[2J", "", key.upper() + "é", "a" * 3000])] = held
        return copy
    copy[key] = with_value(document[key], place[1:], value, choose)
    return copy


def mutated(good: bytes, document: Any, form: str, choose: random.Random) -> bytes:
    """One odd input: a value of the plain data that is odd, or bytes that are."""
    content = good
    if document is not None and choose.random() < 0.65:
        for _ in range(choose.choice([1, 1, 1, 2, 4])):
            place = choose.choice(list(places(document)))
            document = with_value(document, place, choose.choice(ODD), choose)
        if form == "yaml" and choose.random() < 0.5:
            try:
                return yaml.safe_dump(document).encode("utf-8", "surrogatepass")
            except yaml.YAMLError:
                pass
        return json.dumps(document, ensure_ascii=choose.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )
    for _ in range(choose.choice([1, 1, 2, 5])):
        at = choose.randrange(len(content) + 1)
        end = min(len(content), at + choose.choice([0, 1, 1, 4, 40, len(content)]))
        new = choose.choice(
            [b"", choose.choice(TOKENS), choose.randbytes(choose.choice([1, 4, 40]))]
        )
        content = content[:at] + choose.choice([new, content[at:end] * 2]) + content[end:]
    return content


NAMES = [*TEXTS, *FILES]


def fuzz(name: str, folder: Path, count: int) -> tuple[int, list[str]]:
    """How many inputs were refused, by an error of ours or as none, and every fault."""
    choose, refused, faults = random.Random(name), 0, []
    path = folder / FILES[name][0] if name in FILES else folder
    made = FILES[name][1]() if name in FILES else TEXTS[name][0]()
    good = made if isinstance(made, bytes) else made.encode()
    form = path.suffix.removeprefix(".")
    try:
        document = yaml.safe_load(good) if form == "yaml" else json.loads(good)
    except (ValueError, UnicodeDecodeError):
        document = None
    if name == "a table of kernel costs" or isinstance(document, str | float | int):
        document = None  # 60 kB: its bytes are changed
    for _ in range(count):
        content = mutated(good, document, form, choose)
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
        try:
            if name in FILES:
                path.write_bytes(content)
                found = FILES[name][2](path)
            else:
                found = TEXTS[name][1](content.decode("utf-8", "surrogateescape"))
            refused += found is None
        except NasError as error:
            refused += 1
            if len(str(error)) > 5000:
                faults.append(f"a message of {len(str(error))} characters for {content[:200]!r}")
        except Exception as error:
            faults.append(f"{type(error).__name__}: {error!s:.200} for {content[:300]!r}")
        seconds = time.thread_time() - began
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        if seconds > SECONDS or grown > MEGABYTES:
            faults.append(f"{seconds:.1f} s and {grown:.0f} MB for {content[:200]!r}")
    return refused, faults


@pytest.fixture(scope="module", autouse=True)
def collected() -> None:
    """Leave nothing to collect while an input is timed: what other tests left takes a second.

    It stays frozen, as the modules do from the start: `gc.unfreeze` would thaw those too.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_odd_inputs_are_refused_by_an_error_of_ours(name: str, folder: Path) -> None:
    refused, faults = fuzz(name, folder, INPUTS)
    assert not faults, "\n".join(faults[:5])
    assert refused > INPUTS / 10


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_thousand_odd_inputs(name: str, folder: Path) -> None:
    count = 100_000 // len(NAMES) + 1
    refused, faults = fuzz(name, folder, count)
    print(f"FUZZ {name}: {count} inputs, {refused} refused, {len(faults)} faults")
    assert not faults, "\n".join(faults[:5])


GATES = {
    "json.loads": {
        "nas_sv2/plain_data.py",
        "evaluate/data/chunk_decoding.py",  # our own cache
        "evaluate/data/image_cache.py",
        "nas_sv2/testing.py",  # a payload that we have made
        "nas_sv2/show/recipe_tables.py",
        "studies/dashboard/server.py",  # an answer of Optuna's dashboard
        "studies/findings/record.py",  # text that we have just written
        "studies/package/card.py",
    },
    "tomllib.loads": {"nas_sv2/plain_data.py"},
    "yaml.load": {"nas_sv2/plain_data.py"},
    "yaml.safe_load": set(),
}


def test_plain_data_of_others_are_parsed_at_one_place() -> None:
    """A new reader uses `plain_data`, and joins the parsers above."""
    root = Path(__file__).resolve().parents[2]
    found: dict[str, set[str]] = {name: set() for name in GATES}
    for room in ("nas_sv2", "search", "studies", "latency", "evaluate", "space"):
        for file in sorted((root / room).rglob("*.py")):
            place = str(file.relative_to(root))
            if place.startswith(("latency/agent/", "latency/calibration/")):
                continue  # on the board, and in the workshop of the tables
            text = file.read_text(encoding="utf-8")
            if not any(name in text for name in GATES):
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in found:
                    found[called].add(place)
    assert found == GATES


def test_every_parser_takes_its_good_input(folder: Path) -> None:
    for name, (file, good, read) in FILES.items():
        if name in ("a supernet", "checksums"):
            continue
        made = good()
        (folder / file).write_bytes(made if isinstance(made, bytes) else made.encode())
        assert read(folder / file) is not None
    for name, (text, read_text) in TEXTS.items():
        assert read_text(text()) is not None, name
    assert asdict(HeldOutScore({"accuracy": 0.5}, 1.0, 10, 10, 1.0))
