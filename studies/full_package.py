"""A fully trained network as files: the network, its numbers, and how it came to them."""

import dataclasses
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from nas_sv2 import __version__
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.full_result import FullyTrained, pass_rows
from nas_sv2.evaluate.full_training import FullRun
from nas_sv2.evaluate.recipe_files import recipe_to_document
from nas_sv2.evaluate.validation import Validation
from nas_sv2.space import cost_of, lower
from nas_sv2.space.network_documents import network_to_yaml
from nas_sv2.space.onnx_lowering import build_onnx
from nas_sv2.space.shuffle_free import without_shuffles
from nas_sv2.studies.export import ARCHITECTURE, CARD, MODEL, WEIGHTS, checked_parity

METRICS = "metrics.json"
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy")


def check_unfinished(out: Path) -> None:
    """Refuse a folder in which a training has ended.

    Raises:
        ConfigError: It has.
    """
    if (out / METRICS).exists():
        raise ConfigError("--out", str(out), "a folder without a training that has ended")


def write_full_package(run: FullRun, trained: FullyTrained, name: str) -> dict[str, Any]:
    """Write what a full training came to into its folder, `metrics.json` last.

    Args:
        run: The training.
        trained: What it came to.
        name: What the user called the network.

    Returns:
        What `metrics.json` holds; `parity` is the largest difference between the logits of torch
        and of the exported ONNX on random images, as a share of the largest logit.

    Raises:
        StoreError: ONNX and torch disagree, or a file cannot be written.
    """
    model = build_onnx(*without_shuffles(lower(trained.network), trained.weights), batch=None)
    parity = checked_parity(trained.network, trained.weights, model)
    metrics = _metrics(run, trained, name, parity)
    contents: dict[str, bytes] = {
        ARCHITECTURE: network_to_yaml(trained.network).encode(),
        WEIGHTS: save(trained.weights),
        MODEL: model,
        CARD: _card(metrics).encode(),
        METRICS: json.dumps(metrics, indent=1, allow_nan=False).encode(),
    }
    for file, content in contents.items():
        _replace(run.out / file, content)
    return metrics


def _replace(file: Path, content: bytes) -> None:
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        os.replace(partial, file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"{file} cannot be written: {error}") from error


def _metrics(run: FullRun, trained: FullyTrained, name: str, parity: float) -> dict[str, Any]:
    cost, rows = cost_of(lower(trained.network)), pass_rows(trained.passes, run.processes.count)
    mean, deviation = run.normalise.mean.tolist(), run.normalise.deviation.tolist()
    full = run.recipe.full_training
    return {
        "network": name,
        "digest": trained.network.digest,
        "flops": cost.flops,
        "params": cost.params,
        "validation": dataclasses.asdict(trained.validation),
        "test": None if trained.test is None else dataclasses.asdict(trained.test),
        "data": run.data.provenance,
        "class_names": list(run.data.class_names) if run.recipe.classes is None else None,
        "recipe": recipe_to_document(run.recipe),
        "recipe_digest": run.recipe.digest,
        "seed": run.seed,
        "device": trained.place,
        "processes": run.processes.count,
        "seconds": round(trained.seconds, 3),
        "input": {
            "channels": trained.network.channels,
            "side": trained.network.resolution,
            "centre_of": run.data.side,
            "mean": mean,
            "deviation": deviation,
        },
        "averaged": full is not None and full.ema,
        "parity": parity,
        "passes": rows,
        "made_with": {
            "nas-sv2": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
    }


def _card(metrics: dict[str, Any]) -> str:
    taken, side = metrics["input"], metrics["input"]["side"]
    cut = "" if taken["centre_of"] == side else f", the centre of {taken['centre_of']} pixels"
    means = ", ".join(f"{each:.2f}" for each in taken["mean"])
    deviations = ", ".join(f"{each:.2f}" for each in taken["deviation"])
    rows = {
        "validation": _found(metrics["validation"]),
        "test": _found(metrics["test"]),
        "recipe": f"{metrics['recipe']['name']} ({metrics['recipe_digest']}), "
        f"seed {metrics['seed']}, {len(metrics['passes'])} passes, "
        f"{metrics['passes'][-1]['step']:,} steps",
        "data": metrics["data"],
        "trained on": f"{metrics['device']}, {metrics['seconds']:,.0f} s",
        "weights": "their moving average" if metrics["averaged"] else "the last",
        "multiply-adds": f"{metrics['flops'] / 1e6:.1f} M",
        "params": f"{metrics['params']:,}",
        "input": f"{taken['channels']} × {side} × {side}{cut}",
        "grey levels": f"0 to 255, minus {means}, over {deviations}",
    }
    made = ", ".join(f"{name} {value}" for name, value in metrics["made_with"].items())
    return "\n".join(
        [
            f"# {metrics['network']}",
            "",
            "| | |",
            "| --- | --- |",
            *(f"| {key} | {value} |" for key, value in rows.items()),
            "",
            "One training with one seed; another seed gives another figure.",
            "",
            f"- `{ARCHITECTURE}`: the network, with the classes and channels of the data",
            f"- `{WEIGHTS}`, `{MODEL}`: its numbers, and both in one, for any batch",
            f"- `{METRICS}`: all figures, the whole recipe, each pass, the names of the classes",
            "",
            "Largest difference between the logits of torch and of onnxruntime on random images: "
            f"{metrics['parity']:.1e} of the largest logit.",
            "",
            f"Made with {made}.",
            "",
        ]
    )


def _found(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–, the data have no such part"
    found_on = Validation(**found)
    return (
        f"top-1 {found_on.accuracy:.2%}, cross-entropy {found_on.loss:.4f} "
        f"({found_on.images:,} images)"
    )
