"""The virtual environment of the published readers: made once, from hash-pinned requirements, and kept."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
NEWEST_PYTHON = (3, 13)
UNREACHABLE = re.compile(
    r"dns error|connect error|client error \(Connect\)|error sending request|failed to fetch|timed out|"
    r"NewConnectionError|NameResolutionError|Connection refused|ConnectTimeout|ReadTimeout|Network is unreachable|"
    r"Temporary failure in name resolution|\(from versions: none\)",
    re.IGNORECASE,
)


class RegistryUnreachableError(Exception):
    """The package registry does not answer."""


def old_python() -> Path:
    """Return the Python with zarr 2.18; makes its environment if it is missing."""
    base = base_python()
    tag = hashlib.sha256(REQUIREMENTS.read_bytes() + base.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "sen12-pipeline" / f"zarr2-{tag}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / ".complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        install(base, folder, python)
        (folder / ".complete").touch()
    return python


def base_python() -> str:
    """Return a Python that zarr 2.18's wheels exist for: this one, or one on the path."""
    names = [sys.executable] if sys.version_info[:2] <= NEWEST_PYTHON else []
    for name in (*names, "python3.13", "python3.12", "python3.11"):
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return found
    raise RuntimeError("zarr 2.18 needs Python 3.11 to 3.13, and there is none on the path")


def install(base: str, folder: Path, python: Path) -> None:
    uv = shutil.which("uv")
    if uv:
        run([uv, "venv", "--quiet", "--python", base, str(folder)])
        run([uv, "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(REQUIREMENTS)])
    else:
        run([base, "-m", "venv", str(folder)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, "--require-hashes", "-r", str(REQUIREMENTS)])


def run(command: list[str]) -> str:
    """Return what a command prints; raises with what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr or done.stdout).strip()
    if "install" in command and UNREACHABLE.search(said):
        raise RegistryUnreachableError(said.splitlines()[-1])
    raise RuntimeError(f"{' '.join(command[:4])} … failed:\n{said}")
