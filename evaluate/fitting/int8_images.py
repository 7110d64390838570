"""Training images from which int8 quantisation takes its scales, as a network sees them.

Scales decide how much accuracy quantisation costs, not how long a network takes.
"""

import numpy as np
import torch

from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.data.image_data import Part, resize
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.space.networks.lowering import Described

IMAGES = 8
"""Number of images, evenly spaced over the training images; quantisation runs each of them."""


def calibration_images(data: DataSample, network: Described) -> np.ndarray:
    """Normalised training images of the network's own size, float32 `(N, C, H, W)`.

    Grey images are repeated for a network that takes colour; colour is averaged for one that takes
    grey. The timed network need not have the channels of the data.
    """
    images = data.images
    count = min(IMAGES, len(images))
    chosen = images[torch.arange(count) * len(images) // count]
    sized = resize(Part(chosen, torch.zeros(count)), network.resolution).images
    floats = Normalise(data.mean, data.deviation)(sized)
    if data.channels != network.channels:
        floats = floats.mean(1, keepdim=True).repeat(1, network.channels, 1, 1)
    array: np.ndarray = floats.contiguous().numpy()
    return array
