"""The files of one export give the same classes in each runtime that opens them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import runtimes
from packages import data_in, write_winner
from run_graphs import assert_close, run_ncnn, run_onnx, run_tflite

from nas_sv2.space.runtimes.ncnn_lowering import NcnnFiles
from nas_sv2.space.runtimes.weights import Array
from nas_sv2.studies.package.forms import (
    MODEL,
    MODEL_NCNN,
    MODEL_TFLITE,
    batches_of,
    ncnn_weights_of,
    torch_form,
)

Export = tuple[Path, Array, Array]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The folder, the validation images, and torch's logits of them."""
    folder = tmp_path_factory.mktemp("export") / "winner"
    winner = write_winner(
        folder, data_in(folder.parent), int8=False, formats=["onnx", "tflite", "ncnn"]
    )
    assert winner.validation is not None
    images = np.concatenate([part for part, _ in batches_of(winner.validation, winner.normalise)])
    return folder, images, torch_form(winner.trained, winner.weights)(images)


def in_onnxruntime(folder: Path, images: Array) -> Array:
    return run_onnx((folder / MODEL).read_bytes(), images)


def in_openvino(folder: Path, images: Array) -> Array:
    pytest.importorskip("openvino")
    return np.asarray(runtimes.openvino_form(folder / MODEL)(images))


def in_litert(folder: Path, images: Array) -> Array:
    model = (folder / MODEL_TFLITE).read_bytes()
    return np.concatenate([run_tflite(model, image[None]) for image in images])


def in_ncnn(folder: Path, images: Array) -> Array:
    weights = (folder / ncnn_weights_of(MODEL_NCNN)).read_bytes()
    return run_ncnn(NcnnFiles((folder / MODEL_NCNN).read_bytes(), weights), images)


@pytest.mark.parametrize("ask", [in_onnxruntime, in_openvino, in_litert, in_ncnn])
def test_the_classes_are_those_of_torch(
    export: Export, ask: Callable[[Path, Array], Array]
) -> None:
    folder, images, expected = export
    found = ask(folder, images)
    assert_close(found, expected)
    assert np.array_equal(found.argmax(1), expected.argmax(1))
    assert len(set(expected.argmax(1).tolist())) > 1  # else any constant would pass
