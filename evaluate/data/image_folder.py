"""Opens a user's images, which are decoded once and then cached.

`image_listing` finds the files, `image_cache` keeps the decoded images.
"""

from collections.abc import Sequence

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.chunk_decoding import Progress
from nas_sv2.evaluate.data.decoding import full_level
from nas_sv2.evaluate.data.image_cache import ImageCache, Notify, Prepared
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.image_listing import Listing, list_images
from nas_sv2.evaluate.data.layouts import named
from nas_sv2.evaluate.data.split import PARTS

# Side of CIFAR and ImageNet-32, at which photographs are recognisable and a search takes minutes.
SIDE = 32
NAMED = 5  # most unreadable files that a message names
WIDE = 1.5  # median of longer over shorter side; from there on the crop drops a third or more
LOST = 64.0 * 257  # levels of 16-bit colour below which the upper byte has too few steps


def open_image_folder(
    spec: str,
    resolution: int | None,
    skip_unreadable: bool,
    notify: Notify | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Open the images of a folder or table, which are grey if all files are, else RGB.

    Args:
        spec: `imagefolder:PATH`, `imagenet:PATH` or `csv:FILE`.
        resolution: Side of the images, in pixels; None for `SIDE`.
        skip_unreadable: Whether to leave out unreadable images and list them in the notes.
        notify: Function called with a line on size and place before minutes of decoding.
        progress: Function called with the number of decoded files and of all files.

    Raises:
        ConfigError: If the images are missing, or their layout is not understood, or a part or
            class has none, or one is unreadable.
        EvaluationError: If the decoded images cannot be stored.
    """
    listing, side = list_images(spec), resolution or SIDE
    cache = ImageCache.of(listing, side)
    prepared = cache.prepare(listing, side, notify, progress)
    _check(spec, prepared, skip_unreadable)
    train, val, *test = (cache.part(prepared, name) for name in prepared.counts)
    skipped = [f"skipped: {faults_in_words(prepared)}"] if prepared.faults else []
    notes = (*skipped, *notes_of(prepared, listing))
    held_out = test[0] if test else None
    return ImageData(
        spec, prepared.key, prepared.class_names, train, val, held_out, notes, listing.fit
    )


def _check(spec: str, prepared: Prepared, skip_unreadable: bool) -> None:
    """Refuse images that cannot be trained on.

    Raises:
        ConfigError: If some are unreadable, or a part or a class has none.
    """
    if prepared.faults and not skip_unreadable:
        allowed = (
            "must have readable images only (skip_unreadable leaves the others "
            f"out); {faults_in_words(prepared)}"
        )
        raise ConfigError("data", spec, allowed)
    if (level := prepared.highest.get("colour", LOST)) < LOST:
        allowed = (
            f"must be brought to 8 bits first: its 16-bit colour ends near level {level:,.0f}, "
            "and only the upper byte can be read"
        )
        raise ConfigError("data", spec, allowed)
    check_counts(spec, prepared.class_names, prepared.counts, prepared.left_out)


def check_counts(
    spec: str, names: Sequence[str], counts: dict[str, list[int]], left_out: int
) -> None:
    """Refuse a part without images, and a class that training never sees.

    Args:
        spec: The user's text.
        names: Names of the classes.
        counts: Number of images of each class, by part.
        left_out: Number of images left out because a later part has a copy.

    Raises:
        ConfigError: If there is one.
    """
    lone = "; each class has one image only" if counts["train"] == [1] * len(names) else ""
    copies = (
        f"; {left_out:,} were left out, as a later part has a copy of each" if left_out else ""
    )
    for part, of_classes in counts.items():
        if not any(of_classes):
            why = copies if part != "test" else ""
            raise ConfigError("data", spec, f"must have {part} images; it has none{lone}{why}")
    if empty := [name for name, count in zip(names, counts["train"], strict=True) if not count]:
        allowed = (
            f"must have training images of every class; {named(empty)} has none (a folder that is "
            f"no class has to go){copies}"
        )
        raise ConfigError("data", spec, allowed)


def notes_of(prepared: Prepared, listing: Listing) -> list[str]:
    """Return notes on the split, the images left out and the counts, one fact per line."""
    notes = list(listing.notes)
    if listing.val_share is not None:
        notes.append(share_in_words(prepared.counts, listing.val_share, prepared.class_names))
    if prepared.left_out:
        notes.append(
            f"left out: {prepared.left_out:,} images whose copy (mirrored ones count) is in a "
            "part that networks are compared on"
        )
    if prepared.contradictions:
        notes.append(f"{prepared.contradictions:,} images have a copy with another label")
    notes += lacking_in_words(prepared.counts, prepared.class_names)
    notes += _levels_in_words(prepared.highest)
    if prepared.aspect > WIDE and prepared.fit == "crop":
        notes.append(
            f"half of the pictures are {prepared.aspect:.1f} times as long as wide, or more, of "
            f"which the centre crop drops {1 - 1 / prepared.aspect:.0%}; fit pad or stretch "
            "keeps all"
        )
    sizes = ", ".join(f"{sum(of_each):,} {part}" for part, of_each in prepared.counts.items())
    how = {"crop": "cropped", "pad": "padded", "stretch": "stretched"}[prepared.fit]
    return [*notes, f"{sizes}, {how} to {prepared.side}×{prepared.side}"]


def share_in_words(counts: dict[str, list[int]], asked: float, names: Sequence[str]) -> str:
    """Return a line on the share of the training images that became validation images."""
    train, val = counts["train"], counts["val"]
    took = sum(val) / max(1, sum(train) + sum(val))
    line = (
        f"validation is {sum(val):,} of {sum(train) + sum(val):,} training images ({took:.1%}), "
        "chosen by content"
    )
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


def lacking_in_words(counts: dict[str, list[int]], names: Sequence[str]) -> list[str]:
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
