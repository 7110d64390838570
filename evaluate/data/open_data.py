"""From what the user typed to a data set: `animals`, `fashion-mnist`, `cifar10`, ... ."""

import dataclasses

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.animals import open_animals
from nas_sv2.evaluate.data.array_file import open_array_file
from nas_sv2.evaluate.data.chunk_decoding import Progress
from nas_sv2.evaluate.data.datasets import PUBLISHED, open_published
from nas_sv2.evaluate.data.image_cache import Told
from nas_sv2.evaluate.data.image_data import ImageData, content_key, resize
from nas_sv2.evaluate.data.image_folder import open_image_folder
from nas_sv2.evaluate.data.image_listing import LAYOUTS

SPECS = (
    "must be one of animals, fashion-mnist, cifar10, cifar100 (a folder that holds it may follow: "
    "cifar10:FOLDER), imagefolder:PATH, imagenet:PATH or npz:FILE"
)


def open_data(
    spec: str,
    *,
    resolution: int | None = None,
    skip_unreadable: bool = False,
    told: Told | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """The data set that `spec` names.

    Args:
        spec: `animals`, or a name with a folder or a file behind a colon.
        resolution: Side to bring the images to, pixels; None for the data's own, or 32 for a
            folder of images.
        skip_unreadable: Go on without the images of a folder that cannot be read.
        told: Called with what a person should know before a folder of images is decoded.
        progress: Called with the files decoded and the files in all.

    Raises:
        ConfigError: The spec is none of these, or its folder does not hold what it should.
        EvaluationError: The data are not where they should be, or damaged.
    """
    name, _, where = spec.partition(":")
    if resolution is not None and resolution < 1:
        raise ConfigError("resolution", resolution, "must be a whole number of pixels from 1")
    if name in LAYOUTS:
        return open_image_folder(spec, resolution, skip_unreadable, told, progress)
    if name == "npz":
        return open_array_file(spec, where, resolution)
    if name in PUBLISHED:
        return open_published(spec, name, where, resolution)
    if spec == "animals":
        return _at(open_animals(), resolution)
    raise ConfigError("data", spec, SPECS)


def _at(data: ImageData, resolution: int | None) -> ImageData:
    if resolution is None or resolution == data.side:
        return data
    train, val = resize(data.train, resolution), resize(data.val, resolution)
    test = None if data.test is None else resize(data.test, resolution)
    key = content_key(train, val, test)
    return dataclasses.replace(data, key=key, train=train, val=val, test=test)
