"""Confirmations, stored as an attribute of their study: they are moved and deleted with it."""

from collections.abc import Mapping

import optuna

from nas_sv2.studies.findings.attributes import CONFIRMATIONS
from nas_sv2.studies.findings.confirmation import Confirmation, Finding
from nas_sv2.studies.storage.study import store_errors


def confirmations_of(study: optuna.Study) -> list[Confirmation]:
    """Return all confirmations of a study, the newest last.

    Raises:
        StoreError: The database or a stored confirmation cannot be read.
    """
    with store_errors():
        return [Confirmation.from_json(each) for each in study.user_attrs.get(CONFIRMATIONS, [])]


def keep(study: optuna.Study, confirmation: Confirmation) -> None:
    """Store a confirmation in place of an earlier answer to the same question.

    Raises:
        StoreError: The database cannot be read or written.
    """
    others = [each for each in confirmations_of(study) if each.question != confirmation.question]
    with store_errors():
        study.set_user_attr(CONFIRMATIONS, [each.to_json() for each in [*others, confirmation]])


def newest_findings(
    confirmations: list[Confirmation],
) -> Mapping[str, tuple[Confirmation, Finding]]:
    """Return the newest finding on each finalist, by the digest of its network."""
    return {
        finding.digest: (confirmation, finding)
        for confirmation in confirmations
        for finding in confirmation.findings
    }


def confirmation_lines(confirmations: list[Confirmation], digest: str | None = None) -> list[str]:
    """Return the findings on each finalist and their method, one fact a line.

    Args:
        confirmations: The confirmations of a study, the newest last.
        digest: The digest of one network; None for all networks.
    """
    lines = []
    for of, (confirmation, finding) in newest_findings(confirmations).items():
        if digest in (None, of):
            lines.append(f"confirmed {confirmation.at[:10]}: {confirmation.describe(finding)}")
            lines.append(confirmation.method)
    return list(dict.fromkeys(lines))
