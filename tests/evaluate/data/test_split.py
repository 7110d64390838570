import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.evaluate.data.split import carve, distinct, mirror_keys

KEYS = st.lists(st.tuples(st.integers(0, 30).map(lambda n: bytes([n])), st.integers(0, 3)))


@given(KEYS, st.lists(st.floats(0.01, 0.4), min_size=1, max_size=2))
def test_equal_keys_stay_together_and_nothing_is_lost(
    items: list[tuple[bytes, int]], shares: list[float]
) -> None:
    keys, labels = [key for key, _ in items], np.array([label for _, label in items], np.int64)
    parts = carve(keys, labels, *shares)
    assert sorted(index for part in parts for index in part) == list(range(len(keys)))
    sides = [{keys[index] for index in part} for part in parts]
    assert sum(map(len, sides)) == len(set().union(*sides))


@given(st.permutations(range(40)))
def test_the_order_of_the_images_decides_nothing(order: list[int]) -> None:
    keys, labels = [bytes([number]) for number in order], np.array(order, np.int64) % 3
    sides = [{keys[index] for index in part} for part in carve(keys, labels, 0.25)]
    assert sides == [
        {bytes([n]) for n in part}
        for part in carve([bytes([n]) for n in range(40)], np.arange(40) % 3, 0.25)
    ]


def test_each_class_gives_its_share_and_keeps_something() -> None:
    labels = np.repeat([0, 1, 2, 3], [100, 10, 2, 1]).astype(np.int64)
    keys = [number.to_bytes(2, "big") for number in range(len(labels))]
    _, val = carve(keys, labels, 0.2)
    assert np.bincount(labels[val], minlength=4).tolist() == [20, 2, 1, 0]


def test_mirror_images_share_a_key() -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 3, 4, 6)).astype(np.uint8)
    both = np.concatenate([images, images[..., ::-1]])
    keys = mirror_keys(both)
    assert keys[:5] == keys[5:]
    assert distinct(keys) == [0, 1, 2, 3, 4]
    assert len(set(mirror_keys(np.ascontiguousarray(images[:, :, ::-1])) + keys)) == 10
