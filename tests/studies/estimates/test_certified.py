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
    before, after = (with_fused(each).joint for each in (known, other))
    assert before[0].counts[FUSED] == after[0].counts[FUSED]
    assert all(one.counts[FUSED] for one in before)


def test_a_certificate_shows_it_beside_recipe_and_counting() -> None:
    known = certificate()
    rankings = certificate_data(known)["rankings"]
    assert isinstance(rankings, dict) and rankings["joint"].keys() == {"recipe", FUSED, "flops"}
    page = certificate_markdown(known)
    assert "| joint | fused |" in page
    assert "τ of the fused estimate minus τ of the recipe" in page


def test_four_networks_have_no_fused_estimate() -> None:
    known = certificate()
    few = dataclasses.replace(known, joint=known.joint[:4])
    assert with_fused(few) is few
