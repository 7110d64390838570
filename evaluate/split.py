"""Which image goes to which side of a split: decided by its content, never by its place in a file.

Copies and mirrored copies share a key and so a side, wherever they lie; a proxy that has seen the
mirror image of a validation image while it trains with flips has seen that image.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]


def mirror_keys(images: Images) -> list[bytes]:
    """A digest for each of (N, C, H, W) that an image shares with its left-right mirror image."""
    keys = []
    for image in images:
        plain, mirrored = image.tobytes(), image[..., ::-1].tobytes()
        keys.append(hashlib.sha256(min(plain, mirrored)).digest())
    return keys


def distinct(keys: list[bytes]) -> list[int]:
    """The index of the first image with each key, in order."""
    first: dict[bytes, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    return list(first.values())


def carve(keys: list[bytes], labels: NDArray[np.int64], *shares: float) -> list[list[int]]:
    """Split by class into a rest and one part for each share.

    In each class the distinct keys, in the order of the keys (which are digests, so the order is
    as good as random), give each share its rounded count; what is left is the rest, and never
    nothing: a class with too few distinct images gives nothing away. A key that a class before has
    placed stays where it is.

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
