import pytest

from nas_sv2.counts import counted


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1234, "1,234 images")]
)
def test_one_is_no_plural(count: int, said: str) -> None:
    assert counted(count, "image") == said
    assert counted(count, "pass", "passes").endswith("pass" if count == 1 else "passes")
