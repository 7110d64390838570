"""The checks of a CUDA GPU: runs every step, judges it and writes the tables of the results.

    python benchmarks/gpu_checks.py RESULTS             # on a GPU; at most 8 minutes, then again
    python benchmarks/gpu_checks.py RESULTS --on cpu    # short plans on a CPU, to try the script

A step that has ended is kept in `RESULTS/steps` and not repeated; a step that the time ran out on
is begun anew by the next call. `RESULTS/results.md` is written after every step. The exit code is
1 if an expectation was not met, and 3 if steps are left.
"""

import argparse
import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.paper.published_figures import table8

V2 = tuple(f"shufflenet_v2_{width}" for width in ("x0_5", "x1_0", "x1_5", "x2_0"))
STAND_IN = "torch-on-cpu"
SHORT_PLAN = ("batch=2", "min_runs=3", "max_runs=3", "warmup_runs=1", "loads=1", "block_s=0.01")
RECIPE = """nas_sv2_recipe: 1
epochs: 4
images_per_epoch: 192
batch: 32
"""
SIDE = 32  # of the network that is trained, in pixels: small, as only the run is checked
BUDGET, LEVEL = "40M", "40M"
ONE_WORKER = ("--workers", "1")  # so that a seed repeats the candidates
NEVER_SLOWER = 1.02  # a share of noise beyond which a time counts as longer than another
LEAST_RUNS = 100
LEAST_SURVIVING_PERCENT = 98
FORMS_APART = 1e-4  # relative, as the tests of the exported forms allow
SECONDS_AFTERWARDS = 30
MOST_KEPT = 1 << 20  # characters of a step's output; later steps read far shorter ones
LINES_BEFORE_KILL = 2  # of log.csv: its head and a pass


@dataclass(frozen=True)
class Finding:
    """An expectation, the fact, and whether it was met; None if nobody can say."""

    expected: str
    found: str
    met: bool | None


@dataclass(frozen=True)
class Ran:
    """The end of a step: exit code, output of its last command, seconds, folder, a kill."""

    code: int
    out: str
    err: str
    seconds: float
    folder: Path
    killed: bool = False

    def json(self) -> Any:
        """Read the last command's output."""
        return json.loads(self.out)


Judge = Callable[[Ran], Iterator[Finding]]
Killed = Callable[[Path, str], bool]


@dataclass(frozen=True)
class Step:
    """Commands that run one after the other, and a judgement of the last one's output.

    Attributes:
        name: The name of its file.
        commands: Arguments after `nas-sv2`; a first word that ends in `.py` is a script, and
            `torchrun` a launcher.
        judge: Gives the findings, if all commands ended with one of `codes`.
        killed_at: Whether the first command shall be killed now, and be run again; it gets the
            folder and the output so far.
        afterwards: A command that runs however the others end; empty for none.
        left_out: Reason for not running it here; empty if there is none.
        codes: Exit codes that a command may end with.
    """

    name: str
    commands: Sequence[Sequence[str]]
    judge: Judge
    killed_at: Killed | None = None
    afterwards: Sequence[str] = ()
    left_out: str = ""
    codes: tuple[int, ...] = (0,)


def main() -> int:
    """Run the steps that are left, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--on", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0)
    asked = parser.parse_args()
    folder, deadline = asked.folder.absolute(), time.monotonic() + 60 * asked.minutes
    (folder / "steps").mkdir(parents=True, exist_ok=True)
    for name, precision in (("check", "fp32"), ("check-fp16", "fp16"), ("check-bf16", "bf16")):
        (folder / f"{name}.yaml").write_text(f"{RECIPE}precision: {precision}\n")
    small = dataclasses.replace(reference(V2[0]), resolution=SIDE)
    (folder / "network.yaml").write_text(architecture_to_yaml(small))
    todo = steps(asked.on == "cuda")
    for step in todo:
        if not step.left_out and not _kept(folder, step).exists():
            print(f"{step.name} ...", end=" ", flush=True)
            print(_settle(step, folder, deadline), flush=True)
            (folder / "results.md").write_text(results(folder, todo, asked.on), encoding="utf-8")
    (folder / "results.md").write_text(results(folder, todo, asked.on), encoding="utf-8")
    print(folder / "results.md")
    done = [_read(folder, step) for step in todo if _kept(folder, step).exists()]
    if any(found["met"] is False for one in done for found in one["findings"]):
        return 1
    return 3 if any(not step.left_out and not _kept(folder, step).exists() for step in todo) else 0


def _kept(folder: Path, step: Step) -> Path:
    return folder / "steps" / f"{step.name}.json"


def _read(folder: Path, step: Step) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(_kept(folder, step).read_text(encoding="utf-8"))
    return kept


def _settle(step: Step, folder: Path, deadline: float) -> str:
    """Run a step and keep its findings; return one word for the terminal."""
    ran = None if time.monotonic() > deadline else _run(step, folder, deadline)
    if ran is None:
        return "left, the time is over"
    findings = [Finding("exit code 0", f"{ran.code}: {_last_line(ran.err)}", False)]
    if ran.code in step.codes:
        try:
            findings = list(step.judge(ran))
        except (LookupError, ValueError, TypeError) as error:
            findings = [Finding("output as documented", repr(error), False)]
    if step.killed_at is not None:
        found = "yes" if ran.killed else "no, it had ended"
        findings.append(Finding("killed once, then run again", found, ran.killed or None))
    document = {
        "seconds": round(ran.seconds, 1),
        "findings": [dataclasses.asdict(one) for one in findings],
        "out": ran.out[:MOST_KEPT],
    }
    _kept(folder, step).write_text(json.dumps(document), encoding="utf-8")
    unmet = [one.expected for one in findings if one.met is False]
    return f"{ran.seconds:.0f} s" + (f", not met: {'; '.join(unmet)}" if unmet else "")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:300]


def _run(step: Step, folder: Path, deadline: float) -> Ran | None:
    """Run the commands of a step, then `afterwards`; None if the time is over before they end."""
    try:
        return _run_commands(step, folder, deadline)
    finally:
        if step.afterwards:
            _run_one(step.afterwards, folder, time.monotonic() + SECONDS_AFTERWARDS)


def _run_commands(step: Step, folder: Path, deadline: float) -> Ran | None:
    began, ran, killed = time.monotonic(), Ran(0, "", "", 0.0, folder), False
    for number, command in enumerate(step.commands):
        if number == 0 and step.killed_at is not None:
            first = _run_one(command, folder, deadline, step.killed_at)
            if first is None:
                return None
            killed = first[0] == -signal.SIGKILL
        ended = _run_one(command, folder, deadline)
        if ended is None:
            return None
        ran = Ran(*ended, time.monotonic() - began, folder, killed)
        if ran.code not in step.codes:
            break
    return ran


def _run_one(
    command: Sequence[str],
    folder: Path,
    deadline: float,
    kill: Killed | None = None,
) -> tuple[int, str, str] | None:
    """Run one command in a group of its own, so that its agents end with it."""
    paths = folder / "out.txt", folder / "err.txt"
    environment = {**os.environ, "XDG_CONFIG_HOME": str(folder), "COLUMNS": "200"}
    with paths[0].open("w") as out, paths[1].open("w") as err:
        process = subprocess.Popen(
            _argv(command),
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        killed = False
        while process.poll() is None and not killed:
            killed = kill is not None and kill(folder, paths[0].read_text(errors="replace"))
            over = time.monotonic() > deadline
            if killed or over:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if over:
                    return None
            time.sleep(0.05)
    texts = [path.read_text(errors="replace") for path in paths]
    return process.returncode, texts[0], texts[1]


def _argv(command: Sequence[str]) -> list[str]:
    head, *rest = command
    if head.endswith(".py"):
        return [sys.executable, str(Path(__file__).parent / head), *rest]
    if head == "ray":
        return [str(Path(sys.executable).with_name("ray")), *rest]
    if head == "torchrun":
        return [sys.executable, "-m", "torch.distributed.run", *rest]
    return [sys.executable, "-m", "nas_sv2", *command]


def steps(gpu: bool) -> list[Step]:
    """List the steps, those that say most first."""
    target, trainer = ("gpu", "cuda") if gpu else (STAND_IN, "cpu")
    networks = V2 if gpu else V2[:2]
    only_gpu = "" if gpu else "needs a GPU"
    to = ("--target", target)
    measure = ("measure", *networks, *to, "--json")
    listed = _gpu_is_listed if gpu else _nothing
    plans = [word for part in ("processor=cpu", *SHORT_PLAN) for word in ("--plan", part)]
    added = ("device", "add", STAND_IN, "--local", "--runtime", "torch", *plans, "--project")
    first = [("device", "list", "--json")] if gpu else [(*added, "--force")]
    return [
        Step("targets", first, listed),
        Step("measure", [measure], _timed(gpu)),
        Step("measure-batch-1", [(*measure, "--batch", "1")], _timed(gpu)),
        Step("measure-fp16", [(*measure, "--precision", "fp16")], _timed(gpu), left_out=only_gpu),
        Step("conditions", [("db", "export")], _conditions, left_out=only_gpu),
        Step("profile", [("network", "profile", V2[0], *to, "--json")], _profile(gpu)),
        Step("grade", [("device", "grade", *to, "--quick", "--json")], _grade(gpu), codes=(0, 1)),
        Step("explain", [("network", "explain", "shufflenet_v2_se_x1_0", *to, "--json")], _gains),
        *_training_steps(trainer, target, gpu),
        Step(
            "paper-table",
            [("device", "paper-table", *to, "--level", "all" if gpu else LEVEL, "--json")],
            _paper_order(gpu),
        ),
        Step("guidelines", [("device", "guidelines", *to, "--json")], _gaps, left_out=only_gpu),
        Step("onnxruntime-cuda", _onnxruntime_commands(networks), _timed(False),
             left_out=only_gpu or _without_onnxruntime_gpu()),
        Step("sustained", [("measure", V2[1], *to, "--fresh", "--sustained", "1", "--json")],
             _timed(False), left_out=only_gpu),
        Step("pruning", [("pruning.py", target, "140M")], _survival, left_out=only_gpu),
    ]  # fmt: skip


def _training_steps(trainer: str, target: str, gpu: bool) -> Iterator[Step]:
    """Search and train in each precision, some with a kill between, and with several processes."""
    fp16 = "" if gpu else "fp16 trains on a GPU only"

    def search(study: str, recipe: str, *more: str) -> list[Sequence[str]]:
        storage = ("--storage", f"sqlite:///{study}.db")  # so that no result is another study's
        asked = ("--target", target, "--budget", BUDGET, "--trials", "3", "--device", trainer)
        named = ("--seed", "0", "--recipe", f"{recipe}.yaml", "--study", study, *storage)
        front = ("front", study, "--json", *storage)
        return [("search", *asked, *named, *(more or ONE_WORKER)), front]

    def train(recipe: str, out: str) -> tuple[str, ...]:
        asked = ("network", "train", "network.yaml", "--data", "animals", "--device", trainer)
        return (*asked, "--recipe", f"{recipe}.yaml", "--out", out)

    killed = _a_trial_has_ended
    yield Step("search-one", search("one", "check"), _finished)
    yield Step("search-again", search("again", "check"), _same_accuracies, killed)
    yield Step("train-fp32", [train("check", "fp32")], _trained("fp32"))
    ended = _a_pass_has_ended("resumed")
    yield Step("train-resumed", [train("check", "resumed")], _trained("resumed"), ended)
    yield Step("train-bf16", [train("check-bf16", "bf16")], _trained("bf16"))
    ended = _a_pass_has_ended("fp16")
    half = [train("check-fp16", "fp16")]
    yield Step("train-fp16", half, _trained("fp16"), ended, left_out=fp16)
    commands = search("half", "check-fp16")
    yield Step("search-fp16", commands, _finished, killed, left_out=fp16)
    launched = ("torchrun", "--standalone", "--nproc-per-node", "2", "-m", "nas_sv2")
    two, why = [(*launched, *train("check", "two"))], "" if _gpus() > 1 else "needs 2 GPUs"
    yield Step("train-on-two", two, _trained("two"), left_out=why)
    start = ("ray", "start", "--head", "--resources", '{"nas-sv2:gpu": 1}')
    spread = [start, *search("ray", "check", "--workers", "3", "--ray", "auto")]
    why = "needs a GPU" if not gpu else "" if importlib.util.find_spec("ray") else "needs ray"
    yield Step("search-ray", spread, _finished, afterwards=("ray", "stop"), left_out=why)


def _onnxruntime_commands(networks: Sequence[str]) -> list[Sequence[str]]:
    plan = ("--plan", "runtime=onnxruntime", "--plan", "lowering=shuffle_free")
    return [
        ("device", "add", "ort", "--cuda", *plan, "--project", "--force"),
        ("device", "test", "ort"),
        ("measure", *networks, "--target", "ort", "--json"),
    ]


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _without_onnxruntime_gpu() -> str:
    import onnxruntime

    known = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return "" if known else "needs onnxruntime-gpu"


def _a_trial_has_ended(folder: Path, out: str) -> bool:
    return "finished" in out


def _a_pass_has_ended(name: str) -> Killed:
    def ended(folder: Path, out: str) -> bool:
        log = folder / name / "log.csv"
        return log.exists() and log.read_text().count("\n") >= LINES_BEFORE_KILL

    return ended


def _nothing(ran: Ran) -> Iterator[Finding]:
    return iter(())


def _gpu_is_listed(ran: Ran) -> Iterator[Finding]:
    row = next(one for one in ran.json() if one["name"] == "gpu")
    yield Finding("`gpu` available", row["reason"] or "yes", row["available"] is True)


def _timed(gpu: bool) -> Judge:
    """Judge a measurement of networks of growing width."""

    def judge(ran: Ran) -> Iterator[Finding]:
        rows = ran.json()
        kinds = sorted({row["provenance"] for row in rows})
        yield Finding("provenance measured", ", ".join(kinds), kinds == ["measured"])
        least = min(row["runs"] for row in rows)
        met = least >= LEAST_RUNS if gpu else None
        yield Finding(f"at least {LEAST_RUNS} runs", str(least), met)
        for one, other in pairwise(rows):
            ratio = other["ms"] / one["ms"]
            settled = any(
                each["name"] == other["name"] and each["is"] == "slower" and each["settled"]
                for each in one["against"]
            )
            expected = f"{one['name']} faster than {other['name']}, settled"
            found = f"{ratio:.2f} times as fast, {'settled' if settled else 'not settled'}"
            yield Finding(expected, found, settled if gpu else None)
        if gpu:
            for row in rows:
                yield from _series(row)

    return judge


def series_of(row: dict[str, Any]) -> dict[str, float]:
    """Read `event_ms`, `graph_ms` and `graph_event_ms` from the note of a measurement on a GPU."""
    return {name: float(ms) for name, ms in re.findall(r"(\w+_ms) ([\d.e+-]+)", row["note"])}


def _series(row: dict[str, Any]) -> Iterator[Finding]:
    times, wall = series_of(row), row["ms"]
    graph, event = times.get("graph_ms"), times.get("event_ms")
    for expected, ms in (("CUDA graph no slower", graph), ("events no slower", event)):
        found = "no such time" if ms is None else f"{ms:.3f} ms, eager {wall:.3f} ms"
        met = ms is not None and ms <= NEVER_SLOWER * wall
        yield Finding(f"{row['name']}: {expected}", found, met)


def _conditions(ran: Ran) -> Iterator[Finding]:
    for name in ("gpu_mhz", "gpu_celsius"):
        met = f'"{name}"' in ran.out
        yield Finding(f"`{name}` in the conditions", "yes" if met else "no", met)


def _profile(gpu: bool) -> Judge:
    def judge(ran: Ran) -> Iterator[Finding]:
        (found,) = ran.json()
        empty = [one["name"] for one in found["kernels"] if one["us"] <= 0]
        empty = [name for name in empty if not name.endswith("split")]
        what = ", ".join(empty) or f"{len(found['kernels'])} kernels, all above 0"
        yield Finding("every operator but splits has a time above 0", what, not empty)
        data, beyond = found["kind_ms"]["data"], found["whole_beyond_sum"]
        yield Finding("no time for `data`", f"{data:.3f} ms", data == 0)
        met = beyond > 0 if gpu else None
        yield Finding("the kernels sum to less than the network", f"{beyond:+.0%}", met)

    return judge


def _grade(gpu: bool) -> Judge:
    def judge(ran: Ran) -> Iterator[Finding]:
        spread = ran.json()["ratio_cv"]
        met = spread <= 0.01 if gpu else None
        yield Finding("the ratio varies by at most 1 %", f"{spread:.2%}", met)

    return judge


def _gains(ran: Ran) -> Iterator[Finding]:
    found = ran.json()
    count = len(found["variants"])
    yield Finding("variants of the network are compared", str(count), count > 0)


def _paper_order(gpu: bool) -> Judge:
    def judge(ran: Ran) -> Iterator[Finding]:
        shares = {}
        for one in ran.json()["agreement"]:
            if not one["known_structures_only"]:
                orders = [pair["in_order"] for pair in one["pairs"]]
                shares[one["with"]] = sum(orders) / len(orders)
        found = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        met = shares["paper_gpu"] > shares["paper_arm"] if gpu else None
        yield Finding("more pairs in the order of the paper's GPU than of its ARM", found, met)

    return judge


def _gaps(ran: Ran) -> Iterator[Finding]:
    found = ran.json()
    for table in found["tables"]:
        if table["name"] in ("G1", "G2", "G3", "G4"):
            contrary = re.search(r"contrary (\d+)", table["verdict"])
            met = contrary is not None and contrary[1] == "0"
            yield Finding(f"{table['name']} in the paper's order", table["verdict"], met)
    rows = next(table["rows"] for table in found["tables"] if table["name"] == "G3")
    slow = [
        row["relative"] for row in rows if row["variant"].startswith("4-") and "x1" in row["group"]
    ]
    shown = ", ".join(f"{ratio:.1f}" for ratio in slow)
    yield Finding("4 fragments over twice as slow at 128 channels", shown, min(slow) > 2)
    yield Finding("a guideline profile", str(found["profile"]), found["profile"] is not None)


def _survival(ran: Ran) -> Iterator[Finding]:
    flops = ran.out[ran.out.index("front of latency and flops") :]
    survived = re.search(r"measured on this device.*?(\d+ of \d+) \((\d+\.\d)%\)", flops)
    met = survived is not None and float(survived[2]) >= LEAST_SURVIVING_PERCENT
    found = "not said" if survived is None else survived[1]
    yield Finding("at least 98 % of the front survives the measured guidelines", found, met)


def _accuracies(ran: Ran) -> dict[str, float]:
    entries = ran.json()["entries"]
    return {one["digest"]: one["accuracy"] for one in entries}


def _finished(ran: Ran) -> Iterator[Finding]:
    found = _accuracies(ran)
    yield Finding("a front with accuracies", f"{len(found)} networks", len(found) > 0)


def _same_accuracies(ran: Ran) -> Iterator[Finding]:
    other = json.loads((ran.folder / "steps" / "search-one.json").read_text(encoding="utf-8"))
    first = _accuracies(Ran(0, other["out"], "", 0.0, ran.folder))
    own = _accuracies(ran)
    shared = first.keys() & own.keys()
    equal = sum(first[digest] == own[digest] for digest in shared)
    expected = "equal accuracies from the same seed"
    met = bool(shared) and equal == len(shared)
    yield Finding(expected, f"{equal} of {len(shared)} equal", met)


def _trained(name: str) -> Judge:
    def judge(ran: Ran) -> Iterator[Finding]:
        card = json.loads((ran.folder / name / "card.json").read_text(encoding="utf-8"))
        forms = {name: form for name, form in card["forms"].items() if "int8" not in name}
        worst = max(form["relative"] for form in forms.values())
        expected = "outputs of the float32 forms agree"
        yield Finding(expected, f"{worst:.1e}", worst < FORMS_APART)
        top1 = card["validation"]["accuracy"]
        yield Finding("a top-1 accuracy", f"{top1:.1%}", None)
        if name == "resumed":
            digests = [_weights(ran.folder / one) for one in ("fp32", name)]
            found = "equal" if digests[0] == digests[1] else "different"
            yield Finding("killed and resumed: the same weights", found, found == "equal")

    return judge


def _weights(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def results(folder: Path, todo: Sequence[Step], on: str) -> str:
    """Write the tables: latencies, expectations, seconds, and steps without a result."""
    done = {step.name: _read(folder, step) for step in todo if _kept(folder, step).exists()}
    lines = [
        "# Checks of a GPU" if on == "cuda" else "# The script of the GPU checks, on a CPU",
        "",
    ]
    lines += [f"{date.today()}. {_machine()}.", "", *_latency_table(done), ""]
    lines += ["| step | expected | found | met |", "| --- | --- | --- | --- |"]
    for name, one in done.items():
        for each in one["findings"]:
            met = {True: "yes", False: "**no**", None: "–"}[each["met"]]
            lines.append(
                f"| {name} | {_cell(each['expected'])} | {_cell(each['found'])} | {met} |"
            )
    lines += ["", "| step | seconds | commands |", "| --- | --- | --- |"]
    for step in todo:
        took = done[step.name]["seconds"] if step.name in done else None
        state = step.left_out or "left, call again" if took is None else f"{took:.0f}"
        shown = "; ".join(f"`{' '.join(command)}`" for command in step.commands)
        again = ", the first killed and run again" if step.killed_at else ""
        lines.append(f"| {step.name} | {state} | {shown}{again} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _machine() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"No GPU, torch {torch.__version__}"
    driver = Path("/proc/driver/nvidia/version")
    version = re.search(r"\b\d+\.\d[\d.]*\b", driver.read_text()) if driver.is_file() else None
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return (
        f"{torch.cuda.get_device_name(0)}, driver {version[0] if version else 'unknown'}, "
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}"
    )


def _latency_table(done: dict[str, Any]) -> Iterator[str]:
    found = {
        name: {row["name"]: row for row in json.loads(done[name]["out"])}
        for name in ("measure", "measure-batch-1", "measure-fp16")
        if name in done and done[name]["out"].startswith("[")
    }
    yield "| network | eager ms | CUDA graph ms | batch 1 | fp16 | paper: 1080Ti, batch 8 |"
    yield "| --- | --- | --- | --- | --- | --- |"
    published = {row.network: row.gpu_batches_per_s for row in table8()}
    for name in V2:
        cells = [
            found.get(step, {}).get(name)
            for step in ("measure", "measure-batch-1", "measure-fp16")
        ]
        eager, single, half = ("" if row is None else f"{row['ms']:.3f}" for row in cells)
        graph = "" if cells[0] is None else series_of(cells[0]).get("graph_ms", "")
        speed = published[name] or 0
        paper = f"{1000 / speed:.2f} ({speed:.0f}/s)"
        yield f"| {name} | {eager} | {graph} | {single} | {half} | {paper} |"


if __name__ == "__main__":
    sys.exit(main())
