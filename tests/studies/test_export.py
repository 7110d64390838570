from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from doubles import evaluation_of, record_of

from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.evaluation import Trained
from nas_sv2.space import cost_of, load_architecture, lower, reference
from nas_sv2.space.torch_lowering import build_module, load_weights
from nas_sv2.space.weights import random_weights
from nas_sv2.studies.card import card_of
from nas_sv2.studies.export import (
    ARCHITECTURE,
    CARD,
    MODEL,
    PARITY,
    TIMING,
    load_package,
    write_package,
)

FOUND = reference("shufflenet_v2_x0_5")
AS_TRAINED = replace(FOUND, resolution=28, channels=1, classes=10, stem_pool=False)


def trained(seed: int = 0) -> Trained:
    weights = random_weights(lower(AS_TRAINED), seed)
    return Trained(evaluation_of(0.9), AS_TRAINED, weights)


def test_a_package_loads_again_and_says_what_it_is(tmp_path: Path) -> None:
    out = tmp_path / "new" / "winner"
    parity = write_package(out, FOUND, trained(), "differ by {parity}", force=False)
    assert parity <= PARITY
    assert (out / CARD).read_text() == f"differ by {parity:.1e}"
    package = load_package(out)
    assert (package.architecture, package.trained) == (FOUND, AS_TRAINED)
    graph = lower(package.trained)
    module = build_module(graph)
    load_weights(module, graph, package.weights)
    assert load_architecture(out / ARCHITECTURE) == FOUND


def test_the_exported_files_are_valid_and_of_the_sizes_they_say(tmp_path: Path) -> None:
    write_package(tmp_path / "w", FOUND, trained(), "", force=False)
    for name in (MODEL, TIMING):
        onnx.checker.check_model(onnx.load(tmp_path / "w" / name), full_check=True)
    model, timing = (
        onnxruntime.InferenceSession(tmp_path / "w" / name, providers=["CPUExecutionProvider"])
        for name in (MODEL, TIMING)
    )
    for batch in (1, 3):
        images = np.zeros((batch, 1, 28, 28), np.float32)
        assert model.run(None, {"input": images})[0].shape == (batch, 10)
    assert timing.get_inputs()[0].shape == [1, 3, 224, 224]


def test_an_existing_folder_is_left_alone_unless_forced(tmp_path: Path) -> None:
    out = tmp_path / "winner"
    write_package(out, FOUND, trained(), "first", force=False)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="--force"):
        write_package(out, FOUND, trained(1), "second", force=False)
    assert (out / CARD).read_text() == "first"
    write_package(out, FOUND, trained(1), "second", force=True)
    assert (out / CARD).read_text() == "second"
    assert (out / "notes.txt").read_text() == "mine"
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match="--out"):
        write_package(file, FOUND, trained(), "", force=True)


def test_a_package_whose_onnx_disagrees_with_torch_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(graph: object, weights: object) -> tuple[object, object]:
        return lower(AS_TRAINED), random_weights(lower(AS_TRAINED), 5)

    monkeypatch.setattr("nas_sv2.studies.export.without_shuffles", wrong)
    with pytest.raises(StoreError, match="disagree"):
        write_package(tmp_path / "winner", FOUND, trained(), "", force=False)
    assert not (tmp_path / "winner").exists()


def test_a_package_with_a_file_missing_or_exchanged_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "winner"
    write_package(out, FOUND, trained(), "", force=False)
    (out / "trained.yaml").write_text((out / ARCHITECTURE).read_text())
    with pytest.raises(ConfigError, match="weights"):
        load_package(out)
    (out / "weights.safetensors").unlink()
    with pytest.raises(ConfigError, match="safetensors"):
        load_package(out)


def test_the_card_states_provenance_recipe_seed_and_versions() -> None:
    record = record_of(0.9, 12.5, baseline="shufflenet_v2_x0_5")
    identity = {"space": "40M", "budget": "40 MFLOPs", "guidelines": {"G1": 0.1}}
    card = card_of("s", 3, record, identity)
    for stated in (
        "12.500",
        "measured",
        "recipe",
        "seed 0",
        "onnxruntime",
        record.architecture.digest,
    ):
        assert stated in card
    assert f"{cost_of(lower(FOUND)).params:,}" in card
