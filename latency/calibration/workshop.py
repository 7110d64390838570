"""The folder of an emulated ARM system: an aarch64 Python with runtimes, and our qemu plugin.

The emulator, LLVM and a compiler come from the distribution. Missing ones are reported first, with
the command that installs them. The guest's C library and Python are Debian's arm64 packages,
fetched from apt's sources and unpacked, not installed. Wheels of onnxruntime, LiteRT or ncnn and
their dependencies come from pip. The download is about 110 MB; the folder takes 0.5 GB and holds
everything.
"""

import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas_sv2.database.locks import FileLock, hold_now
from nas_sv2.errors import DeviceError
from nas_sv2.files import made_folder, write_whole
from nas_sv2.latency.emulated.arm_cores import Guest
from nas_sv2.latency.kernels.kernel import ArmRuntime

INSTALL = "sudo apt-get update && sudo apt-get install"
OLDEST_LLVM = 16  # the first with a model of Neoverse N1, which represents the Cortex-A76
PREFERRED_LLVM = 19  # of the shipped tables; in Debian 12 or later and Ubuntu 24.04 or later
# The plugin uses the interface of these versions; QEMU 9 has another.
QEMU_VERSIONS = range(5, 9)
GUEST_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libgomp1", "libstdc++6")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
WHEELS: Mapping[ArmRuntime, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime", "numpy", "flatbuffers", "packaging", "protobuf"),
    "litert": ("ai-edge-litert", "numpy"),
    "ncnn": ("ncnn", "numpy"),
}
"""The packages of each runtime, by pip's names; the first is the runtime itself."""
READY: Mapping[ArmRuntime, str] = {
    "onnxruntime": "ready",
    "litert": "ready_litert",
    "ncnn": "ready_ncnn",
}
"""The files that say that a runtime has been fetched."""
CPU_FOLDER = Path("sys", "devices", "system", "cpu")
# The files of Linux in which a runtime looks up its processor: one core.
CPU_FILES = {
    **dict.fromkeys(("possible", "present", "online", "kernel_max"), "0"),
    **dict.fromkeys(
        (
            f"cpu0/topology/{name}"
            for name in (
                "core_id", "physical_package_id", "core_siblings_list", "cluster_cpus_list",
                "thread_siblings_list", "package_cpus_list", "core_cpus_list",
            )
        ),
        "0",
    ),
    "cpu0/cpufreq/cpuinfo_max_freq": "1958400",
    "cpu0/cpufreq/cpuinfo_min_freq": "384000",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs of this machine, and the versions that determine the cycles."""

    qemu: Path
    llvm_mc: Path
    llvm_mca: Path
    gcc: Path
    versions: Mapping[str, str]


def find_tools() -> Tools:
    """Find the programs that calibration needs.

    Raises:
        DeviceError: If some are missing or have a wrong version; the message names all and says
            how to install them.
    """
    missing: list[str] = []
    packages: list[str] = []

    def need(found: Path | None, what: str, package: str) -> Path:
        if found is None:
            missing.append(what)
            packages.append(package)
        return found or Path(what)

    llvm = f"llvm-{PREFERRED_LLVM}"
    mca, mc = _newest_llvm()
    qemu, gcc = _which("qemu-aarch64"), _which("gcc")
    tools = (
        need(qemu, "qemu-aarch64", "qemu-user"),
        need(mc, f"llvm-mc (LLVM {OLDEST_LLVM} or later)", llvm),
        need(mca, f"llvm-mca (LLVM {OLDEST_LLVM} or later)", llvm),
        need(gcc, "gcc", "gcc libc6-dev"),
    )
    for name, package in (("apt-get", "apt"), ("dpkg", "dpkg")):
        need(_which(name), name, package)
    if missing:
        raise DeviceError(
            f"calibration lacks {', '.join(missing)}; on Debian or Ubuntu (no other system is "
            f"supported): {INSTALL} {' '.join(dict.fromkeys(packages))}"
        )
    qemu_version, llvm_version = _version(tools[0]), _version(tools[2])
    if int(qemu_version.split(".")[0]) not in QEMU_VERSIONS:
        raise DeviceError(
            f"qemu-aarch64 is {qemu_version}; the plugin that counts needs QEMU "
            f"{QEMU_VERSIONS.start} to {QEMU_VERSIONS.stop - 1}, as in Debian 12 and Ubuntu 22.04 "
            "and 24.04"
        )
    return Tools(*tools, {"qemu": qemu_version, "llvm": llvm_version})


def _which(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _newest_llvm() -> tuple[Path | None, Path | None]:
    """Find llvm-mca and llvm-mc of one version: the preferred, else the newest, else unnamed."""
    versions = [PREFERRED_LLVM, *range(30, OLDEST_LLVM - 1, -1)]
    for suffix in (*(f"-{version}" for version in versions), ""):
        mca, mc = _which(f"llvm-mca{suffix}"), _which(f"llvm-mc{suffix}")
        if mca and mc and int(_version(mca).split(".")[0]) >= OLDEST_LLVM:
            return mca, mc
    return None, None


def _version(tool: Path) -> str:
    text = _output([tool, "--version"], f"{tool.name} --version")
    found = re.search(r"version (\d+(?:\.\d+)*)", text)
    if not found:
        raise DeviceError(f"{tool} does not say its version: {text[:200]}")
    return found[1]


@dataclass(frozen=True, slots=True)
class Workshop:
    """A folder for the emulated system.

    Attributes:
        folder: Path of the folder.
        tools: Programs of this machine.
    """

    folder: Path
    tools: Tools

    @property
    def sysroot(self) -> Path:
        """The root of the guest's file system."""
        return self.folder / "sysroot"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder: two processes would overwrite each other's files.

        Raises:
            DeviceError: If another process holds it.
        """
        lock = FileLock(self.folder / "lock")
        with hold_now(lock, lambda who: DeviceError(f"{self.folder}: {who} calibrates there")):
            yield

    def root_for(self, guest: Guest) -> Path:
        """Return the root of `guest`: the sysroot with the guest's own /proc/cpuinfo."""
        root = self.folder / "guests" / guest.name
        (root / "proc").mkdir(parents=True, exist_ok=True)
        for entry in self.sysroot.iterdir():
            link = root / entry.name
            if not link.exists():
                link.symlink_to(Path("..", "..", "sysroot", entry.name))
        write_whole(root / "proc" / "cpuinfo", guest.cpuinfo.encode())
        return root

    @property
    def packages(self) -> Path:
        """The guest's Python packages."""
        return self.folder / "packages"

    @property
    def plugin(self) -> Path:
        """Our qemu plugin."""
        return self.folder / "block_counts.so"

    @property
    def guest_python(self) -> Path:
        """The guest's Python.

        Raises:
            DeviceError: The system there has none.
        """
        found = sorted((self.sysroot / "usr" / "bin").glob("python3.*[0-9]"))
        if not found:
            raise DeviceError(f"{self.sysroot} has no Python; give a new folder")
        return found[0]

    def versions(self, runtime: ArmRuntime = "onnxruntime") -> dict[str, str]:
        """Return the versions that determine the cycles.

        Raises:
            DeviceError: The folder has no version of the runtime, or a mixture of several.
        """
        name = WHEELS[runtime][0].replace("-", "_")
        wheels = [path.name for path in self.packages.glob(f"{name}-*.dist-info")]
        if len(wheels) != 1:
            found = ", ".join(sorted(wheels)) or f"no {name}"
            raise DeviceError(f"{self.packages} holds {found}; give a new folder")
        version = wheels[0].removeprefix(f"{name}-").removesuffix(".dist-info")
        return {runtime: version, **self.tools.versions}


def prepare(folder: Path, runtime: ArmRuntime = "onnxruntime") -> Workshop:
    """Prepare the folder to emulate the installed version of a runtime.

    A folder that is ready is not fetched again. Another version needs another folder.

    Raises:
        ConfigError: If the folder cannot be written to.
        DeviceError: If a program or the runtime is missing, a download failed, or the folder has
            another version of the runtime.
    """
    tools = find_tools()
    shop = Workshop(made_folder(folder, "folder").resolve(), tools)
    installed = _installed(runtime)
    ready = shop.folder / READY[runtime]
    if not ready.exists():
        if not shop.plugin.exists():  # the last file of the system
            _fetch_system(shop)
            _build_plugin(shop)
        _fetch_packages(shop, runtime, installed)
        ready.touch()
    held = shop.versions(runtime)[runtime]
    if held != installed:
        raise DeviceError(
            f"{folder} holds {runtime} {held}, but {installed} is installed; give a new folder"
        )
    return shop


def _installed(runtime: ArmRuntime) -> str:
    """Return the version of the runtime that is installed here.

    Raises:
        DeviceError: It is not installed.
    """
    package = WHEELS[runtime][0]
    try:  # not by the wheel's name: onnxruntime-gpu and others hold onnxruntime
        version: str = importlib.import_module(package.replace("-", "_")).__version__
    except ImportError as error:
        raise DeviceError(
            f"calibration emulates the installed {package}, and none is: pip install {package}"
        ) from error
    return version


def _fetch_system(shop: Workshop) -> None:
    """Fetch the guest's C library and Python, through apt with a separate state."""
    apt = shop.folder / "apt"
    for name in ("state/lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    write_whole(
        apt / "apt.conf",
        'APT::Architecture "arm64";\nAPT::Architectures {"arm64";};\nAPT::Sandbox::User "";\n'
        'Acquire::Languages "none";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";\n'
        f'Dir::State "{apt}/state";\nDir::State::status "{apt}/status";\n'
        f'Dir::Cache "{apt}/cache";\n'.encode(),
    )
    environment = {**os.environ, "APT_CONFIG": str(apt / "apt.conf")}
    _output(["apt-get", "update", "-qq"], "apt's arm64 lists", environment)
    install = ("apt-get", "install", "-qq", "--download-only", "-y", "--no-install-recommends")
    _output(
        [*install, *GUEST_PACKAGES],
        "the arm64 packages (if apt's sources lack them, as on Ubuntu, add its ports archive)",
        environment,
    )
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        _output(["dpkg", "-x", package, shop.sysroot], package.name)
    for name, text in CPU_FILES.items():
        path = shop.sysroot / CPU_FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{text}\n".encode())


def _fetch_packages(shop: Workshop, runtime: ArmRuntime, version: str) -> None:
    """Fetch a runtime as an aarch64 wheel, and those of its dependencies that are not there yet.

    A newer one would be unpacked over that of another runtime, and files of both would stay.
    """
    package, *needed = WHEELS[runtime]
    others = [name for name in needed if not any(shop.packages.glob(f"{name}-*.dist-info"))]
    wheels, python = shop.folder / "wheels", shop.guest_python.name.removeprefix("python")
    command: list[str | Path] = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    command += ["-d", wheels, "--only-binary=:all:", "--python-version", python]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    command += [f"{package}=={version}", *others]
    _output(command, f"{package} {version} for aarch64 and Python {python}")
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as file:
            file.extractall(shop.packages)


def _build_plugin(shop: Workshop) -> None:
    source = Path(__file__).with_name("arm_block_counts.c")
    _output(
        [shop.tools.gcc, "-O2", "-shared", "-fPIC", "-o", shop.plugin, source], "the qemu plugin"
    )


def _output(
    command: Sequence[str | Path], what: str, environment: Mapping[str, str] | None = None
) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False
        )
    except OSError as error:  # a program of another processor
        raise DeviceError(f"calibration failed at {what}: {error.strerror}") from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-500:]
        raise DeviceError(f"calibration failed at {what}: {words}")
    return done.stdout
