"""Where numbers come from: the machine, the versions, the threads, the memory of this process."""

import ctypes
import datetime
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlp_xp

PACKAGES = ("numpy", "scikit-learn", "torch", "jax", "optax", "cupy-cuda12x", "cupy-cuda13x", "cupy-rocm-7-0")
BUSY = 0.3
"""Load by core from which on others are in the way."""


def load() -> float | None:
    """How many programs wanted to run in the last minute, where the system knows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def busy(load: float | None) -> str:
    """What to say of a load before the start. Threads that wait for each other make any library look slow."""
    if (load or 0) <= BUSY * (os.cpu_count() or 1):
        return ""
    return (
        f"Others were using this machine: the load was {load:.1f} before the start. Measure again when it is idle, or "
        f"trust the ratios only."
    )


def environment() -> dict[str, Any]:
    """Without it the numbers mean nothing."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {"mlp_xp": mlp_xp.__version__} | {package: version(package) for package in PACKAGES},
        "torch threads": _torch_threads(),
        "thread pools": _thread_pools(),
    }


def in_words(about: dict[str, Any]) -> str:
    """Machine, date and versions in one line."""
    versions = [f"{package} {version}" for package, version in about["packages"].items() if version != "not installed"]
    pools = about["thread pools"]
    if not isinstance(pools, str):
        names = {f"{pool['internal_api']} {pool['version'] or ''}".strip(): pool["num_threads"] for pool in pools}
        pools = ", ".join(f"{name} with {threads} threads" for name, threads in sorted(names.items()))
    return (
        f"{about['date']}, {about['processor']}, {about['cores']} cores, {', '.join(about['devices'])}; Python "
        f"{about['python']}, {', '.join(versions)}; {pools}; PyTorch's threads: {about['torch threads']}."
    )


def _processor() -> str:
    """The processor's name: Linux and macOS tell the standard library only its architecture."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        if asked.returncode == 0:
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _torch_threads() -> int | str:
    """Of the PyTorch that was measured: it is not imported for the question."""
    if not installed("torch"):
        return "not installed"
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else "not used"


def _thread_pools() -> list[dict[str, Any]] | str:
    """BLAS and OpenMP libraries in this process and their threads: nobody's setting is changed."""
    if not installed("threadpoolctl"):
        return "unknown: threadpoolctl is not installed"
    from threadpoolctl import threadpool_info

    return [{key: value for key, value in pool.items() if key != "filepath"} for pool in threadpool_info()]


def require_writable(folder: Path) -> None:
    """Raise OSError now rather than after minutes of measuring."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


# The memory of this process, as Linux knows it


def why_no_memory() -> str:
    """The reason in words why the memory of a process cannot be measured here; empty where it can."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        return ""
    return "not measured: the memory of a process is read from Linux with glibc"


def resident(name: str) -> int:
    """A number of bytes out of Linux's description of this process: VmRSS, or VmHWM, the highest so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def settle_memory() -> int:
    """What is held now in bytes, without what is free in it; the highest so far counts from here.

    What was freed before would otherwise serve what is measured, and not be seen.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")
