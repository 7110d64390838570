"""`reuse` as a user meets it: tables, data, pictures, and weights from a file or a trial."""

import dataclasses
import json
import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
from doubles import record_of
from optuna.samplers import RandomSampler
from PIL import Image
from safetensors.numpy import save_file

from nas_sv2.database.database import Database
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.weights import Array, random_weights
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

Run = Callable[..., tuple[int, str, str]]
NETWORK = Architecture((8,), (Stage(3, 16, Fraction(1, 4)), Stage(2, 32)), 16)
TRAINED = dataclasses.replace(NETWORK, channels=1, classes=10, resolution=28, stem_pool=False)


@pytest.fixture
def run(command_line: Run) -> Run:
    return partial(command_line, "network", "reuse")


@pytest.fixture
def weights() -> dict[str, Array]:
    return random_weights(lower(TRAINED), seed=3)


@pytest.fixture
def study(run: Run, weights: dict[str, Array]) -> str:
    """In the folder's database: trial 4 with its weights kept, trial 5 without."""
    url = "sqlite:///nas-sv2.db"
    db = Database.open(url)
    db.migrate()
    key = study_key(
        create_or_resume(
            Database.open(url), "mine", {"targets": {"t": "measured"}}, RandomSampler()
        )
    )
    records = RecordStore(db, key)
    records.save(4, record_of(0.5, 1.0, architecture=NETWORK))
    records.save(5, record_of(0.4, 1.0))
    db.close()
    WeightsFolder.of_study(Database.open(url), key).save(NETWORK.digest, weights)
    return "mine"


def test_the_exact_shares_stand_beside_the_formula(run: Run) -> None:
    code, out, _ = run("shufflenet_v2_x1_0")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["stage2", "3", "0.1293", "0.1250", "+0.0043"] in [row[:5] for row in rows]
    assert ["stage3", "to", "stage4", "1", "0.0000"] in [row[:5] for row in rows]
    assert "r^d" in out


def test_data_in_stable_keys(run: Run) -> None:
    _, out, _ = run("shufflenet_v2_x0_5", "--json")
    data = json.loads(out)
    first, last = data["blocks"].index("stage2.0"), data["blocks"].index("stage2.3")
    assert data["passed"][first][last] == pytest.approx(6 / 48)
    assert data["passed_if_mixed_evenly"][first][last] == pytest.approx(1 / 8)
    assert data["convolved"][first][first + 1] == 0.5
    assert data["convolved_if_mixed_evenly"][last][last + 1] == 1
    assert data["channels_put_out"][first : last + 1] == [48] * 4
    assert data["channels_computed"][first : last + 1] == [48, 24, 24, 24]
    assert (data["reuses"], data["mean_absolute_weights"], data["weights"]) == (True, None, None)


def test_a_network_that_passes_nothing_says_so(run: Run) -> None:
    code, out, _ = run("mobilenet_v1_x0_5")
    assert code == 0
    assert "nothing is reused" in out


def test_a_file_of_weights_gives_the_second_panel(run: Run, weights: dict[str, Array]) -> None:
    Path("net.yaml").write_text(architecture_to_yaml(NETWORK))
    save_file(weights, "trained.safetensors")
    _, out, _ = run("net.yaml", "--out", "one.png")
    assert "|w|" not in out
    code, out, _ = run("net.yaml", "--weights", "trained.safetensors", "--out", "two.png")
    assert code == 0
    assert "mean |w|" in out
    assert "trained.safetensors, of which recipe and seed are not known" in out
    with Image.open("one.png") as one, Image.open("two.png") as two:
        assert two.width == 2 * one.width


def test_a_trials_own_weights_are_found(run: Run, study: str) -> None:
    code, out, _ = run("mine:4", "--json")
    data = json.loads(out)
    assert code == 0
    assert data["weights"] == {"source": "mine:4", "recipe": "fake", "seed": 0, "data": "none@0"}
    stem, first = data["blocks"].index("stem"), data["blocks"].index("stage2.0")
    assert data["mean_absolute_weights"][stem][first] > 0
    assert data["mean_absolute_weights"][first][stem] is None
    named = run("mine:4", "--weights", "mine:4", "--json")[1]
    assert json.loads(named)["mean_absolute_weights"] == data["mean_absolute_weights"]


def test_weights_that_were_not_kept_are_missed_by_name(run: Run, study: str) -> None:
    code, out, err = run("mine:5")
    assert code == 0
    assert "the weights of mine:5 were not kept" in err
    assert "|w|" not in out
    code, out, err = run("mine:5", "--weights", "mine:5")
    assert (code, out) == (2, "")
    assert err.startswith("nas-sv2: --weights must") and err.endswith("got 'mine:5'\n")
    code, out, err = run("mine:5", "--weights", "mine:4")
    assert (code, out) == (2, "")
    assert "missing: stage2.3.main" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("shufflenet_v9",), "architecture .*; got 'shufflenet_v9'"),
        (("shufflenet_v2_x0_5", "--weights", "absent.safetensors"), "absent.safetensors"),
        (("shufflenet_v2_x0_5", "--weights", "weights.bin"), "FILE.safetensors"),
        (("shufflenet_v2_x0_5", "--out", "absent/picture.png"), "--out"),
        (("shufflenet_v2_x0_5", "--out", "picture.jpg"), "--out"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert re.search(told, err), err
