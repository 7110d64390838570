"""`nas-sv2 search`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_sv2.commands.options import (
    DATA_HELP,
    FIT_HELP,
    SPACE_HELP,
    STORAGE,
    STORAGE_VARIABLE,
    next_command,
    open_database,
    print_front,
    resumable,
    silence_optuna,
)
from nas_sv2.show.terminal import say

if TYPE_CHECKING:
    from nas_sv2.api.study import StudyFacts


def _what(*names: str, **settings: Any) -> Any:
    """An option that says what is searched; the help shows these first."""
    return typer.Option(*names, rich_help_panel="What to search", **settings)


def _how(*names: str, **settings: Any) -> Any:
    """An option that says how the search proceeds."""
    return typer.Option(*names, rich_help_panel="How to search", **settings)


def search(
    targets: Annotated[
        str,
        _what(
            "--target",
            "-t",
            help="Where latency counts: arm, cpu, gpu or a device; several as arm,cpu.",
        ),
    ],
    budgets: Annotated[
        list[str] | None,
        _what(
            "--budget",
            "-b",
            help="Upper limit, repeatable: 140M (FLOPs), 25ms, arm=25ms, 2.5Mparams, 2MiB.",
        ),
    ] = None,
    space: Annotated[
        str | None,
        _what("--space", help=f"{SPACE_HELP}; the nearest to the budget if left out."),
    ] = None,
    input: Annotated[
        str | None,
        _what(
            "--input",
            help="Input that is deployed and timed, as 96x128x3: height, width and channels; if "
            "left out, that of your images if no level is named, else the space's. Needed for "
            "detection.",
            metavar="HxWxC",
        ),
    ] = None,
    data: Annotated[
        str | None,
        _what(
            "--data",
            "-d",
            help=f"{DATA_HELP} For detection: drawn or coco:PATH. animals or drawn if left out.",
        ),
    ] = None,
    task: Annotated[
        str,
        _what(
            "--task", help="classification, or detection: candidates are backbones of detectors."
        ),
    ] = "classification",
    head: Annotated[
        str | None,
        _what("--head", help="Head of the detector: ssdlite or light-head; ssdlite if left out."),
    ] = None,
    fit: Annotated[str | None, _what("--fit", help=FIT_HELP)] = None,
    trials: Annotated[
        int, _what("--trials", "-n", help="Finished candidates to reach, baselines among them.")
    ] = 24,
    warm_start: Annotated[
        str | None,
        _how(
            "--from",
            help="Another study, whose front is asked first and whose trainings inform.",
            metavar="STUDY",
        ),
    ] = None,
    start: Annotated[
        list[str] | None,
        _how(
            "--start",
            help="A network of your own that is asked first, repeatable: its YAML or JSON file, "
            "or an exported package.",
            metavar="FILE",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        _how(
            "--recipe",
            help="How candidates are trained: smoke, quick, standard, long or a file; quick if "
            "left out. For detection: detector-quick, detector or a file.",
        ),
    ] = None,
    evaluator: Annotated[
        str,
        _how(
            "--evaluator",
            help="recipe: train every candidate; supernet:DIR: ask that supernet; "
            "MODULE:ATTRIBUTE: ask an evaluator of your own.",
        ),
    ] = "recipe",
    workers: Annotated[
        int | None,
        _how(
            "--workers",
            "-j",
            help="Candidates at the same time, one process each; one for each core if left out.",
        ),
    ] = None,
    device: Annotated[
        str, _how("--device", help="Where candidates are trained: cpu, or cuda for the GPU here.")
    ] = "cpu",
    ray: Annotated[
        str | None,
        _how(
            "--ray",
            help="auto or HOST:PORT: train and measure on that Ray cluster, --workers at a time.",
        ),
    ] = None,
    timeout: Annotated[
        str | None, _how("--timeout", help="Begin no trial after this time: 90s, 10m, 2h.")
    ] = None,
    sampler: Annotated[str, _how("--sampler", help="ehvi, tpe, nsga2, gp or random.")] = "ehvi",
    seed: Annotated[int, _how("--seed", help="Seed of the sampler and the trainings.")] = 0,
    study: Annotated[
        str | None,
        _how("--study", help="Name of the study; a study of that name is resumed."),
    ] = None,
    storage: Annotated[
        str,
        _how(
            "--storage",
            "-s",
            envvar=STORAGE_VARIABLE,
            help="Database of studies and measurements: a file or a URL.",
        ),
    ] = STORAGE,
    tolerance: Annotated[
        float, _how("--tolerance", help="Share by which a FLOPs budget may be exceeded.")
    ] = 0.05,
    guidelines: Annotated[
        str | None,
        _how(
            "--guidelines",
            help="Prune by G1-G4: measured (see nas-sv2 device guidelines), paper or off; if "
            "left out measured, where each target has a profile, else paper.",
        ),
    ] = None,
    audit: Annotated[
        float,
        _how("--audit", help="Share of the pruned candidates that is evaluated nevertheless."),
    ] = 0.05,
    stop_rule: Annotated[
        bool | None,
        _how(
            "--stop-rule/--no-stop-rule",
            help="End a training early that promises little growth of the front; on if trainings "
            "have several passes.",
        ),
    ] = None,
    latency: Annotated[
        str,
        _how(
            "--latency",
            help="measured: measure every candidate; auto: predict first, then measure those "
            "that could reach the front; predicted: measure the front alone, at the end.",
        ),
    ] = "measured",
    require_measured: Annotated[
        bool,
        _how("--require-measured", help="Refuse targets whose latency is not measured."),
    ] = False,
    skip_unreadable: Annotated[
        bool, _how("--skip-unreadable", help="Leave out images that cannot be read.")
    ] = False,
    log_json: Annotated[
        bool, _how("--log-json", help="Log events to standard error, one JSON object a line.")
    ] = False,
    as_json: Annotated[bool, _how("--json", help="Plain data for programs.")] = False,
) -> None:
    """Search networks that are accurate and fast on the target, within the budget."""
    from nas_sv2.api.searching import carry_out, fitted_data, plan_search
    from nas_sv2.show.console import output
    from nas_sv2.show.search_events import call_both, logging, showing

    silence_optuna()
    with resumable(), logging(study, workers != 1, log_json) as log:
        db = open_database(storage)
        plan = plan_search(
            targets,
            budgets or [],
            space=space,
            input=input,
            data=fitted_data(data, fit, task),
            task=task,
            head=head,
            recipe=recipe,
            sampler=sampler,
            trials=trials,
            timeout=timeout,
            seed=seed,
            study=study,
            storage=storage,
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
            warm_start=warm_start,
            start=start or [],
        )
        with showing(output(), as_json) as shown:
            found, ended_by = carry_out(plan, db, shown if log is None else call_both(shown, log))
        _print_found(found.facts, ended_by, storage, as_json)


def _print_found(
    facts: "StudyFacts", ended_by: BaseException | None, storage: str, as_json: bool
) -> None:
    """Print the front, and how its best network is exported; raise what ended the search."""
    print_front(facts, as_json)
    if facts.best is not None and not as_json:
        say(next_command(storage, "export", facts.study, "--trial", "best", "--out", "winner"))
    if ended_by is not None:
        raise ended_by
