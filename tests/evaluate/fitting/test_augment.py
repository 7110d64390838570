import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from nas_sv2.evaluate.data.image_data import AT_ONCE, channel_statistics
from nas_sv2.evaluate.fitting.augment import FlipShift, Normalise, RandomCrop, centre_of


def random_images(count: int, channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def moved(image: Tensor, down: int, right: int, mirrored: bool, reach: int) -> Tensor:
    """One image, the slow way."""
    pad = functional.pad(image[None].float(), (reach,) * 4, mode="replicate")[0]
    height, width = image.shape[1:]
    rows, columns = reach + down, reach + right
    cut = pad[:, rows : rows + height, columns : columns + width].to(torch.uint8)
    return cut.flip(2) if mirrored else cut


@given(st.integers(1, 3), st.integers(2, 6), st.integers(2, 6), st.integers(0, 3), st.booleans())
def test_every_image_is_a_mirrored_shift_of_itself(
    channels: int, height: int, width: int, shift: int, flip: bool
) -> None:
    images = random_images(6, channels, height, width)
    result = FlipShift(flip, shift)(images, torch.Generator().manual_seed(2))
    reach = range(-shift, shift + 1)
    for image, got in zip(images, result, strict=True):
        assert any(
            torch.equal(got, moved(image, down, right, mirrored, shift))
            for down in reach
            for right in reach
            for mirrored in {False, flip}
        )


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
def test_the_centre_is_as_far_from_all_borders(
    height: int, width: int, above: int, before: int
) -> None:
    images = random_images(2, 3, height + 2 * above, width + 2 * before)
    centre = centre_of(images, (height, width))
    assert torch.equal(
        centre, images[:, :, above : above + height, before : before + width].contiguous()
    )


def test_a_crop_is_brought_to_height_and_width() -> None:
    """Levels grow downwards and to the right, by the same step a pixel: crops show a part."""
    down, right = torch.arange(24.0)[:, None], torch.arange(36.0)
    images = torch.stack([down.expand(24, 36), right.expand(24, 36)]).expand(50, 2, 24, 36)
    crops = RandomCrop(0.25, (6, 9))(images, torch.Generator().manual_seed(4))
    assert crops.shape == (50, 2, 6, 9)
    heights = crops[:, 0, -1, 0] - crops[:, 0, 0, 0]
    widths = crops[:, 1, 0, -1] - crops[:, 1, 0, 0]
    shares = heights * 6 / 5 / 24 * widths * 9 / 8 / 36
    assert 0.2 < shares.min() < 0.5 < shares.max() < 1.1
    assert crops[:, 0].diff(dim=2).abs().max() < 1e-4  # rows stay rows
    assert crops[:, 1].diff(dim=1).abs().max() < 1e-4


def test_all_moves_happen_equally_often() -> None:
    image = torch.zeros(1, 9, 9, dtype=torch.uint8)
    image[0, 4, 3] = 1
    images = image.expand(10_000, 1, 9, 9)
    result = FlipShift(flip=True, shift=1)(images, torch.Generator().manual_seed(3))
    spots = result.flatten(1).long().argmax(1).bincount()
    assert (spots > 0).sum() == 3 * 5  # 3 rows; columns 2 to 4 and 4 to 6, of which 4 twice
    assert spots[spots > 0].min() > 10_000 / 18 * 0.8


def test_statistics_are_exact_however_many_images_there_are() -> None:
    """They are summed in chunks: at 224 pixels all of them as floats would take 12 GB."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2 * AT_ONCE + 3, 3, 5, 5), generator=generator)
    mean, deviation = channel_statistics(images.to(torch.uint8))
    wanted = images.double()
    assert torch.equal(mean, wanted.mean((0, 2, 3)).float())
    assert torch.equal(deviation, wanted.transpose(0, 1).flatten(1).std(1, correction=0).float())


def test_normalised_images_have_no_mean_and_unit_deviation() -> None:
    images = random_images(300, 3, 8, 8)
    floats = Normalise(*channel_statistics(images))(images)
    assert floats.dtype == torch.float32
    assert floats.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(floats.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(floats.std((0, 2, 3)), torch.ones(3), atol=1e-3)


def test_a_constant_channel_stays_finite() -> None:
    images = torch.full((4, 1, 2, 2), 7, dtype=torch.uint8)
    assert Normalise(*channel_statistics(images))(images).abs().max() == 0
