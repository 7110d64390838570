"""How much less time trainings take with huge pages, as workers of a search have them.

Each round begins as many trainings as there are cores, all with the kernel's huge pages or all
without. Rounds alternate. A training has one pass, one thread and a fresh process. The figures
must be equal to the last digit.

    python benchmarks/huge_pages.py --rounds 5
"""

import argparse
import dataclasses
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context

from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.fitting.determinism import core_count
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.files import built_in_recipe
from nas_sv2.process_pool import huge_pages
from nas_sv2.space.units.reference import reference


def trained(network: str, recipe: str) -> tuple[float, Evaluation]:
    """Train a network for one pass and return the seconds and the evaluation."""
    short = dataclasses.replace(built_in_recipe(recipe), epochs=1)
    training = ProxyTraining(short, open_data("animals"))
    began = time.perf_counter()
    evaluation = training.evaluate(reference(network))
    return time.perf_counter() - began, evaluation


def main() -> None:
    """Alternate both and print the ratio of their times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--network", default="shufflenet_v2_x1_0")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    ratios, scores = [], set()
    for number in range(asked.rounds):
        seconds = []
        for pages in (nullcontext(), huge_pages()):
            with ProcessPoolExecutor(core_count(), get_context("spawn")) as pool:
                with pages:
                    work = [(asked.network, asked.recipe)] * core_count()
                    running = [pool.submit(trained, *each) for each in work]
                found = [each.result() for each in running]
            seconds.append(statistics.mean(each for each, _ in found))
            scores |= {repr(evaluation.score) for _, evaluation in found}
        ratios.append(seconds[1] / seconds[0])
        print(
            f"round {number}: {seconds[0]:.1f} s, with huge pages {seconds[1]:.1f} s", flush=True
        )
    print(f"{core_count()} trainings at once of {asked.network} by {asked.recipe}")
    median = statistics.median(ratios)
    print(f"ratio of times: median {median:.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    print(f"scores: {', '.join(sorted(scores))}")


if __name__ == "__main__":
    main()
