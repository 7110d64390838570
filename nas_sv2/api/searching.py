"""`search`: from words or objects to a study."""

from collections.abc import Sequence

from nas_sv2.api.arguments import checked, database_of
from nas_sv2.api.data_sets import with_fit
from nas_sv2.api.study import Study
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, NasError
from nas_sv2.evaluate.fitting.evaluator import Evaluator
from nas_sv2.latency.targets.user_target import LatencySource
from nas_sv2.search.events.events import OnEvent, ignore
from nas_sv2.search.session.detection import DETECTION
from nas_sv2.search.session.plan import SearchPlan
from nas_sv2.search.session.plan import plan_search as plan_search
from nas_sv2.search.session.session import search as run
from nas_sv2.search.session.warm_start import Start
from nas_sv2.search.walk.budget import Budget
from nas_sv2.space.choices.search_space import SearchSpace


@checked
def search(
    targets: str | LatencySource | Sequence[str | LatencySource],
    *,
    budget: str | Budget | Sequence[str] = (),
    space: str | SearchSpace | None = None,
    input: str | None = None,
    data: str | None = None,
    task: str = "classification",
    head: str | None = None,
    trials: int = 24,
    recipe: str | None = None,
    evaluator: str | Evaluator = "recipe",
    workers: int | None = 1,
    device: str = "cpu",
    ray: str | None = None,
    timeout: str | None = None,
    sampler: str = "ehvi",
    seed: int = 0,
    study: str | None = None,
    storage: str | Database = DEFAULT_STORAGE,
    tolerance: float = 0.05,
    guidelines: str | None = None,
    audit: float = 0.05,
    stop_rule: bool | None = None,
    latency: str = "measured",
    require_measured: bool = False,
    skip_unreadable: bool = False,
    warm_start: str | Study | None = None,
    start: Start | Sequence[Start] = (),
    on_event: OnEvent = ignore,
) -> Study:
    """Search networks that are accurate and fast on the targets, within the budget.

    The same call resumes a search that was ended; its study keeps the results until then.

    Args:
        targets: Names such as `arm`, `cpu` or a device's, `module:attribute`, or your objects.
        budget: Upper limits such as `140M` (FLOPs), `25ms`, `arm=25ms`, `2.5Mparams`, `2MiB`.
        space: The networks to choose from; the level nearest to the budget if left out.
        input: The input that is deployed and timed, as `96x96x3`. If it is left out, that of your
            own images where neither a space nor FLOPs name a level, else the space's own. With
            detection, the size of all images, which need not be square; it cannot be left out.
        data: The images to train on; `animals`, or `drawn` for detection, if left out.
        task: `classification`, or `detection`: candidates are backbones of detectors.
        head: The detector's, `ssdlite` or `light-head`; `ssdlite` if left out.
        trials: Finished candidates to reach, baselines among them.
        recipe: How candidates are trained; `quick` if left out.
        evaluator: `recipe`, `supernet:DIR`, `module:attribute`, or your object.
        workers: Candidates at the same time, one process each; None for one for each core. A
            script that asks for several calls this function under `if __name__ == "__main__":`.
        device: The training device: `cpu` or `cuda`.
        ray: The address of a Ray cluster to train and measure on.
        timeout: Begin no trial after this time: `90s`, `10m`, `2h`.
        sampler: `ehvi`, `tpe`, `nsga2`, `gp` or `random`.
        seed: Seed of the sampler and the trainings.
        study: The name of the study to begin or resume; it follows from the question if left out.
        storage: The URL of the database, or the `db` of a study.
        tolerance: Share by which a FLOPs budget may be exceeded.
        guidelines: `measured`, `paper` or `off`; measured, if there is a profile, if left out.
        audit: Share of the pruned candidates that is evaluated nevertheless.
        stop_rule: End a training early that promises little growth of the front; None for on,
            if trainings have several passes.
        latency: `measured`; `auto` to predict first and measure the promising candidates; or
            `predicted` to measure the front alone, at the end.
        require_measured: Refuse targets whose latency is not measured.
        skip_unreadable: Leave out images that cannot be read.
        warm_start: Another study of the database, whose front is asked first and whose
            trainings inform the estimates.
        start: Networks of your own that are asked first: files, exported packages or objects.
        on_event: Is called with every event, a frozen value.

    Raises:
        ConfigError: A value is not allowed; nothing is written.
        InfeasibleError: No network keeps the budget.
        NasError: A target, a training or the database failed; the same call resumes.
    """
    db = database_of(storage)
    plan = plan_search(
        targets if isinstance(targets, str | Sequence) else [targets],
        [budget] if isinstance(budget, str) else budget,
        space=space,
        input=input,
        data=data,
        task=task,
        head=head,
        recipe=recipe,
        sampler=sampler,
        trials=trials,
        timeout=timeout,
        seed=seed,
        study=study,
        storage=db.url,
        tolerance=tolerance,
        guidelines=guidelines,
        audit=audit,
        stop_rule=stop_rule,
        latency=latency,
        require_measured=require_measured,
        skip_unreadable=skip_unreadable,
        evaluator=evaluator,
        workers=workers,
        train_on=device,
        ray=ray,
        warm_start=warm_start.name if isinstance(warm_start, Study) else warm_start,
        start=start,
    )
    found, ended_by = carry_out(plan, db, on_event)
    if ended_by is not None:
        raise ended_by
    return found


def fitted_data(data: str | None, fit: str | None, task: str) -> str | None:
    """Return the data with the fit of their pictures; None for the demo data of the task.

    Raises:
        ConfigError: The pictures have no such fit, or the task has none.
    """
    if fit is None:
        return data
    if task == DETECTION:
        allowed = "must be left out for detection, whose images keep the ratio of their sides"
        raise ConfigError("fit", fit, allowed)
    return with_fit("animals" if data is None else data, fit)


def carry_out(
    plan: SearchPlan, storage: str | Database, on_event: OnEvent = ignore
) -> tuple[Study, NasError | KeyboardInterrupt | None]:
    """Search as planned; the study, and the error or interrupt that ended the search early.

    Args:
        plan: What is asked.
        storage: The URL of the plan's database, or the `db` of a study.
        on_event: Is called with every event, a frozen value.

    Raises:
        ConfigError: The plan does not fit the data or the study; nothing is written.
        InfeasibleError: No network keeps the budget.
        NasError: A target or the database cannot be opened.
    """
    db = database_of(storage)
    found = run(plan, db, on_event)
    return Study(found.study, db), found.ended_by
