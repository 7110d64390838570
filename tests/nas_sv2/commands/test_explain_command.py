"""`explain` as a user meets it, on the emulated core, end to end."""

import json
import re
from collections.abc import Callable
from functools import partial

import pytest

from nas_sv2.database.database import Database
from nas_sv2.latency.breakdown.what_if import Gain, variants_of
from nas_sv2.latency.guidelines.profile import Accuracy, GuidelineProfile
from nas_sv2.latency.guidelines.store import DeviceKey, ProfileStore
from nas_sv2.latency.kernels.node_costs import NodeCosts, Terms, class_of, pieces_of_graph
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.show.network_tables import gain_line
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import reference

Run = Callable[..., tuple[int, str, str]]
NAME = "shufflenet_v2_se_x0_5"


@pytest.fixture
def run(command_line: Run) -> Run:
    return partial(command_line, "network", "explain")


def test_blocks_guidelines_and_variants_are_printed(run: Run) -> None:
    code, out, _ = run(NAME, "--target", "arm")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["stem", "stage2.0", "stage2.1"]
    gains = [line for line in lines if line.startswith("SE off in stage 4")]
    pattern = r"SE off in stage 4: -0\.\d+ ms \(-\d\.\d%\), emulated, FLOPs -0\.\d+M"
    assert len(gains) == 1
    assert re.fullmatch(pattern, gains[0])
    assert any("nas-sv2 device guidelines --target arm" in line for line in lines)


def test_data_add_up(run: Run) -> None:
    code, out, _ = run(NAME, "--target", "arm", "--json")
    data, graph = json.loads(out), lower(reference(NAME))
    assert code == 0
    assert data["latency"]["provenance"] == "emulated"
    assert sum(block["flops"] for block in data["blocks"]) == cost_of(graph).flops
    assert sum(block["share"] for block in data["blocks"]) == pytest.approx(1)
    assert sum(block["ms"] for block in data["blocks"]) == pytest.approx(data["latency"]["ms"])
    assert all(block["guidelines"].keys() == {"G1", "G2", "G3", "G4"} for block in data["blocks"])
    assert all(block["wasted"] is None for block in data["blocks"])
    gains = data["variants"]
    assert [gain["ms"] for gain in gains] == sorted(gain["ms"] for gain in gains)
    assert {gain["name"] for gain in gains} == {
        variant.name for variant in variants_of(reference(NAME))
    }
    assert data["against_ms"] == pytest.approx(data["latency"]["ms"])


def test_another_familys_network_has_blocks_and_no_variants(run: Run) -> None:
    code, out, _ = run("mobilenet_v1_x0_5", "--target", "arm")
    assert code == 0
    assert "stage4.1" in out
    assert "no variants: not a network of the space" in out
    _, out, _ = run("mobilenet_v1_x0_5", "--target", "arm", "--json")
    assert json.loads(out)["variants"] is None


def test_the_devices_own_guidelines_are_told_where_they_are_known(run: Run) -> None:
    pieces = pieces_of_graph(lower(reference(NAME)), "shuffle_free")
    costs = NodeCosts({class_of(piece.kernel): [1.0] * len(Terms._fields) for piece in pieces})
    profile = GuidelineProfile(
        "arm: stand-in", "emulated", "shuffle_free", "2026", costs, Accuracy(50, 0.1, 0.5)
    )
    with Database.open("sqlite:///nas-sv2.db") as db:
        key = DeviceKey.of(TargetBook.read().open("arm"))
        ProfileStore(db).save(key._replace(device="another table"), profile)
        _, out, _ = run(NAME, "--target", "arm")
        assert "its profile is of another device, runtime or protocol" in out
        ProfileStore(db).save(key, profile)
    _, out, _ = run(NAME, "--target", "arm", "--json")
    expected = profile.waste_by_block(lower(reference(NAME)))
    for block in json.loads(out)["blocks"]:
        waste = expected[block["block"]]
        assert block["wasted"] == pytest.approx({"total": waste.total, **waste.shares})
    _, out, _ = run(NAME, "--target", "arm")
    assert "most by" in out.splitlines()[0]
    assert "nas-sv2 device guidelines" not in out
    # Another family has operators that no such profile knows.
    code, out, _ = run("shufflenet_v1_g3_x1_0", "--target", "arm")
    assert (code, "is not known: no estimate for" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("shufflenet_v9", "--target", "arm"), "architecture .*; got 'shufflenet_v9'"),
        ((NAME, "--target", "toaster"), "toaster"),
        ((NAME, "--target", "arm,cpu"), "one target"),
        ((NAME,), "--target"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert re.search(told, err), err


def test_a_measured_gain_has_its_interval_and_its_standing() -> None:
    variant = next(v for v in variants_of(reference(NAME)) if v.name == "SE off in stage 4")
    settled = Gain(variant, -0.9, (-1.0, -0.8), settled=True)
    assert gain_line(settled, 15.0, "measured") == (
        "SE off in stage 4: -0.900 ms (-6.0%), 95 % -1.000 to -0.800, FLOPs -0.07M"
    )
    tie = Gain(variant, -0.01, None, settled=False)
    assert "no interval, a tie" in gain_line(tie, 15.0, "measured")
