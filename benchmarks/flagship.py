"""The flagship: searches whose winners are confirmed against the scaled family.

    nas-sv2 device add --project a76 --core cortex-a76
    python benchmarks/flagship.py cifar10 --data imagefolder:cifar10
    python benchmarks/flagship.py photos --data imagefolder:clothing

`benchmarks/flagship` has the spaces and the recipes. On CIFAR-10, at 32×32 and up to 6 MFLOPs, the
network that is timed is the one that is trained and shipped. The photos are taken at 96×96, at the
levels of V2 0.5× and 1×.

Each command searches at random, then by the sampler for as many candidates. It confirms the
winner with a margin, against V2 at 5 widths and against the winner of the random search. `--trial`
confirms another candidate. `--rival` is another trial of the random search, `none` leaves it out,
and `--family 0` the widths. `--space` takes one level of the photos. A command that was ended
continues. `--seed 1 --seeds 0` searches again by another seed and confirms nothing. `--smoke` does
all of it with a few images, to see that it works. The searches and trainings so far are kept here,
those of `cifar10-cpu` with the target `cpu`:

    xz -dkc benchmarks/flagship/cifar10.db.xz > flagship.db
"""

import argparse
from pathlib import Path

import nas_sv2 as nas
from nas_sv2.search.events.events import Event, Notice, SearchDescribed, TrialFinished

FOLDER = Path(__file__).parent / "flagship"
LEVELS = {
    "cifar10": {"cifar10": "6M"},
    "photos": {"photos-0.5x": "8M", "photos-1x": "28M"},
}
"""The spaces of each flagship, with their budgets."""
TRIALS = {"cifar10": 64, "photos": 40}
FAMILY = 5
MARGIN = 0.5
SMOKE_TRIALS = 3


def flag(options: argparse.Namespace, space: str, budget: str) -> None:
    """Search in a space, search at random, confirm, and print the front and the claims."""
    by_chance = _search(options, space, budget, "random")
    study = _search(options, space, budget, options.sampler)
    print(by_chance.front, study.front, sep="\n")
    if options.seeds == 0:
        return
    rival = f"{by_chance.name}:{options.rival}" if options.rival else by_chance.name
    found = study.confirm(
        _recipe(options, "long"),
        trials=options.trial or ["best"],
        seeds=options.seeds,
        workers=options.workers,
        margin=MARGIN,
        family=options.family,
        vs_study=None if options.rival == "none" else rival,
        notify=print,
        progress=lambda done, total: print(f"{done} of {total} trainings", flush=True),
    )
    for finding in found.findings:
        print(found.describe(finding))
        print(*found.describe_family(finding), sep="\n")
    print(found.method)


def _search(options: argparse.Namespace, space: str, budget: str, sampler: str) -> nas.Study:
    name = space + ("-random" if sampler == "random" else "")
    return nas.search(
        options.targets.split(","),
        budget=budget,
        space=str(FOLDER / f"{space}.yaml"),
        data=options.data,
        recipe=_recipe(options, "short"),
        trials=SMOKE_TRIALS if options.smoke else options.trials or TRIALS[options.which],
        workers=options.workers,
        sampler=sampler,
        guidelines="off",
        seed=options.seed,
        study=f"{name}-seed{options.seed}" if options.seed else name,
        storage=options.storage,
        on_event=tell,
    )


def _recipe(options: argparse.Namespace, length: str) -> str:
    return str(FOLDER / f"{options.which}-{'smoke' if options.smoke else length}.yaml")


def tell(event: Event) -> None:
    """Print the search as it begins, its notices and its candidates."""
    match event:
        case SearchDescribed():
            print(*event.lines, sep="\n", flush=True)
        case Notice():
            print(event.reason, flush=True)
        case TrialFinished():
            left = "" if event.remaining_s is None else f", {event.remaining_s / 60:.0f} min left"
            print(f"trial {event.number}: {event.verdict} {event.reason}{left}", flush=True)
        case _:
            pass


def main() -> None:
    """Read the options and run one flagship."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("which", choices=LEVELS)
    parser.add_argument("--data", required=True, help="as of nas-sv2 search")
    parser.add_argument("--space", help="one of the spaces, such as photos-0.5x")
    parser.add_argument("--targets", default="arm,a76,cpu")
    parser.add_argument("--storage", default="sqlite:///flagship.db")
    parser.add_argument("--sampler", default="ehvi", help="of the search that is confirmed")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--trial", action="append", help="to confirm, in place of the best")
    parser.add_argument("--rival", help="trial of the random search, or none")
    parser.add_argument("--family", type=int, default=FAMILY, help="widths of V2")
    parser.add_argument("--workers", type=int, help="one for each core if left out")
    parser.add_argument("--seed", type=int, default=0, help="of the searches")
    parser.add_argument("--seeds", type=int, default=3, help="of a confirmation; 0 leaves it out")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    spaces = LEVELS[options.which]
    if options.space not in {None, *spaces}:
        parser.error(f"--space must be one of {', '.join(spaces)}; got {options.space!r}")
    for space, budget in spaces.items():
        if options.space in {None, space}:
            flag(options, space, budget)


if __name__ == "__main__":
    main()
