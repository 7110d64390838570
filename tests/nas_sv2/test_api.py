"""The Python API: what can be imported, how fast, and what it gives."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import optuna
import pytest
import torch
from doubles import FakeEvaluator, small_space

import nas_sv2 as nas
from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.latency.measurements.measurement import Provenance
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.space.runtimes.torch_lowering import build_module
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.space.units.reference import reference

HEAVY = {"torch", "torchvision", "onnx", "onnxruntime", "optuna", "sqlalchemy", "typer", "numpy"}
V2 = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5")


def test_importing_takes_at_most_50_ms_and_no_heavy_package() -> None:
    code = (
        "import sys, time; began = time.process_time(); import nas_sv2; "
        "print(time.process_time() - began, *sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        for _ in range(3)
    ]
    seconds, modules = zip(*(run.stdout.split(maxsplit=1) for run in runs), strict=True)
    assert not HEAVY & set(modules[0].split())
    assert min(map(float, seconds)) < 0.05


def test_at_most_21_names_are_public_and_all_are_there() -> None:
    assert len(nas.__all__) <= 21
    assert nas.__all__ == sorted(nas.__all__)
    assert set(nas.__all__) <= set(dir(nas))
    assert all(getattr(nas, name) is not None for name in nas.__all__)
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        nas.nothing_of_ours  # noqa: B018


def test_a_folder_of_the_same_name_does_not_hide_a_function() -> None:
    importlib.import_module("nas_sv2.studies.storage.catalog")
    importlib.import_module("nas_sv2.search.session.session")
    assert callable(nas.studies) and callable(nas.search)


def test_references_by_their_size_and_by_their_full_names() -> None:
    assert nas.reference("1x") == reference("shufflenet_v2_x1_0")
    assert nas.reference("0.5x") == reference("shufflenet_v2_x0_5")
    assert nas.reference("shufflenet_v2_se_x1_0") == reference("shufflenet_v2_se_x1_0")
    assert nas.cost("mobilenet_v2_x1_0").flops > nas.cost("1x").flops == 145_814_296
    assert nas.reference("0.75x") == reference("shufflenet_v2_x0_75")
    with pytest.raises(ConfigError, match=r"width must be from 0\.1 to 4; got 5"):
        nas.reference("5x")


def test_a_network_as_a_module_and_as_a_file(tmp_path: Path) -> None:
    network = nas.reference("0.5x")
    module = nas.module(network, seed=3)
    same = nas.module(network, seed=3)
    assert sum(p.numel() for p in module.parameters()) == cost_of(lower(network)).params
    assert all(
        torch.equal(one, other)
        for one, other in zip(module.parameters(), same.parameters(), strict=True)
    )
    file = nas.onnx(network, tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(file)
    (logits,) = session.run(None, {"input": np.zeros((1, 3, 224, 224), np.float32)})
    assert logits.shape == (1, 1000)
    with pytest.raises(ConfigError, match="path must name a file in a folder that exists"):
        nas.onnx(network, tmp_path / "none" / "a.onnx")


def test_a_text_names_a_network_as_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(architecture_to_yaml(reference(V2[0])))
    nas.onnx("mine.yaml", "mine.onnx")
    small = small_space()
    storage = f"sqlite:///{tmp_path / 'own.db'}"
    study = nas.search(
        Board(), space=small, evaluator=FakeEvaluator(), guidelines="off", trials=1, study="own",
        budget="1M", storage=storage,
    )  # fmt: skip
    (number,) = study.records
    for text in ("0.5x", "shufflenet_v2_x0_5", "mine.yaml", "mine.onnx"):
        assert nas.cost(text).flops == nas.cost("0.5x").flops
    assert nas.cost(f"own:{number}", storage=storage) == study.records[number].cost
    module = nas.module(f"own:{number}", storage=storage)
    assert sum(each.numel() for each in module.parameters()) == study.records[number].cost.params
    with pytest.raises(ConfigError, match="architecture must be a reference network"):
        nas.cost("resnet")


def test_a_network_is_written_by_hand() -> None:
    stages = (nas.Stage(depth=2, width=48), nas.Stage(depth=1, width=96, kernel=5, se=True))
    mine = nas.Architecture(stem=(16,), stages=stages, head=64, resolution=96, classes=10)
    module, images = nas.module(mine), torch.randn(2, 3, 96, 96)
    assert module.training and all(each.requires_grad for each in module.parameters())
    fresh = build_module(lower(mine), torch.Generator().manual_seed(0))
    torch.testing.assert_close(module.eval()(images), fresh.eval()(images))
    features: Any = module.features
    assert {name: each.shape[1] for name, each in features(images).items()} == {
        "stem": 16,
        "stage2": 48,
        "stage3": 96,
    }
    assert nas.cost(mine).flops == cost_of(lower(mine)).flops


ANY: Any = nas
"""The API, called as no type checker allows."""


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ANY.reference(None), "name must be a text; got None"),
        (lambda: ANY.SearchSpace.load(3), "path must be a path or a text; got 3"),
        (lambda: named_space("40M").baseline(ANY.cost), "name must be a text; got <function"),
        (lambda: named_space("40M").params_of(cast(Any, 3)), "architecture must be an Archi"),
        (lambda: ANY.cost(3), "or a text; got 3"),
        (lambda: ANY.cost("0.5x", storage=5), "storage must be a text or a Database; got 5"),
        (lambda: ANY.module("1x", seed=True), "seed must be a whole number; got True"),
        (lambda: ANY.module("1x", seed=1.5), r"seed must be a whole number; got 1\.5"),
        (lambda: ANY.onnx("1x", 3), "path must be a path or a text; got 3"),
        (lambda: ANY.load("a\0b"), "folder must not hold a null byte"),
        (lambda: ANY.load("a.onnx", inputs={"x": 3}), r"inputs\['x'\] must be a list; got 3"),
        (lambda: ANY.measure([], target="arm"), r"networks must have at least one network"),
        (lambda: ANY.measure("1x", target="arm"), "networks must be a list; got '1x'"),
        (lambda: ANY.measure(["1x", 3], target="arm"), r"networks\[1\] must be .* got 3"),
        (lambda: ANY.measure(["1x"], target="arm", fresh="no"), "fresh must be True or False"),
        (lambda: ANY.measure(["1x"], target="arm", plan={1: 2}), "each key of plan must be a te"),
        (lambda: ANY.measure(torch.nn.ReLU(), target="arm"), r"networks must be a list; got R"),
        (lambda: ANY.search("arm", budget=5), "budget must be a text, a Budget or a list; got 5"),
        (lambda: ANY.search("arm", timeout=5), "timeout must be a text or None; got 5"),
        (lambda: ANY.search("arm", workers="2"), "workers must be a whole number or None; got"),
        (lambda: ANY.search("arm", on_event=3), "on_event must be a function; got 3"),
        (lambda: ANY.train("1x", "a", data=3), "data must be a text; got 3"),
        (lambda: ANY.train("1x", "a", data="b", forms="onnx"), "forms must be a list; got 'onnx'"),
        (lambda: ANY.train("1x", "a", data="b", rates={3: 1}), "each key of rates must be a text"),
        (lambda: ANY.open_study(None), "name must be a text; got None"),
    ],
)  # fmt: skip
def test_an_argument_of_another_type_is_refused_in_one_line(
    call: Callable[[], object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_paths_and_numbers_of_numpy_are_taken(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(architecture_to_yaml(reference(V2[0])))
    assert ANY.cost(tmp_path / "mine.yaml", storage=tmp_path / "own.db") == ANY.cost("0.5x")
    ours, theirs = (ANY.module("0.5x", seed=seed) for seed in (np.int64(3), 3))
    assert torch.equal(next(ours.parameters()), next(theirs.parameters()))


def test_lists_in_a_network_become_tuples() -> None:
    lists = ANY.Architecture([16], [ANY.Stage(2, 48)], 64, resolution=[96, 64])
    tuples = ANY.Architecture((16,), (ANY.Stage(2, 48),), 64, resolution=(96, 64))
    assert lists == tuples and hash(lists) == hash(tuples)
    assert lists.digest == tuples.digest
    scored = ANY.Evaluation(0.5, scores=[0.5, 0.7])
    assert ANY.Evaluation.from_json(scored.to_json()) == scored


class Board:
    """A target of the user's: it takes a nanosecond a multiply-add."""

    name = "board"
    provenance: Provenance = "measured"

    def estimate(self, network: Network) -> nas.Latency:
        ms = cost_of(lower(network)).flops / 1e6
        return nas.Latency(ms, None, None, self.provenance, "my board", None, None, "")


def test_networks_are_compared_on_a_target(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'm.db'}"
    found = nas.measure([V2[2], nas.reference("0.5x"), V2[1]], target="arm", storage=storage)
    assert found.target == "arm"
    assert found.ranking == [reference(V2[0]).digest[:8], V2[1], V2[2]]
    assert found.ties == []
    assert [row["rank"] for row in found.to_json()] == [3, 1, 2]
    assert json.dumps(found.to_json())
    assert str(found).splitlines()[1].startswith(reference(V2[0]).digest[:8])
    assert found._repr_html_().count("<tr>") == 4


def test_a_target_of_ones_own_is_an_object(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'm.db'}"
    found = nas.measure(list(V2), target=Board(), storage=storage)
    assert found.ranking == list(V2)
    assert found.latencies[1].ms == pytest.approx(145.814296)
    (one,) = nas.measure([V2[0]], target=Board(), storage=storage).to_json()
    assert (one["rank"], one["against"]) == (1, [])


def test_names_are_escaped_in_a_notebook(tmp_path: Path) -> None:
    file = tmp_path / "<b>.yaml"
    file.write_text(architecture_to_yaml(reference(V2[0])))
    page = nas.measure(
        [str(file)], target="arm", storage=f"sqlite:///{tmp_path}/m.db"
    )._repr_html_()
    assert "<b>" not in page and "&lt;b&gt;" in page


SPACE = (
    "nas_sv2_space: 1\nstem: [8]\nhead: 16\nresolution: 32\nchannels: 3\nclasses: 2\nstages:\n"
    "  - {depth: 1, width: {low: 16, high: 48, step: 8}}\n"
    "  - {depth: 1, width: {low: 56, high: 88, step: 8}}\n"
    "  - {depth: 1, width: {low: 96, high: 128, step: 8}}\n"
)
RECIPE = "nas_sv2_recipe: 1\nepochs: 1\nbatch: 4\nresolution: 16\n"


def test_the_notebook_of_the_first_search(
    tmp_path: Path, folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    images: dict[str, Any] = {"data": f"imagefolder:{folder(count=12)}", "guidelines": "off"}
    tiny = {"space": "space.yaml", "recipe": "recipe.yaml", **images}

    study = nas.search("arm", budget="3M", trials=2, study="first", **tiny)
    front = study.front
    table = str(front)
    best = study.best
    study.export(best, "winner", time=False, int8=False)
    module = nas.load("winner")
    page = study.report("report.html")
    (row,) = nas.studies()
    again = nas.open_study("first")
    moved = again.replay("arm", budget=["9ms"], name="moved")
    on_board = again.replay(Board(), budget=nas.Budget(latency_ms={"board": 9.0}))
    with pytest.raises(ConfigError, match="budget must limit one of board"):
        again.replay(Board(), budget=nas.Budget(latency_ms={"arm": 9.0}))
    with pytest.raises(ConfigError, match="budget must be a latency on board"):
        again.replay(Board(), budget="3M")
    deleted = again.delete()

    assert "arm ms (emulated)" in table.splitlines()[0]
    assert table.count("\n") == front._repr_html_().count("<tr>") - 1
    assert best.feasible and best in front.records.values()
    assert module(torch.zeros(1, 3, 16, 16)).shape == (1, 2)
    assert [path.name for path in page] == ["report.html"] and page[0].stat().st_size > 10_000
    assert (row.name, row.targets, row.budget, row.finished) == ("first", ["arm"], ["3M"], 2)
    assert (moved.study, on_board.study) == ("moved", "first-on-board")
    latencies = [record.latencies["board"] for record in on_board.front.records.values()]
    assert [one.device for one in latencies] == [latencies[0].device] * 2
    assert deleted.records == 2
    assert [each.name for each in nas.studies()] == ["moved", "first-on-board"]
    with pytest.raises(ConfigError, match="moved"):
        nas.open_study("first")


def test_objects_are_taken_wherever_a_word_is(tmp_path: Path) -> None:
    events: list[object] = []
    with Database.open(f"sqlite:///{tmp_path / 'own.db'}") as db:
        study = nas.search(
            ["arm", Board()],
            budget=nas.Budget(flops=0.2e6, latency_ms={"board": 0.3}),
            space=small_space(),
            evaluator=FakeEvaluator(),
            guidelines="off",
            trials=3,
            storage=db,
            on_event=events.append,
        )
        assert len(study.records) == 3
        record = study.best
        assert record.evaluation.recipe == "fake"
        assert record.latencies["board"].ms == pytest.approx(record.cost.flops / 1e6)
        assert [type(event).__name__ for event in events].count("TrialFinished") >= 3
        assert [each.name for each in nas.studies(storage=db)] == [study.name]


def test_a_value_that_is_not_allowed_is_named_as_the_parameter_is(tmp_path: Path) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"workers": 0}, "workers must be a whole number from 1 to .*; got 0"),
        ({"budget": "140"}, "budget"),
        ({"sampler": "magic"}, "sampler must be one of"),
    )
    for changes, said in cases:
        with pytest.raises(ConfigError, match=said):
            nas.search("arm", storage=f"sqlite:///{tmp_path}/none.db", **changes)
    assert not (tmp_path / "none.db").exists()


# Of one process, as it takes seconds to import all.
FIRST_ONE_THEN_THE_OTHER = """
import sys
import optuna
before = optuna.logging.get_verbosity()
lines = [
    "import nas_sv2.search.walk.budget, nas_sv2.studies.findings.front",
    "call = nas_sv2.search",
]
for order in (lines, lines[::-1]):
    for name in [name for name in sys.modules if name.partition(".")[0] == "nas_sv2"]:
        del sys.modules[name]  # and not torch, which takes seconds
    import inspect, nas_sv2
    for line in order:
        exec(line)
    assert nas_sv2.search.walk.budget.parse_budget(["140M"], [], 0.05).flops == 140e6
    assert nas_sv2.studies.findings.front.Front.__name__ == "Front"
    assert "trials" in inspect.signature(nas_sv2.search).parameters
    assert nas_sv2.studies.__name__ == "studies"
    import nas_sv2.search as folder, nas_sv2.studies
    from nas_sv2 import search
    assert call is search is nas_sv2.search
print("both")
import nas_sv2.search.session.session
print(before, optuna.logging.get_verbosity())
"""


@pytest.fixture(scope="module")
def told() -> list[str]:
    command = [sys.executable, "-c", FIRST_ONE_THEN_THE_OTHER]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_a_public_function_and_the_folder_of_its_name_are_both_reached(told: list[str]) -> None:
    assert told[0] == "both"


def test_the_users_optuna_keeps_its_verbosity(told: list[str]) -> None:
    assert told[1:] == [f"{optuna.logging.INFO} {optuna.logging.INFO}"]
