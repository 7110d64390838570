"""The certified fused estimate: each network's own longer training stays unknown to it."""

import dataclasses

from scripted_study import certificate

from nas_sv2.show.recipe_tables import certificate_data, certificate_markdown
from nas_sv2.studies.estimates.certified import FUSED, with_fused


def test_no_network_knows_its_own_longer_training() -> None:
    known = certificate()
    first = known.joint[0]
    lucky = dataclasses.replace(first, reference=(0.1, 0.1))
    other = dataclasses.replace(known, joint=(lucky, *known.joint[1:]))
    before, after = (with_fused(each)[0].joint for each in (known, other))
    assert before[0].counts[FUSED] == after[0].counts[FUSED]
    assert all(one.counts[FUSED] for one in before)


def test_a_certificate_shows_it_beside_recipe_and_counting() -> None:
    known = certificate()
    rankings = certificate_data(known)["rankings"]
    assert certificate_data(known)["not_fused"] is None
    assert isinstance(rankings, dict) and rankings["joint"].keys() == {"recipe", FUSED, "flops"}
    page = certificate_markdown(known)
    assert "| joint | fused |" in page and "no row" not in page
    assert "τ of the fused estimate minus τ of the recipe" in page


def test_four_networks_have_no_fused_estimate() -> None:
    known = certificate()
    few = dataclasses.replace(known, joint=known.joint[:4])
    assert with_fused(few) == (few, "it takes 5 networks, and there are 4")
    alike = tuple(dataclasses.replace(one, scores=(0.5, 0.5)) for one in known.joint)
    assert "the same score" in with_fused(dataclasses.replace(known, joint=alike))[1]


def test_a_certificate_says_why_it_has_none() -> None:
    known = certificate()
    (first, *others) = known.joint
    uncovered = dataclasses.replace(first.architecture, resolution=1100)
    mixed = dataclasses.replace(
        known, joint=(dataclasses.replace(first, architecture=uncovered), *others)
    )
    page, data = certificate_markdown(mixed), certificate_data(mixed)
    assert "| joint | fused |" not in page and "| joint | flops |" in page
    why = f"1 of {len(mixed.networks)} networks have no latency on the emulated core: "
    assert f"- no row `fused`: {why}" in page
    assert str(data["not_fused"]).startswith(why)
