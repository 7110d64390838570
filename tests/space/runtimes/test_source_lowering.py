"""model.py: what it builds is what the other lowerings build, without nas-sv2."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_graphs import run_torch, weights_with_statistics
from safetensors.numpy import save_file
from strategies import architectures

from nas_sv2.resolution import height_and_width
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.source_lowering import build_plain, source_of
from nas_sv2.space.runtimes.weights import Array
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

WEIGHTS = "weights.safetensors"


def images_for(architecture: Architecture, batch: int = 2) -> Array:
    shape = (batch, architecture.channels, *height_and_width(architecture.resolution))
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def source(architecture: Architecture) -> str:
    levels = [100.5] * architecture.channels
    return source_of(architecture, levels, levels, WEIGHTS)


def executed(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "model", "__file__": "/model.py"}
    exec(compile(text, "model.py", "exec"), names)
    return names


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(architectures(), st.integers(0, 2**32 - 1))
def test_the_generated_code_gives_what_the_torch_lowering_gives(
    architecture: Architecture, seed: int
) -> None:
    graph = lower(architecture)
    weights = weights_with_statistics(graph, seed)
    images = images_for(architecture)
    expected = run_torch(graph, weights, images)
    state = {name: torch.from_numpy(array) for name, array in weights.items()}
    for network in (executed(source(architecture))["build"](), build_plain(architecture)):
        network.load_state_dict(state)
        with torch.no_grad():
            logits = network.eval()(torch.from_numpy(images)).numpy()
            maps = network.features(torch.from_numpy(images))
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * abs(expected).max())
        assert len(maps) == 1 + len(architecture.stages)
        assert list(network.strides.values())[-1] == architecture.total_stride
        for name, found in maps.items():
            stride, size = network.strides[name], height_and_width(architecture.resolution)
            assert found.shape == (2, network.widths[name], *(-(-side // stride) for side in size))


def test_the_file_runs_where_nas_sv2_cannot_be_imported(tmp_path: Path) -> None:
    architecture = reference("shufflenet_v2_se_x1_0")
    graph = lower(architecture)
    weights, images = weights_with_statistics(graph, 3), images_for(architecture)
    (tmp_path / "model.py").write_text(source(architecture))
    save_file(weights, tmp_path / WEIGHTS)
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys; sys.modules['nas_sv2'] = None\n"
        "import numpy, torch, model; torch.set_num_threads(1)\n"
        "images = torch.from_numpy(numpy.load('images.npy'))\n"
        "with torch.no_grad(): numpy.save('logits.npy', model.load()(images).numpy())\n"
        "assert torch.equal(model.prepared(images * 0 + 100.5), images * 0)\n"
        "assert not [name for name in sys.modules if name.startswith('nas_sv2.')]\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    expected = run_torch(graph, weights, images)
    np.testing.assert_allclose(
        np.load(tmp_path / "logits.npy"), expected, rtol=0, atol=3e-5 * abs(expected).max()
    )


def test_the_text_depends_on_the_network_and_its_input_alone() -> None:
    one, other = reference("shufflenet_v2_x0_5"), reference("shufflenet_v2_x1_0")
    assert source(one) == source(one)
    assert source(one) != source(other)
    text = source(one)
    assert "nas_sv2" not in text
    assert "Stage(units=4, width=48, convolved=24, shortcut=24)," in text
    assert not [line for line in text.splitlines() if len(line) > 120]


def test_the_text_is_as_ruff_would_write_it(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text(source(reference("shufflenet_v2_se_x1_0")))
    for command in (["format", "--check"], ["check", "--select", "E,F,W,I,B,UP,SIM"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length", "99"]
        done = subprocess.run([*ruff, str(file)], capture_output=True, text=True, check=False)
        if "No module named ruff" in done.stderr:
            pytest.skip("ruff is not installed")
        assert done.returncode == 0, done.stdout + done.stderr
