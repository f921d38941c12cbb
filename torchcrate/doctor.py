#!/app/.venv/bin/python
"""Say what is in this image, and what it can do on this machine.

Every problem comes with its remedy. If the image cannot do what it was built for, such as a CUDA
build without a GPU that it can use, the exit code is 1. What matters only to some users is a note.
"""

import ctypes
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

try:
    import torch
except (ImportError, OSError) as error:  # half of it is missing, for example
    BROKEN = str(error)
else:
    BROKEN = ""

CGROUP = Path("/sys/fs/cgroup")
OK, NOTE, PROBLEM = "ok", "note", "PROBLEM"
Finding = tuple[str, str, str]  # one of the three, what was found, the remedy ("" if ok)
RESTORE = "start a new container, or build the image again."


def python() -> Iterator[Finding]:
    """Is this the environment's final Python 3.11?"""
    found = f"Python {platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] != (3, 11) or sys.version_info.releaselevel != "final":
        yield PROBLEM, found, "The image's Python is 3.11: run `python`, not a path of your own."
    elif sys.prefix == sys.base_prefix:
        yield PROBLEM, f"{found}, outside /app/.venv", "Run /app/.venv/bin/python."
    else:
        yield OK, found, ""


def torch_build() -> Iterator[Finding]:
    """Which torch is it, and is there only one?"""
    cuda, hip = torch.version.cuda, torch.version.hip
    kind = f"CUDA {cuda}" if cuda else f"ROCm {hip}" if hip else "CPU only"
    yield OK, f"torch {torch.__version__} ({kind})", ""
    installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
    nvidia = sorted(n for n in installed if re.match(r"nvidia-.*-cu\d+$|cuda-toolkit$", n))
    if nvidia and not cuda:
        yield (
            PROBLEM,
            f"CUDA packages beside a torch without CUDA: {', '.join(nvidia)}",
            f"Something installed another torch over the locked one: {RESTORE}",
        )


def torch_imports() -> Iterator[Finding]:
    """Can torch be imported at all?"""
    if BROKEN:
        yield PROBLEM, f"torch cannot be imported: {BROKEN}", RESTORE.capitalize()


def torch_lock() -> Iterator[Finding]:
    """Is torch still the image's own? In `dev` anybody may change it, and the lock is there."""
    for lock in Path(sys.prefix).glob("torch.*.txt"):
        build = lock.name[6:-4]
        # Another machine's wheel may have another version.
        here = rf"(?: ; platform_machine == .{platform.machine()}.)? *\\?$"
        pins = re.findall(rf"^(torch\w*)===?([^\s;]+){here}", lock.read_text(), re.MULTILINE)
        there = {d.metadata["Name"]: d.version for d in metadata.distributions()}
        wrong = [f"{n} is {there.get(n)}, not {v}" for n, v in pins if there.get(n) != v]
        if wrong:
            found = f"torch is not this image's build {build}: {'; '.join(wrong)}"
            yield PROBLEM, found, RESTORE.capitalize()
        else:
            yield OK, f"torch is build {build}, as its lock has it", ""


def driver_cuda() -> int | None:
    """Return the newest CUDA that the driver can run, as 1000 * major + 10 * minor, or None.

    From cuDriverGetVersion of the CUDA driver API, which needs neither a GPU nor torch.
    """
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int(0)
    if library.cuDriverGetVersion(ctypes.byref(version)):
        return None
    return version.value


def gpu() -> Iterator[Finding]:
    """Is there a driver, is it new enough for this build, and which GPUs does it show?"""
    if not torch.version.cuda:
        return
    major = int(torch.version.cuda.split(".")[0])
    driver = driver_cuda()
    if driver is None:
        yield (
            PROBLEM,
            "no NVIDIA driver in this container: torch computes on the CPU",
            "With a GPU, install NVIDIA's container toolkit and run with `docker run --gpus all`. "
            "Without one, use the CPU image (Dockerfile.cpu), which is a quarter of the size.",
        )
        return
    name = Path("/proc/driver/nvidia/version")
    text = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", name.read_text()) if name.exists() else None
    found = f"driver {text.group() if text else '(version unknown)'}, up to CUDA "
    found += f"{driver // 1000}.{driver % 1000 // 10}"
    # A driver runs every minor version of its own major version, and all older ones:
    # https://docs.nvidia.com/deploy/cuda-compatibility/
    if driver // 1000 < major:
        yield (
            PROBLEM,
            f"{found}: too old for this build's CUDA {torch.version.cuda}",
            f"Update the driver to one for CUDA {major}, or build for CUDA {driver // 1000}: "
            "`./crate lock --build NAME`, then `./crate run --build NAME`, with a build of your "
            "torch from https://pytorch.org/get-started/previous-versions/, such as cu126.",
        )
        return
    yield OK, found, ""
    if not torch.cuda.is_available():
        yield PROBLEM, "the driver shows no GPU", "Run with `docker run --gpus all`."
        return
    for index in range(torch.cuda.device_count()):
        it = torch.cuda.get_device_properties(index)
        found = (
            f"GPU {index}: {it.name}, {it.total_memory / 2**30:.0f} GiB, sm_{it.major}{it.minor}"
        )
        try:
            torch.ones(8, device=f"cuda:{index}").sum().item()
        except RuntimeError as error:
            yield (
                PROBLEM,
                f"{found}: {str(error).splitlines()[0]}",
                f"This torch has code for {', '.join(torch.cuda.get_arch_list())}: build the image "
                "with a torch build that has code for your GPU.",
            )
        else:
            yield OK, found, ""


def shared_memory() -> Iterator[Finding]:
    """Can DataLoader workers pass batches? Docker's default of 64 MB is often too little."""
    size = shutil.disk_usage("/dev/shm").total
    found = f"/dev/shm has {size / 2**20:.0f} MB"
    if size < 2**30:
        yield (
            NOTE,
            found,
            "DataLoader workers can die of a bus error: run with `--shm-size 8g` or `--ipc host`.",
        )
    else:
        yield OK, found, ""


def threads() -> Iterator[Finding]:
    """Does torch start more threads than the container has CPUs? Then they wait for each other.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    """
    limit, there = os.cpu_count() or 1, torch.get_num_threads()
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # v2, v1
        try:
            quota, period = " ".join((CGROUP / name).read_text() for name in names).split()
        except OSError:
            continue
        limit = max(1, round(int(quota) / int(period))) if quota.isdigit() else limit
    found = f"torch starts {there} thread(s), and this container may use {limit} CPU(s)"
    if there > limit:
        yield NOTE, found, f"Run with `--env OMP_NUM_THREADS={limit}`."
    else:
        yield OK, found, ""


def caches() -> Iterator[Finding]:
    """Can torch, triton, matplotlib and the model hubs write their caches?"""
    home, temporary = Path.home(), os.environ.get("TMPDIR", "/tmp")
    folders = {
        "temporary files": temporary,
        "torch.compile": os.environ.get("TORCHINDUCTOR_CACHE_DIR", temporary),
        "torch.hub": os.environ.get("TORCH_HOME", home / ".cache"),
        "matplotlib": os.environ.get("MPLCONFIGDIR", home / ".config"),
    }
    closed = {what: folder for what, folder in folders.items() if not can_write(Path(folder))}
    for what, folder in closed.items():
        yield (
            PROBLEM,
            f"{what}: uid {os.getuid()} cannot write {folder}",
            "With --read-only add `--tmpfs /tmp`; else set HOME to a folder that this user owns.",
        )
    if not closed:
        yield OK, f"caches can be written (HOME is {home})", ""


def can_write(folder: Path) -> bool:
    """Return whether a file can be made in the folder, or the folder itself if it is not there."""
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def compiler() -> Iterator[Finding]:
    """Can torch.compile work? It needs a C++ compiler, and triton needs Python's headers too."""
    missing = []
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        missing.append("no C++ compiler")
    if torch.version.cuda and not Path(sysconfig.get_path("include"), "Python.h").exists():
        missing.append("no Python headers")
    if missing:
        yield (
            NOTE,
            f"torch.compile cannot work here: {' and '.join(missing)}",
            "Compile in the `dev` image, or add g++ and libpython3.11-dev to apt/runtime.txt.",
        )
    else:
        yield OK, "torch.compile has its compiler", ""


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    python,
    torch_imports,
    torch_lock,
    torch_build,
    gpu,
    shared_memory,
    threads,
    caches,
    compiler,
)


def main() -> int:
    """Print every finding and return 1 if one of them is a problem, else 0."""
    checks = (python, torch_imports, torch_lock) if BROKEN else CHECKS
    findings = [finding for check in checks for finding in check()]
    for level, found, remedy in findings:
        print(f"{level:>7}  {found}")
        if remedy:
            print(f"{'':>7}  → {remedy}")
    problems = sum(level == PROBLEM for level, _, _ in findings)
    print(f"{problems} problem(s)" if problems else "This image can do what it was built for.")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
