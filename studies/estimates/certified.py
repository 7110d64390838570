"""The fused estimate of a certificate's networks, so that it is certified like a recipe.

It is computed from the scores that the certificate keeps, so that older certificates have it too.
A certificate knows no device. Latencies are those of the emulated Cortex-A57.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.studies.estimates.features import features
from nas_sv2.studies.estimates.fusion import fuse
from nas_sv2.studies.findings.certificate import Certificate, ScoredNetwork

FUSED = "fused"
"""The name of the estimate among the counts of a network."""
FEWEST = 5  # networks: of fewer, a study has no estimates either


def with_fused(certificate: Certificate) -> tuple[Certificate, str]:
    """Return the certificate with the fused estimate among the counts of each network.

    The estimate knows one training of each network, as in a search, and the longer trainings of
    the other networks. The certificate is unchanged if it has few networks, equal scores, or a
    network that the emulated core does not cover. Then the second value says why: an estimate of
    the others alone would not be compared over the same networks as the recipe.
    """
    networks = certificate.networks
    scores = np.array([one.scores[0] for one in networks])
    if len(networks) < FEWEST:
        return certificate, f"it takes {FEWEST} networks, and there are {len(networks)}"
    if np.ptp(scores) == 0:
        return certificate, "all networks have the same score by the recipe"
    try:
        log_ms = np.log(_latencies_ms(networks))
    except MeasurementError as error:
        return certificate, str(error)
    rows = np.array(
        [features(one.architecture, cost_of(lower(one.architecture))) for one in networks]
    )
    longer = np.array([one.truth for one in networks])
    found = []
    for place, one in enumerate(networks):
        others = np.where(np.arange(len(networks)) == place, np.nan, longer)
        mean = float(fuse(rows, log_ms, scores, others).mean[place])
        found.append(dataclasses.replace(one, counts={FUSED: mean, **one.counts}))
    joint = len(certificate.joint)
    fused = dataclasses.replace(
        certificate, joint=tuple(found[:joint]), matched=tuple(found[joint:])
    )
    return fused, ""


def _latencies_ms(networks: Sequence[ScoredNetwork]) -> list[float]:
    """Price the networks on the emulated core.

    Raises:
        MeasurementError: It does not cover some; says how many, and what the first has.
    """
    core, found, faults = EmulatedArm.open(), [], []
    for one in networks:
        try:
            found.append(core.estimate(one.architecture).ms)
        except MeasurementError as fault:
            faults.append(str(fault))
    if faults:
        of = f"{len(faults)} of {len(networks)} networks have no latency on the emulated core"
        raise MeasurementError(f"{of}: {faults[0]}")
    return found
