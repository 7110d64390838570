"""The commands `data`: decode images once, describe a data set, free its room."""

from typing import Annotated, Any

import typer

from nas_sv2.commands.options import (
    DATA_HELP,
    AsJson,
    Fit,
    SkipUnreadable,
    Yes,
    ask_first,
    counting_bar,
    print_notes,
    resolution,
    resumable,
)
from nas_sv2.counts import counted
from nas_sv2.show.terminal import say, say_json

app = typer.Typer(
    help="Prepare data sets, describe them, and remove what was prepared.",
    no_args_is_help=True,
)

DataName = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]
Size = Annotated[
    Any,
    typer.Option(
        "--resolution",
        parser=resolution,
        metavar="SIDE",
        help="Side of the images in pixels, or height and width as 96x128; if left out, the "
        "data's own, or 32 for folders, or as info finds them prepared.",
    ),
]


@app.command()
def prepare(
    data: DataName,
    size: Size = None,
    fit: Fit = None,
    skip_unreadable: SkipUnreadable = False,
    as_json: AsJson = False,
) -> None:
    """Decode the images of a folder once, so that every training reads plain pixels.

    The same command resumes one that was killed. Other data sets are opened, and downloaded if
    they are not there.
    """
    from nas_sv2.api.data_sets import prepare_data, with_fit

    with resumable(), counting_bar() as bar:
        task = bar.add_task("", total=None, visible=False)
        facts = prepare_data(
            with_fit(data, fit),
            resolution=size,
            skip_unreadable=skip_unreadable,
            notify=bar.console.print,
            progress=lambda done, total: bar.update(
                task, completed=done, total=total, visible=True
            ),
        )
    _print(facts, as_json)


@app.command()
def info(data: DataName, size: Size = None, fit: Fit = None, as_json: AsJson = False) -> None:
    """Print classes, images per class and part, what was skipped, and the room it takes.

    A folder of images has to be prepared before; what cannot be read is listed, not refused.
    """
    from nas_sv2.api.data_sets import describe_data, with_fit

    _print(describe_data(with_fit(data, fit), resolution=size), as_json)


@app.command()
def clear(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="imagefolder:PATH, imagenet:PATH or csv:FILE; all if left out."
        ),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove decoded images, finished or not; the images themselves are left alone."""
    from nas_sv2.api.data_sets import in_words, prepared_data

    caches = prepared_data(data)
    if caches and not yes:
        room = in_words(sum(cache.bytes_on_disk for cache in caches))
        ask_first(f"Remove {counted(len(caches), 'prepared data set')}, {room}?")
    freed = sum(cache.clear() for cache in caches)
    if as_json:
        say_json({"removed": len(caches), "bytes": freed})
    else:
        say(f"removed {counted(len(caches), 'prepared data set')}, {in_words(freed)}")


def _print(facts: dict[str, Any], as_json: bool) -> None:
    """Print the facts of a data set."""
    from nas_sv2.show.console import output, plain_table

    if as_json:
        say_json(facts)
        return
    table = plain_table("class", *facts["images"])
    for name, *counts in zip(facts["classes"], *facts["images"].values(), strict=True):
        table.add_row(name, *(f"{count:,}" for count in counts))
    if not facts["several"]:
        table.add_row("all", *(f"{sum(counts):,}" for counts in facts["images"].values()))
    output().print(table)
    print_notes(facts["notes"])
