"""Copies of course/ in which its tests install toys, with real pip and without network.

A copy lies in a folder with spaces and Cyrillic letters; its requirements are a tiny wheel made here and
`-e .` with a build backend that needs nothing; `course run` there prints what it got.
"""

import os
import shutil
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)  # outside any virtual environment
INSTALLING = "course: installing requirements.txt into .venv"
REPORT = """
    import sys
    from importlib.metadata import version

    def main(arguments):
        print("toy", version("toy"), "prefix", sys.prefix, "arguments", *arguments)
        return 7
"""
BACKEND = """
    import os, pathlib, time, zipfile

    def build_editable(directory, config_settings=None, metadata_directory=None):
        if os.path.exists("slow"):
            pathlib.Path("started").touch()
            time.sleep(60)
        with zipfile.ZipFile(os.path.join(directory, "project-1.0-py3-none-any.whl"), "w") as wheel:
            wheel.writestr("project.pth", os.getcwd())
            info = "project-1.0.dist-info/"
            tags = "Root-Is-Purelib: true\\nTag: py3-none-any\\n"
            wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: project\\nVersion: 1.0\\n")
            wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\n" + tags)
            wheel.writestr(info + "RECORD", "")
        return "project-1.0-py3-none-any.whl"
"""
PROJECT = """
    [build-system]
    requires = []
    build-backend = "backend"
    backend-path = ["."]

    [project]
    name = "project"
    version = "1.0"
"""


def write(path: Path, text: str) -> None:
    path.write_text(textwrap.dedent(text), encoding="utf-8")


def make_wheel(folder: Path, name: str, version: str, files: dict[str, bytes] | None = None) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        info = f"{name}-{version}.dist-info/"
        for file, content in (files or {f"{name}.py": b""}).items():
            wheel.writestr(file, content)
        wheel.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")
    return path


def make_copy(folder: Path) -> Path:
    """A repository with the real course/ (except for what `run` does) and toy requirements."""
    shutil.copytree(ROOT / "course", folder / "course", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "theory").mkdir()
    shutil.copy(ROOT / "theory" / "pages.py", folder / "theory" / "pages.py")
    write(folder / "course" / "weeks" / "run.py", REPORT)
    write(folder / "backend.py", BACKEND)
    write(folder / "pyproject.toml", PROJECT)
    for version in ("1.0", "2.0"):
        make_wheel(folder, "toy", version)
    write(folder / "requirements.txt", "./toy-1.0-py3-none-any.whl\n-e .\n")
    return folder


def environment(**more: str) -> dict[str, str]:
    """The user's variables without this process's environment and pip settings, and with no index."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON")) and k != "VIRTUAL_ENV"
    }
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", **more}


def course(repository: Path, *arguments: str, python: str = BASE_PYTHON, env: dict | None = None, **options):
    """`python3 -m course ARGUMENTS` in the copy; the completed process, with its output as text."""
    command = [python, "-m", "course", *arguments]
    return subprocess.run(
        command,
        cwd=repository,
        env=env or environment(),
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def start(repository: Path, **options) -> subprocess.Popen:
    """`python3 -m course run` in the copy, in a process group of its own and still running."""
    command = [BASE_PYTHON, "-m", "course", "run"]
    options = {"stdout": subprocess.DEVNULL, "text": True, "start_new_session": True, **options}
    return subprocess.Popen(command, cwd=repository, env=environment(), **options)


def one_line(process: subprocess.CompletedProcess) -> str:
    """The error of a failed start, which must be a single line."""
    assert process.returncode == 1, process
    assert process.stderr.startswith("course: ") and process.stderr.count("\n") == 1, process.stderr
    return process.stderr


def wait_for(condition, seconds: float = 600) -> None:
    """Return when `condition()` is true; fail if that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
