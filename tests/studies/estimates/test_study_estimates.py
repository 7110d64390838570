"""The estimates of a study's records: its front, its baselines, and studies that are too small."""

import dataclasses
import math
from collections.abc import Mapping

import pytest
from doubles import V2, record_of
from scipy.stats import kendalltau
from scripted_study import certificate

from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.choices.probe_networks import trajectories
from nas_sv2.studies.estimates.other_study import FEWEST
from nas_sv2.studies.estimates.study_estimates import estimate_study
from nas_sv2.studies.findings.certificate import ScoredNetwork
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import Record


def trained(accuracy: float, ms: float, head: int, baseline: str | None = None) -> Record:
    architecture = dataclasses.replace(V2, head=head)
    record = record_of(accuracy, ms, baseline=baseline, architecture=architecture)
    evaluation = dataclasses.replace(record.evaluation, train_images=100)
    return dataclasses.replace(record, evaluation=evaluation)


@pytest.fixture
def records() -> Mapping[int, Record]:
    """Wider heads are better and slower."""
    found = {n: trained(0.5 + 0.02 * n, 1.0 + n, 256 * (n + 1)) for n in range(6)}
    return found | {6: trained(0.51, 9.0, 300, baseline="v2")}


def test_four_trainings_stand_for_themselves(records: Mapping[int, Record]) -> None:
    few = {number: records[number] for number in range(FEWEST - 1)}
    assert estimate_study(few, None) is None
    assert "expected\n(90 %)" not in Front(few).columns


def test_scores_that_no_training_gave_stand_for_themselves() -> None:
    record = record_of(0.5, 1.0)
    found = [
        dataclasses.replace(record.evaluation, accuracy=n / 10, train_images=0) for n in range(8)
    ]
    told = {n: dataclasses.replace(record, evaluation=each) for n, each in enumerate(found)}
    assert estimate_study(told, None) is None


def test_means_lie_in_their_intervals_and_chances_are_shares(
    records: Mapping[int, Record],
) -> None:
    found = estimate_study(records, None)
    assert found is not None and found.longer == 0 and found.by_trial.keys() == records.keys()
    assert "on the scale of this recipe's top-1" in found.describe()
    for estimate in found.by_trial.values():
        assert estimate.low < estimate.mean < estimate.high
        assert 0 <= estimate.on_front <= 1
    assert found.by_trial[0].on_front == 1.0  # nothing is as fast
    best = found.by_trial[5]
    assert best.beats_baseline is not None and best.beats_baseline > 0.8
    assert found.by_trial[6].beats_baseline is None
    assert found.chance_better(5, 0) > 0.95
    assert found.chance_better(5, 0) == pytest.approx(1 - found.chance_better(0, 5))
    assert "±" in str(best) and "%" in str(best)


def test_a_stopped_training_says_what_it_foretold_and_is_not_on_the_front(
    records: Mapping[int, Record],
) -> None:
    stopped = dataclasses.replace(records[2].evaluation, accuracy=0.01, stopped="slow")
    beyond = dataclasses.replace(records[2], evaluation=stopped, excesses={"stop_rule": 1.0})
    before, after = (estimate_study({**records, 2: each}, None) for each in (records[2], beyond))
    assert before is not None and after is not None
    assert after.by_trial[2].on_front == 0.0
    assert after.by_trial[2].mean == pytest.approx(before.by_trial[2].mean, abs=0.05)
    poor = estimate_study({**records, 2: dataclasses.replace(beyond, foreseen=0.2)}, None)
    assert poor is not None
    assert poor.by_trial[2].mean < after.by_trial[2].mean - 0.05


def test_the_front_follows_the_estimates(records: Mapping[int, Record]) -> None:
    """One lucky training of a small and slow network is no member of the front."""
    lucky = {**records, 7: trained(0.605, 8.0, 270)}
    found = estimate_study(lucky, None)
    assert found is not None
    assert any(entry.number == 7 for entry in Front(lucky).members)
    front = Front(lucky, found.by_trial)
    assert all(entry.number != 7 for entry in front.members)
    assert front.best.number == 5
    assert len(front.columns) == len(front.rows[0].cells)
    assert front.to_json()[0]["estimate"]["on_front"] == pytest.approx(1.0)


def test_longer_trainings_of_a_certificate_decide_by_latencies_that_the_study_knows() -> None:
    """A certificate knows no device. Its slow networks are slow by what the study measured."""
    networks = trajectories(open_space("40M"), 3).networks
    core = EmulatedArm.open()
    ms = [core.estimate(network).ms for network in networks]
    own = {n: record_of(0.5, ms[n], architecture=networks[n]) for n in range(16)}
    for n, record in own.items():
        evaluation = dataclasses.replace(
            record.evaluation, accuracy=0.5 + n % 3 / 50, train_images=100
        )
        own[n] = dataclasses.replace(record, evaluation=evaluation)
    told = [
        ScoredNetwork(networks[n], (0.5 + n % 3 / 50,), (0.3 + math.log(ms[n]) / 10,), 3.0, {})
        for n in range(16, 24)
    ]
    known = dataclasses.replace(certificate(), joint=tuple(told))
    found = estimate_study(own, known)
    assert found is not None and found.longer == 8
    assert "weights of training and log ms from 8 longer trainings" in found.describe()
    means = [found.by_trial[n].mean for n in own]
    assert kendalltau(means, ms[:16]).statistic > 0.7
