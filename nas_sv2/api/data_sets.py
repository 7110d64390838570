"""Data sets: decoded once, described, and removed again."""

import os
from contextlib import suppress
from typing import Any

from nas_sv2.api.arguments import Notify, Progress, ignore
from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_cache import (
    ImageCache,
    all_caches,
    bytes_needed,
    key_of,
    label_counts,
)
from nas_sv2.evaluate.data.image_cache import in_words as in_words
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.image_listing import LAYOUTS, Listing, list_images, read_spec
from nas_sv2.evaluate.data.image_listing import with_fit as with_fit
from nas_sv2.evaluate.data.own_images import SIDE, notes_of
from nas_sv2.resolution import Resolution, check_image_size, in_pixels


def prepare_data(
    data: str,
    *,
    resolution: Resolution | None = None,
    skip_unreadable: bool = False,
    notify: Notify = ignore,
    progress: Progress = ignore,
) -> dict[str, Any]:
    """Decode the images of a folder once, or open another data set; its facts.

    The same call resumes one that was killed.

    Args:
        data: The data set.
        resolution: Side of the images in pixels; the data's own, or 32 for folders, if left out.
        skip_unreadable: Leave out images that cannot be read.
        notify: Is called with a line before each step.
        progress: Is called with the images decoded and all images.

    Raises:
        ConfigError: There is no such data set, or an image of it cannot be read.
        EvaluationError: The data cannot be read, or there is no room for them.
    """
    opened = open_data(
        data,
        resolution=resolution,
        skip_unreadable=skip_unreadable,
        notify=notify,
        progress=progress,
    )
    return _folder_facts(data, resolution) if _is_folder(data) else _facts(opened)


def describe_data(data: str, *, resolution: Resolution | None = None) -> dict[str, Any]:
    """Give the facts of a data set; a folder of images has to be prepared before.

    Args:
        data: The data set.
        resolution: Side of the images in pixels; if left out, the data's own. For folders, that
            is 32, or the only other one at which they are prepared.

    Raises:
        ConfigError: There is no such data set, or it is not prepared.
        EvaluationError: The data cannot be read.
    """
    if _is_folder(data):
        if resolution is not None:
            check_image_size("resolution", resolution)
        return _folder_facts(data, resolution)
    return _facts(open_data(data, resolution=resolution))


def prepared_data(data: str | None = None) -> list[ImageCache]:
    """Find the decoded images of a folder, finished or not; those of all folders if left out.

    Raises:
        ConfigError: The data set is not a folder of images.
    """
    caches = all_caches()
    if data is None:
        return caches
    root = _root_of(data)
    return [cache for cache in caches if cache.root == root]


def _is_folder(data: str) -> bool:
    return read_spec(data)[0] in LAYOUTS


def _root_of(data: str) -> str:
    """The folder that `data` names, which need not exist any more."""
    layout, _, where = read_spec(data)
    if layout not in LAYOUTS or not where:
        raise ConfigError(
            "data",
            data,
            "must be imagefolder:PATH, imagenet:PATH or csv:FILE; nothing else is kept",
        )
    return os.path.realpath(os.path.expanduser(where))


def _facts(data: ImageData) -> dict[str, Any]:
    parts = dict(zip(("train", "val", "test"), data.parts, strict=False))
    return {
        "spec": data.name,
        "key": data.key,
        "side": data.resolution,
        "channels": data.channels,
        "classes": list(data.class_names),
        "several": data.kind == "labels",
        "images": {name: part.counts(data.classes) for name, part in parts.items()},
        "notes": [
            *data.notes,
            f"{data.channels} × {in_pixels(data.resolution, ' × ')}, content {data.key}",
            "read as it is: nothing is kept for it",
        ],
    }


def _prepared_size(spec: str, listing: Listing) -> Resolution:
    """The resolution at which a folder is prepared: `SIDE`, or the only other one.

    Raises:
        ConfigError: It is prepared at several others.
    """
    found = []
    for cache in prepared_data(spec):
        with suppress(EvaluationError):  # a damaged one is named when it is asked for
            prepared = cache.read()
            if prepared and ImageCache.of(listing, prepared.resolution) == cache:
                found.append(prepared.resolution)
    if SIDE in found or not found:
        return SIDE
    if len(found) > 1:
        sizes = " or ".join(sorted(in_pixels(size, "x") for size in found))
        raise ConfigError("resolution", None, f"must be one at which {spec} is prepared: {sizes}")
    return found[0]


def _folder_facts(spec: str, resolution: Resolution | None) -> dict[str, Any]:
    listing = list_images(spec)
    size = resolution or _prepared_size(spec, listing)
    cache = ImageCache.of(listing, size)
    prepared = cache.read()
    if prepared is None:
        need = f"up to {in_words(bytes_needed(len(listing), size))}"
        at = in_pixels(size)
        text = f"must be prepared at {at}: nas-sv2 data prepare does it and needs {need}"
        raise ConfigError("data", spec, text)
    cached_bytes = cache.bytes_on_disk
    names, counts = label_counts(prepared, listing)
    key = key_of(prepared, listing)
    modes = ", ".join(f"{mode} {count:,}" for mode, count in prepared.modes.items())
    faults = [f"cannot be read: {name!r} ({reason})" for name, reason in prepared.faults]
    return {
        "spec": spec,
        "key": key,
        "side": size,
        "channels": prepared.channels,
        "classes": list(names),
        "several": bool(listing.several),
        "images": counts,
        "files": prepared.files,
        "modes": prepared.modes,
        "unreadable": dict(prepared.faults),
        "copies_left_out": prepared.left_out,
        "cache": {"folder": str(cache.folder), "bytes": cached_bytes},
        "notes": [
            *notes_of(prepared, listing),
            f"{prepared.files:,} files, of mode {modes}",
            *faults,
            f"{prepared.channels} × {in_pixels(size, ' × ')}, content {key}",
            f"{in_words(cached_bytes)} in {cache.folder}",
        ],
    }
