"""Each experiment has its row in the list of evidence: the site shows no other way to it."""

import re

from pages import LAB


def test_each_experiment_has_one_row_with_a_result() -> None:
    rows = re.findall(
        r"^\| [-\d]+ \[.+\]\((.+\.md)\) \| (.+) \|$", (LAB / "index.md").read_text(), re.M
    )
    assert sorted(name for name, _ in rows) == sorted(page.name for page in LAB.glob("2*.md"))
    assert all(result.strip() for _, result in rows)
