"""Confirmations, kept with the study that they are of: they go where it goes, and go with it."""

from collections.abc import Mapping

import optuna

from nas_sv2.database.database import Database
from nas_sv2.studies.findings.attributes import CONFIRMATIONS
from nas_sv2.studies.findings.confirmation import Confirmation, Finding
from nas_sv2.studies.storage.study import load_study, store_errors


def confirmations_of(study: optuna.Study) -> list[Confirmation]:
    """All of them, the newest last.

    Raises:
        StoreError: The database cannot be read, or holds what is none.
    """
    with store_errors():
        return [Confirmation.from_json(each) for each in study.user_attrs.get(CONFIRMATIONS, [])]


def confirmations_in(db: Database, study: str) -> list[Confirmation]:
    """Those of the study of that name.

    Raises:
        ConfigError: There is no such study.
        StoreError: As `confirmations_of`.
    """
    return confirmations_of(load_study(db, study))


def keep(study: optuna.Study, confirmation: Confirmation) -> None:
    """Keep `confirmation`; an earlier answer to the same question goes.

    Raises:
        StoreError: The database cannot be read or written.
    """
    others = [each for each in confirmations_of(study) if each.question != confirmation.question]
    with store_errors():
        study.set_user_attr(CONFIRMATIONS, [each.to_json() for each in [*others, confirmation]])


def newest_findings(
    confirmations: list[Confirmation],
) -> Mapping[str, tuple[Confirmation, Finding]]:
    """What was found last of each finalist, by the digest of its network."""
    return {
        finding.digest: (confirmation, finding)
        for confirmation in confirmations
        for finding in confirmation.findings
    }


def confirmation_lines(confirmations: list[Confirmation], digest: str | None = None) -> list[str]:
    """What is claimed of each finalist and how it was found, one fact a line.

    Args:
        confirmations: Of a study, the newest last.
        digest: Of the network that is asked about; None for all.
    """
    lines = []
    for of, (confirmation, finding) in newest_findings(confirmations).items():
        if digest in (None, of):
            lines.append(f"confirmed {confirmation.at[:10]}: {confirmation.describe(finding)}")
            lines.append(confirmation.method)
    return list(dict.fromkeys(lines))
