"""What is installed: the packages, the members of the wheel, and the command `mlp-xp`.

The folder backends/ stands at the top of the repository and must be installed as mlp_xp.backends and as nothing else.
Everything is built from a copy of the tree, without network.
"""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import mlp_xp
from mlp_xp import backends, cli

ROOT = Path(__file__).parent.parent
REPORT = {f"mlp_xp/viz/report/{name}" for name in ("page.html", "macros.html", "page.css", "page.js")}
DATA_FILES = {"mlp_xp/py.typed", "mlp_xp/data/wdbc.csv"} | REPORT


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def python_files(tree: Path) -> set[str]:
    """Where every Python file of a tree is to be installed. The symlink mlp_xp/backends is not followed."""
    found = {f"mlp_xp/{path.relative_to(tree)}".replace(os.sep, "/") for path in (tree / "backends").rglob("*.py")}
    for folder, names, files in os.walk(tree / "mlp_xp"):
        names[:] = [name for name in names if not (Path(folder) / name).is_symlink()]
        paths = (Path(folder) / file for file in files if file.endswith(".py"))
        found |= {path.relative_to(tree).as_posix() for path in paths}
    return found


# ---- pyproject.toml ----


def test_the_package_list_names_every_folder_that_holds_python_files():
    on_disk = {str(Path(file).parent).replace(os.sep, ".") for file in python_files(ROOT)}
    listed = project()["tool"]["setuptools"]["packages"]
    assert set(listed) == on_disk
    assert len(listed) == len(on_disk)


def test_every_package_has_an_init_file():
    files = python_files(ROOT)
    assert {f"{Path(file).parent.as_posix()}/__init__.py" for file in files} <= files


def test_the_folder_backends_is_reached_as_a_part_of_mlp_xp():
    assert project()["tool"]["setuptools"]["package-dir"]["mlp_xp.backends"] == "backends"
    assert Path(backends.__file__).samefile(ROOT / "backends" / "__init__.py")
    assert (ROOT / "mlp_xp" / "backends").resolve() == (ROOT / "backends").resolve()


# ---- building ----


class Built(NamedTuple):
    """A wheel made from the tree, a source distribution, and a wheel made from that."""

    tree: Path
    wheel: Path
    sdist: Path
    wheel_of_sdist: Path
    wheel_without_symlink: Path
    traces_before: dict[str, int]


def traces() -> dict[str, int]:
    """What a build leaves in the tree that it is run in, with times; an editable install leaves an egg-info too."""
    found = [ROOT / "build", ROOT / "dist", *ROOT.glob("*.egg-info")]
    return {path.name: path.stat().st_mtime_ns for path in found if path.exists()}


def build(tree: Path, to: Path, *what: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "build", *what, "--no-isolation", "--outdir", str(to), str(tree)],
        capture_output=True,
        text=True,
        check=False,
        cwd=to.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert run.returncode == 0, run.stdout + run.stderr


def copy_of_the_tree(to: Path) -> Path:
    to.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "setup.py", "setup.cfg"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, to)
    leave = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("backends", "mlp_xp", "scripts", "tests"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, to / name, symlinks=True, ignore=leave)
    return to


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    for tool in ("build", "setuptools"):
        pytest.importorskip(tool, reason=f"{tool} is not installed")
    before = traces()
    room = tmp_path_factory.mktemp("packaging")
    tree = copy_of_the_tree(room / "tree")
    build(tree, room / "wheel", "--wheel")
    shutil.rmtree(tree / "build", ignore_errors=True)
    build(tree, room / "both")  # the source distribution from the tree, the wheel from the source distribution
    plain = copy_of_the_tree(room / "plain")
    (plain / "mlp_xp" / "backends").unlink()
    (plain / "mlp_xp" / "backends").write_text("../backends")  # what a clone is left with where symlinks are off
    build(plain, room / "without", "--wheel")
    (wheel,), (wheel_of_sdist,), (wheel_without,) = (
        (room / folder).glob("*.whl") for folder in ("wheel", "both", "without")
    )
    (sdist,) = (room / "both").glob("*.tar.gz")
    return Built(tree, wheel, sdist, wheel_of_sdist, wheel_without, before)


@pytest.fixture(scope="module")
def unpacked(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(built.wheel) as wheel:
        wheel.extractall(folder)
    return folder


def members(wheel: Path) -> set[str]:
    """The files of a wheel, without the folder that describes it."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    assert len(names) == len(set(names))
    return {name for name in names if not name.startswith(f"mlp_xp-{mlp_xp.__version__}.dist-info/")}


@pytest.mark.parametrize("which", ["wheel", "wheel_of_sdist", "wheel_without_symlink"])
def test_a_wheel_holds_every_python_file_the_data_and_nothing_else(built, which):
    expected = python_files(built.tree) | DATA_FILES
    found = members(getattr(built, which))
    assert found == expected, f"missing: {expected - found}, not expected: {found - expected}"
    assert not any(name.startswith("backends/") for name in found)
    assert "mlp_xp/backends/on_cupy.py" in found


def test_a_wheel_is_for_every_platform_and_states_its_version_and_licence(built, unpacked):
    assert built.wheel.name == f"mlp_xp-{mlp_xp.__version__}-py3-none-any.whl"
    (about,) = unpacked.glob("*.dist-info")
    assert (about / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    metadata = (about / "METADATA").read_text(encoding="utf-8")
    for line in ("Name: mlp-xp", f"Version: {mlp_xp.__version__}", "License-Expression: BSD-3-Clause"):
        assert re.search(f"^{re.escape(line)}$", metadata, re.MULTILINE), line
    assert (about / "top_level.txt").read_text().split() == ["mlp_xp"]


def test_the_files_of_a_wheel_are_those_of_the_tree(built, unpacked):
    for name in members(built.wheel):
        source = built.tree / name
        if name.startswith("mlp_xp/backends/"):
            source = built.tree / name.removeprefix("mlp_xp/")
        assert (unpacked / name).read_bytes() == source.read_bytes(), name


def test_the_command_is_declared(unpacked):
    (about,) = unpacked.glob("*.dist-info")
    entry_points = configparser.ConfigParser()
    entry_points.read(about / "entry_points.txt", encoding="utf-8")
    assert dict(entry_points["console_scripts"]) == {"mlp-xp": "mlp_xp.cli:main"}


def test_a_source_distribution_holds_backends_once(built):
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"backends/__init__.py", "mlp_xp/__init__.py", "mlp_xp/py.typed", "pyproject.toml", "LICENSE"} <= names
    assert not any(name.startswith("mlp_xp/backends/") for name in names)


# ---- installed ----


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A user's folder with a `backends` and a `data` of its own."""
    for name in ("backends", "data"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("mine = True\n")
    return tmp_path


def run_installed(unpacked: Path, cwd: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("MLP_XP_BACKEND", None)
    run = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_an_installed_mlp_xp_and_a_users_own_folders_do_not_meet(unpacked, elsewhere):
    code = """
import mlp_xp, mlp_xp.backends, mlp_xp.data, backends, data
from mlp_xp import nn, optim, train
assert backends.mine and data.mine
assert mlp_xp.backends.select("numpy").word == "numpy"
X, *_ = mlp_xp.data.wdbc()
trainer = train.Trainer(nn.Sequential(nn.Linear(30, 1)), nn.MeanSquaredError(), backend="numpy")
assert trainer.predict(X).shape == (len(X), 1)
print(mlp_xp.__file__, mlp_xp.backends.__file__, mlp_xp.data.__file__, backends.__file__, sep="\\n")
"""
    files = [Path(line) for line in run_installed(unpacked, elsewhere, "-c", code).split("\n") if line]
    ours, theirs = files[:3], files[3]
    assert [file.relative_to(unpacked).as_posix() for file in ours] == [
        "mlp_xp/__init__.py",
        "mlp_xp/backends/__init__.py",
        "mlp_xp/data/__init__.py",
    ]
    assert theirs.parent.parent.samefile(elsewhere)


def test_the_installed_command_lists_every_backend(unpacked, elsewhere):
    printed = run_installed(unpacked, elsewhere, "-m", "mlp_xp", "backends")
    assert {line.split()[0] for line in printed.splitlines()[1:] if line[:1].isalpha()} == set(backends.NAMES)


def test_the_working_tree_is_left_clean(built):
    assert traces() == built.traces_before


# ---- the command ----


STATUSES = (
    backends.Status("numpy", True, "NumPy 2.0 on the CPU", devices=("numpy",)),
    backends.Status("cupy", False, "broken install:\n  a very long message of several lines" * 3, "install it"),
    backends.Status("torch", True, "PyTorch 2.4 on the CPU and 1 GPU device(s)", devices=("torch:cpu", "torch:cuda:0")),
)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLP_XP_BACKEND", raising=False)
    monkeypatch.setattr(backends, "available", lambda: STATUSES)


def test_backends_are_listed_here(capsys, monkeypatch):
    monkeypatch.delenv("MLP_XP_BACKEND", raising=False)
    assert cli.main(["backends"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for status in backends.available():
        (line,) = [line for line in lines if line.startswith(f"{status.name} ")]
        assert line.split()[1] == ("yes" if status.usable else "no")
        assert " ".join(status.detail.split()) in line
        assert all(word in line for word in status.devices)
    assert lines[-1] == f'"auto" takes {backends.select("auto").word} here.'


def test_the_table_of_backends_is_aligned_and_says_what_helps(capsys, pretended):
    cli.main(["backends"])
    header, numpy, cupy, remedy, torch, *_ = capsys.readouterr().out.splitlines()
    for title, cells in (
        ("usable", ("yes", "no", "yes")),
        ("computes on", ("NumPy 2.0", "broken install: a very long message", "PyTorch 2.4")),
    ):
        assert [line.index(cell) for line, cell in zip((numpy, cupy, torch), cells, strict=True)] == [
            header.index(title)
        ] * 3
    assert header.index("selected by") == numpy.rindex("numpy") == torch.index("torch:cpu, torch:cuda:0")
    assert header.index("selected by") < 70  # a long reason does not push it away
    assert remedy.strip() == "remedy: install it"
    assert remedy.index("remedy") == header.index("computes on")


@pytest.mark.parametrize(("word", "code"), [("strict", 0), ("numpy", 0), ("tensorflow", 1)])
def test_the_command_says_what_the_environment_chooses(capsys, pretended, monkeypatch, word, code):
    if word == "strict":
        pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    monkeypatch.setenv("MLP_XP_BACKEND", word)
    assert cli.main(["backends"]) == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert word in last
    assert "MLP_XP_BACKEND" in last
    assert ("takes none" in last) == (code == 1)


def test_the_command_states_its_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"mlp-xp {mlp_xp.__version__}\n"


def test_the_help_has_an_example_that_works(capsys, pretended):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    example = capsys.readouterr().out.partition("example:")[2]
    words = example.split("  ")[1].split()
    assert words[0] == "mlp-xp"
    assert cli.main(words[1:]) == 0


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(capsys):
    assert cli.main([]) == 2
    shown = capsys.readouterr()
    assert "usage: mlp-xp" in shown.err
    assert shown.out == ""


def test_an_unknown_command_is_refused_with_exit_code_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["bakcends"])
    assert stopped.value.code == 2
    assert "backends" in capsys.readouterr().err
