"""The commands `data`: decode images once, describe a data set, free its room."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_sv2.commands.options import (
    DATA_HELP,
    AsJson,
    SkipUnreadable,
    Yes,
    ask_first,
    counting_bar,
    print_json,
    print_notes,
)
from nas_sv2.errors import ConfigError

if TYPE_CHECKING:
    from nas_sv2.evaluate.data.image_data import ImageData

app = typer.Typer(
    help="Prepare data sets, describe them, and remove what was prepared.",
    no_args_is_help=True,
)

DataName = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]
Resolution = Annotated[
    int | None,
    typer.Option(
        "--resolution",
        min=1,
        help="Side of the images in pixels; the data's own, or 32 for folders, if left out.",
    ),
]


@app.command()
def prepare(
    data: DataName,
    resolution: Resolution = None,
    skip_unreadable: SkipUnreadable = False,
    as_json: AsJson = False,
) -> None:
    """Decode the images of a folder once, so that every training reads plain pixels.

    The same command resumes one that was killed. Other data sets are opened, and downloaded if
    they are not there.
    """
    from nas_sv2.evaluate.data.open_data import open_data

    with counting_bar() as bar:
        task = bar.add_task("", total=None, visible=False)
        opened = open_data(
            data,
            resolution=resolution,
            skip_unreadable=skip_unreadable,
            told=bar.console.print,
            progress=lambda done, total: bar.update(
                task, completed=done, total=total, visible=True
            ),
        )
    _print(opened, resolution, as_json)


@app.command()
def info(data: DataName, resolution: Resolution = None, as_json: AsJson = False) -> None:
    """Print classes, images per class and part, what was skipped, and the room it takes.

    A folder of images has to be prepared before; what cannot be read is listed, not refused.
    """
    from nas_sv2.evaluate.data.image_listing import LAYOUTS
    from nas_sv2.evaluate.data.open_data import open_data

    if data.partition(":")[0] in LAYOUTS:
        _print(None, resolution, as_json, data)
    else:
        _print(open_data(data, resolution=resolution), resolution, as_json)


@app.command()
def clear(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="imagefolder:PATH or imagenet:PATH; all of them if left out."
        ),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove decoded images, finished or not; the images themselves are left alone."""
    from nas_sv2.evaluate.data.image_cache import all_caches, in_words

    caches = all_caches()
    if data is not None:
        root = _root_of(data)
        caches = [cache for cache in caches if cache.root == root]
    if caches and not yes:
        room = in_words(sum(cache.bytes_on_disk for cache in caches))
        ask_first(f"Remove {len(caches)} prepared data sets, {room}?")
    freed = sum(cache.clear() for cache in caches)
    if as_json:
        print_json({"removed": len(caches), "bytes": freed})
    else:
        print(f"removed {len(caches)} of the prepared data sets, {in_words(freed)}")


def _root_of(spec: str) -> str:
    """The folder that a spec names, which need not be there any more."""
    from pathlib import Path

    from nas_sv2.evaluate.data.image_listing import LAYOUTS

    layout, _, where = spec.partition(":")
    if layout not in LAYOUTS or not where:
        raise ConfigError(
            "data", spec, "must be imagefolder:PATH or imagenet:PATH; nothing else is kept"
        )
    return str(Path(where).expanduser().resolve())


def _print(
    data: "ImageData | None", resolution: int | None, as_json: bool, spec: str | None = None
) -> None:
    """Print the facts of an opened data set or of a prepared folder."""
    from nas_sv2.evaluate.data.image_listing import LAYOUTS
    from nas_sv2.show.tables import output, plain_table

    spec = data.name if data is not None else spec
    assert spec is not None
    folder = spec.partition(":")[0] in LAYOUTS
    facts = _folder_facts(spec, resolution) if folder else _facts(data)
    if as_json:
        print_json(facts)
        return
    table = plain_table("class", *facts["images"])
    for name, *counts in zip(facts["classes"], *facts["images"].values(), strict=True):
        table.add_row(name, *(f"{count:,}" for count in counts))
    table.add_row("all", *(f"{sum(counts):,}" for counts in facts["images"].values()))
    output().print(table)
    print_notes(facts["notes"])


def _facts(data: "ImageData | None") -> dict[str, Any]:
    assert data is not None
    parts = dict(zip(("train", "val", "test"), data.parts, strict=False))
    return {
        "spec": data.name,
        "key": data.key,
        "side": data.side,
        "channels": data.channels,
        "classes": list(data.class_names),
        "images": {
            name: part.labels.bincount(minlength=data.classes).tolist()
            for name, part in parts.items()
        },
        "notes": [
            *data.notes,
            f"{data.channels} × {data.side} × {data.side}, content {data.key}",
            "read as it is: nothing is kept for it",
        ],
    }


def _folder_facts(spec: str, resolution: int | None) -> dict[str, Any]:
    from nas_sv2.evaluate.data.image_cache import ImageCache, bytes_needed, in_words
    from nas_sv2.evaluate.data.image_folder import SIDE, notes_of
    from nas_sv2.evaluate.data.image_listing import list_images

    listing, side = list_images(spec), resolution or SIDE
    cache = ImageCache.of(listing, side)
    prepared = cache.read()
    if prepared is None:
        need = f"up to {in_words(bytes_needed(len(listing), side))}"
        text = f"must be prepared at {side}×{side}: nas-sv2 data prepare does it and needs {need}"
        raise ConfigError("data", spec, text)
    size = cache.bytes_on_disk
    modes = ", ".join(f"{mode} {count:,}" for mode, count in prepared.modes.items())
    faults = [f"cannot be read: {name!r} ({reason})" for name, reason in prepared.faults]
    return {
        "spec": spec,
        "key": prepared.key,
        "side": side,
        "channels": prepared.channels,
        "classes": list(prepared.class_names),
        "images": prepared.counts,
        "files": prepared.files,
        "modes": prepared.modes,
        "unreadable": dict(prepared.faults),
        "copies_left_out": prepared.left_out,
        "cache": {"folder": str(cache.folder), "bytes": size},
        "notes": [
            *notes_of(prepared, listing.val_share),
            f"{prepared.files:,} files, of mode {modes}",
            *faults,
            f"{prepared.channels} × {side} × {side}, content {prepared.key}",
            f"{in_words(size)} in {cache.folder}",
        ],
    }
