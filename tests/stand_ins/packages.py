"""Exported networks without a search: tiny, with random weights, on images of an npz file."""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from doubles import record_of
from run_graphs import weights_with_statistics

from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData, channel_statistics
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.recipes.files import open_recipe
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.runtimes.onnx_lowering import OPSET
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.studies.findings.timed_and_trained import Form
from nas_sv2.studies.package.card import (
    CARD,
    CARD_JSON,
    PAGE_KEY,
    document_of,
    json_of,
    trial_card,
    trial_document,
)
from nas_sv2.studies.package.folder import SUMS, write_folder
from nas_sv2.studies.package.forms import TrainedNetwork

TINY = Architecture(
    stem=(8,),
    stages=(Stage(2, 16, se=True), Stage(2, 32, residual=True), Stage(1, 48, kernel=5)),
    head=32,
    resolution=64,
    classes=3,
)
RECIPE = open_recipe("smoke")


def images_file(
    folder: Path, channels: int = 3, side: int = 32, seed: int = 0, width: int | None = None
) -> str:
    """The spec of a file with 120 smooth images of three classes to train, and 60 to validate."""
    generator = np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    for part, count in (("train", 120), ("val", 60)):
        size = side // 4, (width or side) // 4
        coarse = generator.integers(0, 256, (count, channels, *size))
        images = coarse.repeat(4, axis=2).repeat(4, axis=3).astype(np.uint8)
        arrays |= {f"{part}_images": images, f"{part}_labels": np.arange(count) % 3}
    np.savez(folder / f"images{seed}.npz", **arrays)
    return f"npz:{folder / f'images{seed}.npz'}"


def data_in(folder: Path, channels: int = 3, side: int = 32) -> ImageData:
    return open_data(images_file(folder, channels, side))


def winner_of(
    data: ImageData, found: Classifier = TINY, seed: int = 0, trained: Classifier | None = None
) -> TrainedNetwork:
    if trained is None:
        trained = dataclasses.replace(found, channels=data.channels, resolution=data.resolution)
    weights = weights_with_statistics(lower(trained), seed)
    normalise = Normalise(*channel_statistics(data.train.images))
    return TrainedNetwork.of(found, trained, weights, normalise, DataSample.of(data), data.val)


def write_winner(
    out: Path,
    data: ImageData,
    winner: TrainedNetwork | None = None,
    *,
    int8: bool = True,
    opset: int = OPSET,
    formats: Collection[str] = ("onnx",),
) -> TrainedNetwork:
    """The package of a winner, as an export writes it but for its study."""
    winner = winner or winner_of(data)
    files = winner.files(int8=int8, opset=opset, formats=formats)
    document = document_of(
        "tiny", winner, DataSample.of(data), RECIPE, 0, winner.checked(files), []
    )
    if not isinstance(winner.found, Architecture):
        page = "# tiny\n"
        del document[PAGE_KEY]
    else:
        record = record_of(0.5, 1.0, architecture=winner.found)
        trained = winner.trained
        assert isinstance(trained, Architecture)
        document = trial_document(
            document, "s", 7, record, Form.of(trained), {"space": "tiny"}, None
        )
        page = trial_card(document, [*files, CARD_JSON, SUMS])
    write_folder(out, {**files, CARD_JSON: json_of(document), CARD: page.encode()})
    return winner
