"""What a search is about, one fact a line."""

from collections.abc import Mapping

from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.validation import describe_balance
from nas_sv2.latency.targets.doctor import trust_warning
from nas_sv2.latency.targets.target import Target
from nas_sv2.passwords import masked
from nas_sv2.search.session.guideline_choice import Chosen
from nas_sv2.search.session.plan import SearchPlan
from nas_sv2.search.walk.early_stop import EarlyStop

_SCORING = {
    "accuracy": "",
    "cross_entropy": "; compared by cross-entropy, not by accuracy",
    "training_speed": "; compared by the sum of training losses, not by accuracy",
}
_PREDICTING = {
    "measured": "",
    "predicted": "; latencies are predicted, those of the front measured at last",
    "auto": "; latencies are predicted first, and measured where that could decide",
}


def describe_search(
    plan: SearchPlan,
    data: ImageData,
    targets: Mapping[str, Target],
    guidelines: Chosen,
    done: int,
    reference_ms: Mapping[str, float],
    certified: str,
) -> list[str]:
    """Describe a search that is open.

    Args:
        plan: The search.
        data: Its images.
        targets: Its targets, open.
        guidelines: Those that it prunes by.
        done: The finished trials of its study.
        reference_ms: The time of the reference network, by target that is corrected for drift.
        certified: What the certificate of its recipe says.
    """
    recipe, space = plan.recipe, plan.space
    shown = ", ".join(f"{name} ({target.provenance})" for name, target in targets.items())
    pruning, *more = guidelines.described
    audited = f"; {plan.audit.share:.0%} of what they prune is audited"
    return [
        f"study     {plan.study} in {masked(plan.storage)}"
        + (f", {done} of {plan.trials} trials done" if done else ""),
        f"space     {space.name}, input {space.resolution}×{space.resolution}",
        f"budget    {plan.budget.describe()}",
        f"prune by  {pruning}{audited if guidelines.limits.limits else ''}",
        *(f"          {line}" for line in more),
        f"targets   {shown}" + _PREDICTING[plan.latency],
        *(
            f"          {name}: the reference network counts as {ms:.3f} ms, against drift"
            for name, ms in reference_ms.items()
        ),
        *(
            f"          {line}"
            for target in targets.values()
            if (line := trust_warning(target)) is not None
        ),
        f"data      {data.name}: {len(data.train):,} images to train, {len(data.val):,} to "
        f"validate, {data.classes} classes, {data.side}×{data.side}",
        *(f"          {note}" for note in (*data.notes, *describe_balance(data.val, data))),
        f"recipe    {recipe.name}, {_seeds(plan)}{_SCORING[recipe.score]}; {certified}",
        *plan.evaluator.described,
        *([EarlyStop.DESCRIBED] if plan.stop_rule else []),
    ]


def _seeds(plan: SearchPlan) -> str:
    count = plan.recipe.seeds
    if plan.evaluator.seed is not None:
        return f"seed {plan.evaluator.seed}"
    return f"seed {plan.seed}" + (f", mean of {count} trainings" if count > 1 else "")
