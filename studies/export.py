"""A winner as files: the configuration, the trained network, and the network that was timed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.evaluation import Trained
from nas_sv2.latency.local import CPU_PLAN
from nas_sv2.latency.payload import payload_of
from nas_sv2.space import Architecture, load_architecture, lower
from nas_sv2.space.documents import architecture_to_yaml
from nas_sv2.space.network import Classifier
from nas_sv2.space.onnx_lowering import INPUT, build_onnx
from nas_sv2.space.shuffle_free import without_shuffles
from nas_sv2.space.weights import Array, Weights, check_weights

ARCHITECTURE, TRAINED, MODEL = "architecture.yaml", "trained.yaml", "model.onnx"
WEIGHTS, TIMING, CARD = "weights.safetensors", "timing.onnx", "card.md"

PARITY_IMAGES = 4
PARITY = 1e-3
"""Largest accepted difference of logits, as a share of the largest logit: float32 sums in another
order differ by about 1e-6 of it, and a wrong weight by all of it."""


@dataclass(frozen=True)
class Package:
    """An exported network, read back.

    Attributes:
        architecture: The network as it was found, at the resolution whose latency counts.
        trained: The form in which it was trained; `weights` and `model.onnx` are its.
        weights: Its numbers.
    """

    architecture: Architecture
    trained: Architecture
    weights: Mapping[str, Array]


def write_package(
    out: Path, architecture: Architecture, trained: Trained, card: str, *, force: bool
) -> float:
    """Write all files of a winner to the folder `out`.

    Args:
        out: The folder; made if it is not there.
        architecture: The network as it was found.
        trained: The network after its training.
        card: What `card.md` says; `{parity}` in it is filled with the checked difference.
        force: Write over the files of an earlier export.

    Returns:
        The largest difference between torch's logits and those of the exported ONNX, as a share of
        the largest logit.

    Raises:
        ConfigError: The folder exists and `force` is not given.
        StoreError: ONNX and torch disagree, or a file cannot be written.
    """
    check_out(out, force)
    graph = lower(trained.architecture)
    model = build_onnx(*without_shuffles(graph, trained.weights), batch=None)
    parity = checked_parity(trained.architecture, trained.weights, model)
    timing = payload_of(architecture, CPU_PLAN).body
    contents: dict[str, bytes] = {
        ARCHITECTURE: architecture_to_yaml(architecture).encode(),
        TRAINED: architecture_to_yaml(trained.architecture).encode(),
        MODEL: model,
        WEIGHTS: save(trained.weights),
        TIMING: timing,
        CARD: card.replace("{parity}", f"{parity:.1e}").encode(),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error}") from error
    return parity


def check_out(out: Path, force: bool) -> None:
    """Refuse a folder that is there, unless its files may be written over.

    Raises:
        ConfigError: It is there, or cannot be.
    """
    try:
        there, folder = out.exists(), out.is_dir()
    except OSError as error:
        raise ConfigError("--out", str(out), f"a folder that can be made ({error})") from None
    if there and not (force and folder):
        raise ConfigError("--out", str(out), "a folder that is not there yet, or --force")


def load_package(folder: Path) -> Package:
    """The network that `write_package` wrote to `folder`.

    Raises:
        ConfigError: A file is missing or describes something else.
    """
    trained = load_architecture(folder / TRAINED)
    try:
        weights: dict[str, Array] = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ConfigError("file", str(folder / WEIGHTS), f"readable weights ({error})") from None
    check_weights(lower(trained), weights)
    return Package(load_architecture(folder / ARCHITECTURE), trained, weights)


def checked_parity(network: Classifier, weights: Weights, model: bytes) -> float:
    """The largest difference of logits on random images, as a share of the largest.

    Raises:
        StoreError: It is more than other sums of the same numbers make.
    """
    import onnxruntime
    import torch

    from nas_sv2.space.torch_lowering import build_module, load_weights

    graph = lower(network)
    image = graph.input
    shape = (PARITY_IMAGES, image.channels, image.height, image.width)
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    module = build_module(graph).eval()
    load_weights(module, graph, weights)
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {INPUT: images})
    parity = float(abs(logits - expected).max() / abs(expected).max())
    if not parity <= PARITY:
        raise StoreError(f"exported ONNX and torch disagree: logits differ by {parity:.1e}")
    return parity
