"""A user's own images, or ImageNet, from folders: decoded once, then read from the cache.

How the folders may lie, `image_listing` says; where the decoded images are kept, `image_cache`.
"""

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.chunk_decoding import Progress
from nas_sv2.evaluate.data.image_cache import ImageCache, Prepared, Told
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.image_listing import list_images

SIDE = (
    32  # as CIFAR and ImageNet-32: photographs are told apart, a search stays a matter of minutes
)
NAMED = 5  # how many unreadable files a message names


def open_image_folder(
    spec: str,
    resolution: int | None,
    skip_unreadable: bool,
    told: Told | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """The images of a folder; grey if all of them are, else RGB.

    Args:
        spec: `imagefolder:PATH` or `imagenet:PATH`.
        resolution: Side of the images, pixels; None for `SIDE`.
        skip_unreadable: Leave out what cannot be decoded, and say so in the notes.
        told: Called with what a person should know before minutes of decoding.
        progress: Called with the files decoded and the files in all.

    Raises:
        ConfigError: No such folder, fewer than two classes, no images, or unreadable ones.
        EvaluationError: The decoded images cannot be kept.
    """
    listing, side = list_images(spec), resolution or SIDE
    cache = ImageCache.of(listing, side)
    prepared = cache.prepare(listing, side, told, progress)
    if prepared.faults and not skip_unreadable:
        allowed = (
            "must have readable images only (skip_unreadable leaves the others "
            f"out); {faults_in_words(prepared)}"
        )
        raise ConfigError("data", spec, allowed)
    names, counts = prepared.class_names, prepared.counts
    for part, of_classes in counts.items():
        if not any(of_classes):
            raise ConfigError("data", spec, f"must have {part} images; it has none")
    if 0 in counts["train"]:
        empty = names[counts["train"].index(0)]
        raise ConfigError(
            "data", spec, f"must have training images of every class; {empty!r} has none"
        )
    train, val, *test = (cache.part(prepared, name) for name in counts)
    skipped = [f"skipped: {faults_in_words(prepared)}"] if prepared.faults else []
    notes = (*skipped, *notes_of(prepared, listing.val_share))
    held_out = test[0] if test else None
    return ImageData(spec, prepared.key, names, train, val, held_out, notes)


def notes_of(prepared: Prepared, val_share: float | None) -> list[str]:
    """What was carved and left out, and how many images there are, one fact a line."""
    notes = []
    if val_share is not None:
        notes.append(f"validation is {val_share:.0%} of the training images, chosen by content")
    if prepared.left_out:
        notes.append(
            f"left out: {prepared.left_out:,} images whose copy (mirrored ones count) is in a "
            "part that networks are compared on"
        )
    sizes = ", ".join(f"{sum(of_each):,} {part}" for part, of_each in prepared.counts.items())
    return [*notes, f"{sizes}, brought to {prepared.side}×{prepared.side}"]


def faults_in_words(prepared: Prepared) -> str:
    """`2 of 40 images cannot be read: 'cat/a.png' (reason), ...`, on one line."""
    faults = prepared.faults
    named = ", ".join(f"{name!r} ({reason})" for name, reason in faults[:NAMED])
    more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return f"{len(faults)} of {prepared.files} images cannot be read: {named}{more}"
