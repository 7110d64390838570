"""`confirm`: whether what a study found beats the hand-designed network of its level."""

from typing import Annotated

import typer

from nas_sv2.commands.options import (
    STORAGE,
    AsJson,
    DataPlace,
    Storage,
    counting_bar,
    print_json,
    print_notes,
)


def confirm(
    study: Annotated[str, typer.Argument(help="Name of a study.")],
    recipe: Annotated[
        str, typer.Option(help="How to train, longer than in the search: standard, long, a file.")
    ],
    trials: Annotated[
        str,
        typer.Option(help="Numbers, as 3,7; best: the highest score of the front, no baseline."),
    ] = "best",
    seeds: Annotated[int, typer.Option(help="Trainings of each network, at least 3.")] = 3,
    jobs: Annotated[
        int | None, typer.Option(help="Trainings at a time; else one for each core.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option(help="Measure again even where a session of these is stored.")
    ] = False,
    data: DataPlace = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Train finalists and baselines again, for longer; claim what the figures bear, or nothing.

    Accuracies are of the test split; latencies of one session. The confirmation is kept with the
    study, and front and card state it. One that was ended goes on with the same command.
    """
    from nas_sv2.search.confirm.confirm import ConfirmRequest
    from nas_sv2.search.confirm.confirm import confirm as run
    from nas_sv2.show.confirm_tables import (
        confirmation_data,
        confirmation_notes,
        confirmation_table,
    )
    from nas_sv2.show.tables import output

    request = ConfirmRequest(study, recipe, storage, trials, seeds, jobs, fresh, data)
    with counting_bar() as bar:
        task = bar.add_task("", total=None)
        found = run(
            request,
            bar.console.print,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        print_json(confirmation_data(study, found))
        return
    output().print(confirmation_table(found))
    print_notes(confirmation_notes(found))
