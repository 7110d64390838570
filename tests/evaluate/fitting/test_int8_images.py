import dataclasses

import numpy as np
import pytest
import torch

from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.int8_images import IMAGES, calibration_images
from nas_sv2.space.units.reference import reference


def data_of(channels: int, count: int = 40) -> DataSample:
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, 12, 12)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    part = Part(images, torch.arange(count) % 2)
    return DataSample.of(ImageData("made", "0" * 16, ("one", "two"), part, part))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wanted", [1, 3])
def test_they_fit_the_network_and_are_normalised(channels: int, wanted: int) -> None:
    network = dataclasses.replace(reference("shufflenet_v2_x0_5"), resolution=32, channels=wanted)
    images = calibration_images(data_of(channels), network)
    assert images.shape == (IMAGES, wanted, 32, 32)
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    assert abs(images.mean()) < 0.2
    assert 0.2 < images.std() < 1.2  # stretched images are smoother than the 12×12 they were


def test_a_small_set_gives_what_it_has() -> None:
    assert len(calibration_images(data_of(3, count=4), reference("shufflenet_v2_x0_5"))) == 4
