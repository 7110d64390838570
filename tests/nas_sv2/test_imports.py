import subprocess
import sys

HEAVY = {"torch", "torchvision", "onnx", "onnxruntime", "optuna", "sqlalchemy", "numpy"}


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    code = "import nas_sv2.cli, sys; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not HEAVY & set(run.stdout.split())


def test_a_study_is_shown_without_what_trains_it() -> None:
    names = ("study_tables", "search_events", "measure_tables", "network_tables")
    code = (
        f"import sys, {', '.join(f'nas_sv2.show.{name}' for name in names)}; print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"torch", "sklearn", "onnx", "onnxruntime"} & set(run.stdout.split())


def test_recipes_and_the_costs_of_a_device_need_no_torch() -> None:
    code = "import sys, nas_sv2.api.device_costs, nas_sv2.api.recipes; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"torch", "optuna"} & set(run.stdout.split())


def test_candidates_are_asked_told_and_looked_at_without_torch() -> None:
    names = ("search.asking.samplers", "search.loop.loop", "studies.dashboard.server")
    code = f"import sys, {', '.join(f'nas_sv2.{name}' for name in names)}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"torch", "matplotlib"} & set(run.stdout.split())
