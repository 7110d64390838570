"""Opens a user's own images: folders and tables of files.

Files are decoded once and then cached: `image_listing` finds them, `image_cache` keeps the decoded
images.
"""

from collections.abc import Mapping, Sequence

from nas_sv2.counts import counted
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.chunk_decoding import Progress
from nas_sv2.evaluate.data.decoding import CLEAR_WHITE, DIM, full_level, is_clear_white
from nas_sv2.evaluate.data.image_cache import (
    Counts,
    ImageCache,
    Notify,
    Prepared,
    key_of,
    label_counts,
    labelled,
)
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.image_listing import Listing, list_images
from nas_sv2.evaluate.data.layouts import named
from nas_sv2.evaluate.data.split import PARTS
from nas_sv2.resolution import Resolution, height_and_width, in_pixels

# Side of CIFAR and ImageNet-32, at which photographs are recognisable and a search takes minutes.
SIDE = 32
NAMED = 5  # most unreadable files that a message names
WIDE = 1.5  # median of `Prepared.aspect`; from there on the crop drops a third or more
LOST = DIM * 65535  # levels of 16-bit colour below which the upper byte has too few steps
VAL_SHARE = 0.2


def open_image_folder(
    spec: str,
    resolution: Resolution | None,
    skip_unreadable: bool,
    notify: Notify | None = None,
    progress: Progress | None = None,
    numbers: bool = False,
) -> ImageData:
    """Open the images of a folder or table, which are grey if all files are, else RGB.

    Args:
        spec: `imagefolder:PATH`, `imagenet:PATH` or `csv:FILE`.
        resolution: Side of the images, or their height and width, in pixels; None for `SIDE`.
        skip_unreadable: Whether to leave out unreadable images and list them in the notes.
        notify: Function called with a line on size and place before minutes of decoding.
        progress: Function called with the number of decoded files and of all files.
        numbers: Whether the labels of a table are numbers.

    Raises:
        ConfigError: If the images are missing, or their layout is not understood, or a part or
            class has none, or one is unreadable.
        EvaluationError: If the decoded images cannot be stored.
    """
    listing, size = list_images(spec, numbers), resolution or SIDE
    cache = ImageCache.of(listing, size)
    prepared = cache.prepare(listing, size, notify, progress)
    _check(spec, prepared, listing, skip_unreadable)
    train, val, *test = (labelled(cache.part(prepared, name), listing) for name in prepared.counts)
    skipped = [f"skipped: {faults_in_words(prepared)}"] if prepared.faults else []
    notes = (*skipped, *notes_of(prepared, listing))
    return ImageData(
        spec,
        key_of(prepared, listing),
        label_counts(prepared, listing)[0],
        train,
        val,
        test[0] if test else None,
        notes,
        listing.fit,
        prepared.picture_side,
    )


def _check(spec: str, prepared: Prepared, listing: Listing, skip_unreadable: bool) -> None:
    """Refuse images that cannot be trained on.

    Raises:
        ConfigError: If some are unreadable, or a part or a class has none.
    """
    if prepared.faults and not skip_unreadable:
        allowed = (
            "must have readable images only (--skip-unreadable, or skip_unreadable in "
            f"Python, leaves the others out); {faults_in_words(prepared)}"
        )
        raise ConfigError("data", spec, allowed)
    if (level := prepared.highest.get("colour", LOST)) < LOST:
        allowed = (
            f"must be brought to 8 bits first: its 16-bit colour ends near level {level:,.0f}, "
            "and only the upper byte can be read"
        )
        raise ConfigError("data", spec, allowed)
    if not is_clear_white(level := prepared.highest.get("float", 1.0)):
        raise ConfigError("data", spec, f"{CLEAR_WHITE}; they reach {level:g}")
    images = {part: sum(own) for part, own in prepared.counts.items()}
    names, counts = label_counts(prepared, listing)
    of = None if listing.val_share is None else split_by(listing.kind)
    check_counts(spec, names, counts, images, prepared.left_out, of)


def split_by(kind: str) -> str:
    """Return what val is split off from: each class, or all images together."""
    return "each class" if kind == "classes" else "the data set"


def check_counts(
    spec: str,
    names: Sequence[str],
    counts: Counts,
    images: Mapping[str, int],
    left_out: int,
    of: str | None,
) -> None:
    """Refuse a part without images, and a class or label that training never sees.

    Args:
        spec: The user's text.
        names: Names of the classes or labels.
        counts: Number of images of each class, by part.
        images: Number of images, by part.
        left_out: Number of images left out because a later part has a copy.
        of: The origin of the val images, by `split_by`; None if the source has a val part.

    Raises:
        ConfigError: If there is one.
    """
    lone = f"; {of} has one image only (copies and mirror images count as one)" if of else ""
    copies = f"; left out, as a later part has a copy of each: {left_out:,}" if left_out else ""
    for part in counts:
        if not images[part]:
            why = {"train": copies, "val": lone or copies}.get(part, "")
            raise ConfigError("data", spec, f"must have {part} images; it has none{why}")
    if empty := [name for name, count in zip(names, counts["train"], strict=True) if not count]:
        allowed = (
            f"must have training images of every class; {named(empty)} has none (a folder that is "
            f"no class has to go){copies}"
        )
        raise ConfigError("data", spec, allowed)


def notes_of(prepared: Prepared, listing: Listing) -> list[str]:
    """Return notes on the split, the images left out and the counts, one fact per line."""
    notes, (names, counts) = list(listing.notes), label_counts(prepared, listing)
    if listing.val_share is not None:
        share = listing.val_share if listing.kind == "classes" else None
        notes.append(share_in_words(prepared.counts, share, prepared.class_names))
    if prepared.left_out:
        notes.append(
            f"left out: {counted(prepared.left_out, 'image')} whose copy (mirrored ones count) is "
            "in a part that networks are compared on"
        )
    if prepared.contradictions:
        notes.append(f"images with a copy of another label: {prepared.contradictions:,}")
    notes += lacking_in_words(counts, names)
    notes += _levels_in_words(prepared.highest)
    if prepared.aspect > WIDE and prepared.fit == "crop":
        dropped = f"{1 - 1 / prepared.aspect:.0%} or more; fit pad or stretch keeps all"
        notes.append(f"of half of the pictures the centre crop drops {dropped}")
    if 0 < prepared.picture_side < min(height_and_width(prepared.resolution)):
        side = f"no shorter side has more than {prepared.picture_side} pixels"
        notes.append(f"every picture is enlarged: {side}")
    sizes = ", ".join(f"{sum(of_each):,} {part}" for part, of_each in prepared.counts.items())
    how = {"crop": "cropped", "pad": "padded", "stretch": "stretched"}[prepared.fit]
    return [*notes, f"{sizes}, {how} to {in_pixels(prepared.resolution)}"]


def share_in_words(counts: Counts, asked: float | None, names: Sequence[str]) -> str:
    """Return a line on the share of the training images that became validation images.

    Args:
        counts: Number of images of each class, by part.
        asked: The share of each class; None if it was of all images together.
        names: Names of the classes.
    """
    train, val = counts["train"], counts["val"]
    took = sum(val) / max(1, sum(train) + sum(val))
    line = (
        f"validation is {sum(val):,} of {sum(train) + sum(val):,} training images ({took:.1%}), "
        "chosen by content"
    )
    if asked is None or not sum(train) + sum(val):
        return line
    shares = {
        name: (kept / (own + kept), kept, own + kept)
        for name, own, kept in zip(names, train, val, strict=True)
        if own + kept
    }
    most = max(shares, key=lambda name: shares[name][0])
    share, kept, own = shares[most]
    if share > asked + 0.05:  # a share of a few images is rounded to at least one
        line += f"; of small classes more than {asked:.0%}, such as {kept} of {own} of {most!r}"
    return line


def lacking_in_words(counts: Counts, names: Sequence[str]) -> list[str]:
    """Return a line for each part that lacks classes."""
    lines = []
    for part in PARTS[1:]:
        of_classes = counts.get(part, [1] * len(names))
        lacking = [name for name, count in zip(names, of_classes, strict=True) if not count]
        if lacking and any(of_classes):
            lines.append(
                f"{part} has no image of {len(lacking)} of {len(names)} classes: {named(lacking)}"
            )
    return lines


def _levels_in_words(highest: dict[str, float]) -> list[str]:
    kinds = {"integer": "grey levels", "float": "grey levels in floating point"}
    return [
        f"{kinds[kind]} reach {level:g} in all images, and 0 to {full_level(kind, level):g} "
        "became 0 to 255"
        for kind, level in highest.items()
        if kind in kinds
    ]


def faults_in_words(prepared: Prepared) -> str:
    """Return one line such as `2 of 40 images cannot be read: 'cat/a.png' (reason), ...`."""
    faults = prepared.faults
    first = ", ".join(f"{name!r} ({reason})" for name, reason in faults[:NAMED])
    more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return f"{len(faults)} of {prepared.files} images cannot be read: {first}{more}"
