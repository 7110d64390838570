"""Opens the data set that a user's spec names, such as `animals`, `fashion-mnist` or `cifar10`."""

import dataclasses

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.animals import open_animals
from nas_sv2.evaluate.data.array_file import open_array_file
from nas_sv2.evaluate.data.chunk_decoding import Progress
from nas_sv2.evaluate.data.datasets import PUBLISHED, open_published
from nas_sv2.evaluate.data.image_cache import Notify
from nas_sv2.evaluate.data.image_data import ImageData, content_key, resize
from nas_sv2.evaluate.data.image_folder import open_image_folder
from nas_sv2.evaluate.data.image_listing import LAYOUTS, read_spec

SPECS = (
    "must be one of animals, fashion-mnist, cifar10, cifar100 (a folder that holds it may follow: "
    "cifar10:FOLDER), imagefolder:PATH, imagenet:PATH, csv:FILE or npz:FILE"
)


def open_data(
    spec: str,
    *,
    resolution: int | None = None,
    skip_unreadable: bool = False,
    notify: Notify | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Open the data set that `spec` names.

    Args:
        spec: `animals`, or a name followed by a colon and a folder or file.
        resolution: Side of the resized images, in pixels; None for the data's own, or 32 for a
            folder of images.
        skip_unreadable: Whether to leave out images of a folder that cannot be read.
        notify: Function called with a line on size and place before a folder of images is decoded.
        progress: Function called with the number of decoded files and of all files.

    Raises:
        ConfigError: If the spec is unknown or its folder lacks the data.
        EvaluationError: If the data are missing or damaged.
    """
    name, _, where = spec.partition(":")
    if resolution is not None and resolution < 1:
        raise ConfigError("resolution", resolution, "must be a whole number of pixels from 1")
    if read_spec(spec)[0] in LAYOUTS:
        return open_image_folder(spec, resolution, skip_unreadable, notify, progress)
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
