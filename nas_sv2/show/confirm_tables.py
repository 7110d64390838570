"""Show a confirmation as a table, notes and plain data."""

from typing import Any

from rich.console import RenderableType

from nas_sv2.show.tables import latency_notes, plain_table
from nas_sv2.studies.findings.confirmation import Confirmation, Finding


def confirmation_table(found: Confirmation) -> RenderableType:
    """Make a table of test accuracies by seed and of latencies in the common session."""
    targets = list(found.networks[0].latencies)
    table = plain_table("trial", "network", "test top-1", "by seed")
    for target in targets:
        table.add_column(f"{target} ms", justify="right")
    for network in found.networks:
        table.add_row(
            "–" if network.trial is None else str(network.trial),
            network.name,
            f"{network.accuracy:.2%}",
            " ".join(f"{accuracy * 100:.2f}" for accuracy in network.accuracies),
            *(
                f"{network.latencies[target].ms:.3f}"
                + ("*" if network.latencies[target].contended else "")
                for target in targets
            ),
        )
    return table


def confirmation_notes(found: Confirmation) -> list[str]:
    """Return the findings and the method, one fact a line."""
    rules = {
        f"{target}: {gain.rule}"
        for finding in found.findings
        for target, gain in finding.latency.items()
    }
    rows = [
        (network.name, target, latency)
        for network in found.networks
        for target, latency in network.latencies.items()
    ]
    return [
        *(found.describe(finding) for finding in found.findings),
        found.method,
        f"trained on {found.place}",
        *sorted(rules),
        *latency_notes(rows),
    ]


def confirmation_data(study: str, found: Confirmation) -> dict[str, Any]:
    """Return the confirmation as plain data."""
    return {
        "study": study,
        **found.to_json(),
        "findings": [_finding(found, finding) for finding in found.findings],
        "method": found.method,
    }


def _finding(found: Confirmation, finding: Finding) -> dict[str, Any]:
    plain = next(each for each in found.to_json()["findings"] if each["digest"] == finding.digest)
    plain["accuracy"]["mean"] = finding.accuracy.mean
    return {**plain, "claim": finding.claim, "text": found.describe(finding)}
