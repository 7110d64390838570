"""What a certificate says of its scores, and that it is kept and found."""

import dataclasses
from pathlib import Path

import pytest

from nas_sv2.database.database import Database
from nas_sv2.errors import StoreError
from nas_sv2.show.recipe_tables import certificate_data, certificate_markdown
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.choices.probe_networks import Contrast, trajectories
from nas_sv2.studies.findings.certificate import Certificate, ScoredNetwork
from nas_sv2.studies.storage.recipe_evidence import CertificateStore

REFERENCE = (0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97)


def certificate_of(scores: tuple[float, ...], noise: float = 0.001) -> Certificate:
    """Eight networks, two seeds `noise` apart either way, in turn."""
    networks = trajectories(named_space("40M"), 1).networks

    def by_seed(score: float, number: int) -> tuple[float, float]:
        sign = 1 if number % 2 else -1
        return score + sign * noise, score - sign * noise

    joint = tuple(
        ScoredNetwork(
            networks[number],
            by_seed(score, number),
            by_seed(truth, number),
            seconds=10.0,
            counts={"flops": float(-number)},
        )
        for number, (score, truth) in enumerate(zip(scores, REFERENCE, strict=True))
    )
    return Certificate(
        recipe="r",
        recipe_digest="d",
        reference="r ×8",
        reference_digest="e",
        scored_by="accuracy",
        reference_scored_by="accuracy",
        data="animals@0",
        space="40M",
        space_digest="s",
        place="cpu, 1 threads",
        longer=8.0,
        joint=joint,
        matched=(),
        contrasts=(Contrast("depth", 0, 7), Contrast("depth", 1, 2), Contrast("width", 4, 3)),
    )


def test_a_recipe_in_the_reference_s_order_is_certified_so() -> None:
    found = certificate_of(tuple(score - 0.1 for score in REFERENCE))
    ranking = found.ranking(found.joint)
    assert ranking.tau.value == ranking.rho.value == pytest.approx(1)
    assert ranking.decisive.right == ranking.decisive.pairs > 0
    assert ranking.chance < 0.01
    assert found.ranking(found.joint, "flops").tau.value == pytest.approx(-1)
    assert found.lead_over(found.joint, "flops").low == pytest.approx(2)


def test_bias_and_agreement_by_dimension() -> None:
    scores = (0.85, 0.80, 0.86, 0.83, 0.88, 0.87, 0.88, 0.89)
    depth, width = certificate_of(scores, noise=0.0001).effects
    assert (depth.dimension, depth.pairs, depth.right, depth.separated) == ("depth", 2, 2, 2)
    assert depth.ours == pytest.approx((0.04 + 0.06) / 2)
    assert depth.theirs == pytest.approx((0.07 + 0.01) / 2)
    assert depth.bias == pytest.approx(0.01)
    assert (width.right, width.separated) == (1, 1)
    assert width.bias == pytest.approx(-0.05 + 0.01)


def test_ties_are_what_the_seed_alone_does() -> None:
    found = certificate_of(REFERENCE, noise=0.01)
    # Residuals of ±0.01: a variance of 16 · 0.01² over 7 degrees of freedom.
    assert found.noise == pytest.approx((16 * 0.01**2 / 7) ** 0.5)
    assert found.noise is not None
    assert found.smallest_difference == pytest.approx(1.96 * 2**0.5 * found.noise)
    assert found.told_apart == pytest.approx(1.96 * found.noise)
    assert "gaps under 4.19 points are ties" in found.describe()
    assert "equal FLOPs" not in found.describe()
    matched = dataclasses.replace(found, matched=found.joint)
    assert f"at equal FLOPs τ {found.ranking(found.joint).tau} over 8" in matched.describe()


def test_one_seed_knows_no_noise_and_says_so() -> None:
    found = certificate_of(REFERENCE)
    single = dataclasses.replace(
        found,
        joint=tuple(
            dataclasses.replace(one, scores=one.scores[:1], reference=one.reference[:1])
            for one in found.joint
        ),
    )
    assert single.noise is None
    assert single.smallest_difference is None
    assert "ties" not in single.describe()
    assert "noise of the seed: not known, one seed only" in certificate_markdown(single)


def test_the_page_has_the_figures_of_the_data() -> None:
    found = certificate_of(tuple(score - 0.1 for score in REFERENCE))
    page = certificate_markdown(found)
    assert "| joint | `r` | 1.00 (no interval, all resamples alike) |" in page
    assert "τ of counting FLOPs: 2.00 (no interval, all resamples alike), more than chance" in page
    assert page.count("\n| joint |") == 3 + 8
    data = certificate_data(found)
    assert data["noise"] == found.noise
    assert data["seconds"] == 10.0


def test_it_is_found_again_by_recipe_and_data_the_space_s_own_first(tmp_path: Path) -> None:
    db = Database.open(f"sqlite:///{tmp_path / 'c.db'}")
    store = CertificateStore(db)
    assert store.find("d", "animals@0") is None  # no table yet, and none is made
    db.migrate()
    first, other = certificate_of(REFERENCE), certificate_of(REFERENCE[::-1])
    other = dataclasses.replace(other, space="500M", space_digest="t")
    store.save(first)
    store.save(other)
    assert store.find("d", "animals@0", "s") == first
    assert store.find("d", "animals@0") == other
    assert store.find("d", "npz:/moved/animals.npz@0", "s") == first
    assert store.find("d", "animals@1") is None
    db.close()


def test_a_damaged_one_is_a_clear_error() -> None:
    with pytest.raises(StoreError, match="a stored certificate cannot be read"):
        Certificate.from_json('{"recipe": 1, "joint": [], "matched": [], "contrasts": []}')
