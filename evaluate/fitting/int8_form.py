"""The accuracy of a trained network in int8: of the very ONNX file that an export ships.

The ranges come from training images alone. The images by which candidates are compared decide
nothing in the file. onnxruntime runs it on the CPU. An x86 processor without int8 dot products
(VNNI) saturates sums of 16 bits, which can cost accuracy that other processors keep.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from nas_sv2.errors import EvaluationError, StoreError
from nas_sv2.evaluate.data.data_sample import spaced_images
from nas_sv2.evaluate.data.image_data import Part
from nas_sv2.evaluate.fitting.augment import Normalise, centre_of
from nas_sv2.evaluate.fitting.validation import Validation, validate_logits
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.runtimes.onnx_form import onnx_form, shuffle_free_onnx
from nas_sv2.space.runtimes.quantization import Range, quantize
from nas_sv2.space.runtimes.weights import Weights, flush


def int8_network(
    network: Classifier,
    weights: Weights,
    train: Part,
    normalise: Normalise,
    ranges: Mapping[str, Range] | None = None,
) -> Callable[[Tensor], Tensor]:
    """Quantise a trained network as an export does; return the file as a function.

    Args:
        network: The form that was trained.
        weights: Its weights.
        train: Training images, some of which set the ranges; cropped to the centre if too large.
        normalise: Grey levels to the network's input.
        ranges: Ranges that were learned, by value; None if all come from images.

    Raises:
        EvaluationError: If onnxruntime refuses the file, or cannot run it later.
    """
    shipped = {name: flush(array) for name, array in weights.items()}
    model = shuffle_free_onnx(lower(network), shipped)
    images = normalise(centre_of(spaced_images(train.images), network.resolution)).numpy()
    try:
        form = onnx_form(quantize(model, np.ascontiguousarray(images), ranges))
    except StoreError as error:
        raise EvaluationError(f"in int8, {error}") from error

    def ask(images: Tensor) -> Tensor:
        try:
            return torch.from_numpy(form(images.contiguous().numpy()))
        except StoreError as error:
            raise EvaluationError(f"in int8, {error}") from error

    return ask


def validate_int8(
    network: Classifier,
    weights: Weights,
    train: Part,
    held_out: Part,
    normalise: Normalise,
    score: str = "accuracy",
) -> Validation:
    """Validate a trained network in int8, on `held_out`; see `int8_network`.

    `score` is that of the recipe, which may be a user's own metric.

    Raises:
        EvaluationError: If onnxruntime refuses the file, or the loss or the score is not finite.
    """
    ask = int8_network(network, weights, train, normalise)
    part = Part(centre_of(held_out.images, network.resolution), held_out.labels)
    found = validate_logits(ask, part, normalise, "cpu", score)
    if not math.isfinite(found.loss):
        raise EvaluationError(f"the validation loss is {found.loss} in int8")
    return found
