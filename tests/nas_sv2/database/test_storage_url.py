import pytest

from nas_sv2.database.engine import without_password

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////tmp/a b.db", "sqlite:////tmp/a b.db"),
        (f"postgresql+psycopg://u:{SECRET}@h:5432/db", "postgresql+psycopg://u:***@h:5432/db"),
        (f"postgresql://h/db?password={SECRET}&user=u", "postgresql://h/db?user=u"),
        (f"postgresql://u:{SECRET}@h:port/db", "postgresql://u:***@h:port/db"),
        (f"postgresql://u:a/{SECRET}@b@h:port/db", "postgresql://u:***@h:port/db"),
        ("no url", "no url"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
    assert SECRET not in without_password(url)
