"""Show recipes as a table, and a certificate as Markdown or as plain data."""

from collections.abc import Iterable, Sequence

from rich.console import RenderableType

from nas_sv2.counts import counted
from nas_sv2.evaluate.fitting.evaluation import describe_place
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.show.console import plain_table
from nas_sv2.studies.estimates.certified import FUSED, with_fused
from nas_sv2.studies.findings.certificate import (
    Certificate,
    Effect,
    Ranking,
    ScoredNetwork,
)
from nas_sv2.studies.findings.rank_agreement import BESIDE, lead

_ENDS = {
    "depth": ("shallow", "deep"),
    "width": ("narrow", "wide"),
    "split": ("a small share convolved", "a large share convolved"),
    "kernel": ("small kernels", "large kernels"),
    "se": ("no squeeze-and-excitation", "squeeze-and-excitation"),
    "residual": ("no residual", "the residual"),
    "ends": ("a narrow stem and head", "a wide stem and head"),
}

_VERDICTS = {True: "more than chance", False: "within chance", None: "not known"}
_COLUMNS = (
    *("set", "depth", "width", "split", "kernel", "SE", "residual"),
    *("stem, head", "MFLOPs", "by seed", "reference"),
)


def recipes_table(recipes: Sequence[Recipe]) -> RenderableType:
    """How long and how each recipe trains, and what it is for."""
    table = plain_table("recipe", "passes", "images a pass", "batch", "rate", "schedule", "for")
    for recipe in recipes:
        table.add_row(
            recipe.name,
            str(recipe.epochs),
            "all" if recipe.images_per_epoch is None else f"{recipe.images_per_epoch:,}",
            str(recipe.batch),
            f"{recipe.learning_rate:g}",
            recipe.schedule,
            "candidates" if recipe.full_training is None else "full training",
        )
    return table


def certificate_markdown(certificate: Certificate) -> str:
    """Return the certificate as Markdown: facts, agreement, dimensions, networks."""
    certificate, lacks = with_fused(certificate)
    missing = [f"- no row `{FUSED}`: {lacks}"] if lacks else []
    sections = [
        [f"# How well `{certificate.recipe}` ranks", "", *_facts(certificate)],
        ["## Agreement", "", *_agreement(certificate), "", *_reading(certificate), *missing],
        ["## By dimension", "", *_dimensions(certificate)],
        ["## Networks", "", *_networks(certificate)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def certificate_data(certificate: Certificate) -> dict[str, object]:
    """Return the figures as plain data; an agreement that there is none of is None."""
    import dataclasses
    import json

    fused, lacks = with_fused(certificate)
    sets = {"joint": fused.joint, "matched": fused.matched}
    rankings = {
        name: {
            by or "recipe": dataclasses.asdict(fused.ranking(networks, by))
            for by in (None, *_counts(fused))
        }
        for name, networks in sets.items()
        if networks
    }
    return {
        "certificate": json.loads(certificate.to_json()),
        "rankings": json.loads(json.dumps(rankings), parse_constant=lambda nan: None),
        "not_fused": lacks or None,
        "noise": certificate.noise,
        "reference_noise": certificate.reference_noise,
        "smallest_difference": certificate.smallest_difference,
        "effects": [dataclasses.asdict(effect) for effect in certificate.effects],
        "seconds": certificate.seconds,
    }


def _facts(certificate: Certificate) -> list[str]:
    noise, reference = certificate.noise, certificate.reference_noise
    smallest = certificate.smallest_difference
    lines = [
        f"- data: {certificate.data}",
        f"- against: `{certificate.reference}`, {_longer(certificate)}"
        f"mean of {counted(certificate.seeds, 'seed')}",
        f"- networks: {len(certificate.joint)} that vary jointly, {len(certificate.matched)} of "
        f"equal FLOPs (±5 %), space {certificate.space} ({certificate.space_digest})",
        f"- scores: {_scores(certificate)}; higher is better",
        f"- cost of a candidate: {certificate.seconds:.1f} s on one thread, mean"
        f"{_before(certificate)}",
        f"- trained on: {describe_place(certificate.place)}",
        f"- recipes: {certificate.recipe_digest}, reference {certificate.reference_digest}",
    ]
    if noise is None or reference is None or smallest is None:
        return [*lines, "- noise of the seed: not known, one seed only"]
    return [
        *lines,
        f"- noise of the seed (standard deviation of one training, {BESIDE}): "
        f"{certificate.in_words(noise)}; of the reference "
        f"{certificate.in_reference_words(reference)}",
        f"- smallest difference of two candidates that is more than noise: "
        f"{certificate.in_words(smallest)}",
        f"- decisive: pairs further apart than {_gap(certificate)} in the reference",
    ]


def _scores(certificate: Certificate) -> str:
    ours, theirs = certificate.scored_by, certificate.reference_scored_by
    beside = "" if ours == theirs else f"; of the reference {facts_of(theirs).objective}"
    return f"{facts_of(ours).objective}{beside}"


def _longer(certificate: Certificate) -> str:
    if certificate.before_seconds:
        return ""
    return f"{certificate.longer:.3g} times as many training images, "


def _before(certificate: Certificate) -> str:
    if not certificate.before_seconds:
        return ""
    return f", after {certificate.before_seconds:,.0f} s for the supernet, once"


def _agreement(certificate: Certificate) -> list[str]:
    lines = [
        "| set | ranked by | Kendall's τ (95 %) | Spearman's ρ (95 %) | by chance "
        "| decisive pairs right |",
        "|---|---|---|---|---|---|",
    ]
    for name, networks in _sets(certificate):
        for by in (None, *_counts(certificate)):
            lines.append(_row(name, by or f"`{certificate.recipe}`", networks, certificate, by))
    return lines


def _row(
    name: str,
    shown: str,
    networks: Sequence[ScoredNetwork],
    certificate: Certificate,
    by: str | None,
) -> str:
    ranking: Ranking = certificate.ranking(networks, by)
    cells = (name, shown, ranking.tau, ranking.rho, f"{ranking.chance:.2g}", ranking.decisive)
    return "| " + " | ".join(map(str, cells)) + " |"


def _reading(certificate: Certificate) -> Iterable[str]:
    for name, networks in _sets(certificate):
        found = certificate.lead_over(networks, "flops")
        verdict = _VERDICTS[found.above_zero]
        yield f"- {name}: τ of the recipe minus τ of counting FLOPs: {found}, {verdict}"
        if FUSED in networks[0].counts:
            yield from _fused_reading(name, networks)


def _fused_reading(name: str, networks: Sequence[ScoredNetwork]) -> Iterable[str]:
    """Compare the fused estimate with counting and with the recipe alone."""
    truth = [one.truth for one in networks]
    fused = [[one.counts[FUSED] for one in networks]]
    rivals = {
        "counting FLOPs": [[one.counts["flops"] for one in networks]],
        "the recipe": [list(run) for run in zip(*(one.scores for one in networks), strict=True)],
    }
    for rival, runs in rivals.items():
        found = lead(fused, runs, truth)
        yield (
            f"- {name}: τ of the fused estimate minus τ of {rival}: {found}, "
            + (_VERDICTS[found.above_zero])
        )


def _dimensions(certificate: Certificate) -> list[str]:
    lines = [
        "Higher end minus lower end, mean over the pairs that differ in this dimension alone.",
        "",
        "| dimension | pairs | right, of those told apart | recipe | reference | bias |",
        "|---|---|---|---|---|---|",
    ]
    for effect in certificate.effects:
        lines.append(
            f"| {effect.dimension} | {effect.pairs} | {effect.right} of {effect.separated} "
            f"| {_signed(effect.ours, certificate.scored_by)} "
            f"| {_signed(effect.theirs, certificate.reference_scored_by)} "
            f"| {_bias(effect, certificate)} |"
        )
    return lines


def _bias(effect: Effect, certificate: Certificate) -> str:
    if certificate.scored_by != certificate.reference_scored_by:
        return "not comparable"
    noise = certificate.noise
    lower, higher = _ENDS[effect.dimension]
    liked = higher if effect.bias > 0 else lower
    text = f"prefers {liked}, {_signed(effect.bias, certificate.scored_by)}"
    # One training at each end of each pair, and the error of the reference is smaller.
    if noise is not None and abs(effect.bias) < 1.96 * noise * (2 / effect.pairs) ** 0.5:
        return f"{text}, within noise"
    return text


def _networks(certificate: Certificate) -> Iterable[str]:
    yield "| " + " | ".join(_COLUMNS) + " |"
    yield "|" + "---|" * len(_COLUMNS)
    for name, networks in _sets(certificate):
        for one in networks:
            stages = one.architecture.stages
            cells = [
                name,
                *(
                    " ".join(str(getattr(stage, field)) for stage in stages)
                    for field in ("depth", "width", "split", "kernel")
                ),
                *(
                    "".join("x" if getattr(stage, field) else "–" for stage in stages)
                    for field in ("se", "residual")
                ),
                f"{one.architecture.stem[-1]}, {one.architecture.head}",
                f"{one.counts['flops'] / 1e6:.3g}",
                " ".join(_score(value, certificate.scored_by) for value in one.scores),
                " ".join(
                    _score(value, certificate.reference_scored_by) for value in one.reference
                ),
            ]
            yield "| " + " | ".join(cells) + " |"


def _sets(certificate: Certificate) -> list[tuple[str, tuple[ScoredNetwork, ...]]]:
    sets = [("joint", certificate.joint), ("equal FLOPs", certificate.matched)]
    return [(name, networks) for name, networks in sets if networks]


def _counts(certificate: Certificate) -> list[str]:
    return list(certificate.joint[0].counts)


def _gap(certificate: Certificate) -> str:
    return certificate.in_reference_words(certificate.told_apart)


def _signed(difference: float, scored_by: str) -> str:
    sign = "+" if difference >= 0 else ""
    return sign + facts_of(scored_by).difference(difference)


def _score(value: float, scored_by: str) -> str:
    facts = facts_of(scored_by)
    if facts.unit == "label":
        return f"-{facts.value(value)}"
    return f"{value * 100:.2f}" if facts.unit == "share" else f"{value:.4f}"
