"""Splits images into parts by their content, never by their place in a file.

Copies and mirrored copies share a key, and thus a part. A network that trains with flips on the
mirror image of a validation image has seen that image.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
PARTS = ("train", "val", "test")
LEFT_OUT = -1


def mirror_keys(images: Images) -> list[bytes]:
    """Compute a digest of each image (N, C, H, W), equal for its left-right mirror image."""
    keys = []
    for image in images:
        if len(image) > 1 and (image == image[:1]).all():
            image = image[:1]  # grey stored as colour is a copy of the same grey image
        plain, mirrored = image.tobytes(), image[..., ::-1].tobytes()
        keys.append(hashlib.sha256(min(plain, mirrored)).digest())
    return keys


def distinct(keys: list[bytes]) -> list[int]:
    """Return the index of the first image with each key, in order."""
    first: dict[bytes, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    return list(first.values())


def carve(keys: list[bytes], labels: NDArray[np.int64], *shares: float) -> list[list[int]]:
    """Split by class into a rest and one part for each share.

    The distinct keys of each class are sorted; as keys are digests, this order is as good as
    random. Each share takes its rounded count of them in turn. The rest is never empty: a class
    with too few distinct images gives none to the shares. A key placed by an earlier class stays
    in its part.

    Returns:
        Indices of the rest, then of each share, in ascending order.
    """
    side: dict[bytes, int] = {}
    for label in np.unique(labels):
        members = {keys[index] for index in np.flatnonzero(labels == label)}
        fresh = sorted(members - side.keys())
        start = 0
        for number, share in enumerate(shares, 1):
            count = min(max(1, round(share * len(fresh))), len(fresh) - start - 1)
            for key in fresh[start : start + max(0, count)]:
                side[key] = number
            start += max(0, count)
        for key in fresh[start:]:
            side[key] = 0
    parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
    for index, key in enumerate(keys):
        parts[side[key]].append(index)
    return parts


def contradictions(keys: Sequence[bytes], labels: NDArray[np.int64]) -> int:
    """Count the images that have a copy with another label."""
    labels_of: dict[bytes, set[int]] = {}
    for key, label in zip(keys, labels.tolist(), strict=True):
        labels_of.setdefault(key, set()).add(label)
    return sum(len(labels_of[key]) > 1 for key in keys)


def placed(
    keys: Sequence[bytes],
    labels: NDArray[np.int64],
    parts: NDArray[np.int8],
    val_share: float | None,
) -> NDArray[np.int8]:
    """Choose the part of each image so that no part has a copy of an image in a later part.

    Args:
        keys: Keys from `mirror_keys`.
        labels: Labels (N,).
        parts: Parts (N,) in the source: 0 train, 1 val, 2 test.
        val_share: Share of train to split off as val; None if the source has a val part.

    Returns:
        Parts (N,), with `LEFT_OUT` for an image whose copy is in a later part. The parts that
        networks are compared on thus stay whole, and the training part loses images.
    """
    chosen = parts.copy()
    later: set[bytes] = set()
    for part in (2, 1, 0):
        members: list[int] = np.flatnonzero(parts == part).tolist()
        chosen[[index for index in members if keys[index] in later]] = LEFT_OUT
        later |= {keys[index] for index in members}
    if val_share is not None:
        rest: list[int] = np.flatnonzero(chosen == 0).tolist()
        _, val = carve([keys[index] for index in rest], labels[rest], val_share)
        chosen[[rest[index] for index in val]] = 1
    return chosen
