"""A search that is killed and resumed gets the candidates of one that ran through."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from running import running

EVALUATOR = '''
import time

from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower


class Fast:
    """Larger is better, with kernel 5 by far."""

    name = "fast"

    def evaluate(self, architecture):
        time.sleep(0.3)  # so that a kill meets it
        large = sum(stage.kernel == 5 for stage in architecture.stages) / 10
        size = cost_of(lower(architecture)).flops / 1e9
        return Evaluation(0.3 + size + large, recipe="fast", data="none", train_images=1)
'''
SPACE = {
    **{"nas_sv2_space": 1, "resolution": 32, "classes": 4, "stem": [8], "stem_pool": False},
    "head": {"low": 16, "high": 64, "step": 16},
    "stages": [
        {
            "depth": {"low": 1, "high": 3},
            "width": {"low": low, "high": 4 * low, "step": 4},
            "kernel": [3, 5],
        }
        for low in (16, 32)
    ],
}
TRIALS = 20


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A search by one worker; the audit, which the key of a study decides, has nothing to take."""
    monkeypatch.chdir(tmp_path)
    Path("fast.py").write_text(EVALUATOR)
    Path("small.yaml").write_text(json.dumps(SPACE))
    words = ["search", "--target", "arm", "--space", "small.yaml", "--evaluator", "fast:Fast"]
    words += ["--guidelines", "off", "--workers", "1", "--json"]
    return [sys.executable, "-m", "nas_sv2", *words, "--trials", str(TRIALS)]


def asked(file: str) -> list[str]:
    """The networks of the study `s`; one that was killed comes after those that were queued."""
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{file}")
    places: dict[int, int] = {}
    for trial in study.get_trials():
        before = trial.user_attrs.get("retry_of", trial.number)
        places[trial.number] = places.get(before, before)
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    trials.sort(key=lambda trial: places[trial.number])
    return [trial.user_attrs["architecture"] for trial in trials]


def finished(output: Iterator[str]) -> Iterator[int]:
    """The number of finished trials as each further one begins."""
    count = 0
    for event in map(json.loads, output):
        count = event.get("finished", count)
        if event.get("event") == "asked":
            yield count


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alone", "from another study"])
def test_a_killed_and_resumed_search_has_the_candidates_of_one_that_ran_through(
    kind: str, command: Sequence[str]
) -> None:
    search = [*command, "--study", "s", "--storage"]
    if kind != "alone":
        first = [*command, "--study", "first", "--seed", "7", "--storage", "sqlite:///through.db"]
        subprocess.run(first, check=True, stdout=subprocess.DEVNULL)
        shutil.copy("through.db", "killed.db")
        search[-1:-1] = ["--from", "first"]
    subprocess.run([*search, "sqlite:///through.db"], check=True, stdout=subprocess.DEVNULL)
    kills = [3, 9, 14]
    for least in kills:
        again = [*search, "sqlite:///killed.db"]
        with running(again, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            next(count for count in finished(process.stdout) if count >= least)
            process.kill()
            process.wait()
    subprocess.run([*search, "sqlite:///killed.db"], check=True, stdout=subprocess.DEVNULL)
    assert len(set(asked("through.db"))) == TRIALS
    assert asked("killed.db") == asked("through.db")
    study = optuna.load_study(study_name="s", storage="sqlite:///killed.db")
    assert len(study.get_trials(states=(TrialState.FAIL,))) == len(kills)
