"""The pages and docstrings keep to plain sentences; the allowances may only shrink."""

import json
from pathlib import Path

import pytest
from prose import ALLOWANCE, FOLDERS, counted, docstring_findings, page_findings


@pytest.fixture(scope="module")
def counts() -> dict[str, dict[str, int]]:
    return counted()


@pytest.mark.parametrize("place", ["docs", *FOLDERS])
def test_no_rule_is_broken_more_often_than_before(
    counts: dict[str, dict[str, int]], place: str
) -> None:
    allowed = json.loads(ALLOWANCE.read_text(encoding="utf-8")).get(place, {})
    over = {rule: n for rule, n in counts[place].items() if n > allowed.get(rule, 0)}
    assert not over, f"more than {allowed}; python tests/docs/prose.py lists each sentence"


@pytest.mark.parametrize(
    ("sentence", "rules"),
    [
        ("What stands on the database is read.", ["noun clause"]),
        ("It is read by whoever comes first.", ["noun clause"]),
        ("It searches again where nothing is stored.", ["where for if"]),
        ("The folder is no package.", ["is no"]),
        ("There is no package. It is no longer there.", []),
        ("Of a fixed share a search loses more.", ["fronted of"]),
        ("The same command goes on and loads anew.", ["anew", "goes on"]),
        ("The listener is told of it, for programs.", ["told", "for people"]),
        ("The estimate was 1 % off so. The note says so.", ["so at the end"]),
        (f"It has{' many' * 23}.", []),
        (f"It has{' many' * 24}.", ["over 25 words"]),
        (f"It has `code`{' many' * 22}, e.g. [a link](x.md).", ["over 25 words"]),
    ],
)
def test_faults_are_found(tmp_path: Path, sentence: str, rules: list[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# What a heading may say\n\n```text\nanew\n```\n\n{sentence}\n")
    assert sorted(finding.rule for finding in page_findings(page)) == sorted(rules)


def test_a_docstring_has_a_verb_or_is_a_noun_phrase(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""Of the training."""\n\n\ndef a():\n    """The width, in channels."""\n')
    rules = [(one.line, one.rule) for one in docstring_findings(module)]
    assert rules == [(1, "verbless"), (1, "fronted of")]
