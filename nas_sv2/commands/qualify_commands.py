"""`qualify`: whether a recipe, or a supernet, ranks networks as training for longer would."""

from pathlib import Path
from typing import Annotated

import typer

from nas_sv2.commands.data_commands import SPEC_HELP
from nas_sv2.commands.options import STORAGE, AsJson, Storage, counting_bar, print_json
from nas_sv2.errors import ConfigError


def qualify(
    recipe: Annotated[
        str | None, typer.Option(help="The recipe: a built-in one or a file; quick if left out.")
    ] = None,
    data: Annotated[str, typer.Option(help=SPEC_HELP)] = "animals",
    reference: Annotated[
        str | None,
        typer.Option(help="What is held for the truth; else the recipe with 8 times the passes."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="40M, 140M, 300M, 500M, large or a file: whose networks; else 140M, or the "
            "supernet's."
        ),
    ] = None,
    evaluator: Annotated[
        str, typer.Option(help="What is certified: recipe, or supernet:DIR in its place.")
    ] = "recipe",
    trajectories: Annotated[
        int, typer.Option(help="Of up to 8 networks each, which change one dimension a step.")
    ] = 2,
    matched: Annotated[int, typer.Option(help="Networks of equal FLOPs; 0 for none.")] = 8,
    seeds: Annotated[int, typer.Option(help="Trainings of each network by each recipe.")] = 2,
    draw: Annotated[int, typer.Option(help="Seed of the choice of networks.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Trainings at a time; else one for each core.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write it to as well.")] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Certify how well a recipe, or a supernet, ranks networks: against training, and counting.

    The certificate is kept in the database; searches and fronts with that recipe and data state
    it. A qualification that was killed goes on where it was.
    """
    from nas_sv2.search.qualification import QualifyRequest
    from nas_sv2.search.qualification import qualify as run
    from nas_sv2.show.certificate_text import certificate_data, certificate_markdown

    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigError("out", str(out), "must name a file in a folder that exists")
    request = QualifyRequest(
        recipe,
        data,
        storage,
        reference,
        space,
        trajectories,
        matched,
        seeds,
        draw,
        jobs,
        evaluator,
    )
    with counting_bar() as bar:
        task = bar.add_task("", total=None)
        certificate = run(
            request,
            bar.console.print,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    text = certificate_markdown(certificate)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    if as_json:
        print_json(certificate_data(certificate))
    else:
        print(text, end="")
