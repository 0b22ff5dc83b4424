"""The walls between the rooms: who may import whom, and that no line of the mathematics knows which library it runs on.

Everything is read from the source, so a wall counts also where the library behind it is not installed. Each check is
shown first to find what it looks for.
"""

import ast
import functools
import importlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
ARRAY_LIBRARIES = {"numpy", "cupy", "cupyx", "torch", "jax", "jaxlib", "array_api_strict"}
BACKENDS = ("numpy", "cupy", "torch", "jax", "strict")

# Imports go down only: from a room to one of a lower level, or within the room.
LEVELS = [
    {"scripts", "tests", "__main__"},
    {"cli"},
    {"estimators", "viz", "interop"},
    {"train", "catalogue"},
    {"nn", "optim", "data", "backends"},
    {"random", "schedules", "names"},
    {"mlp_xp"},
]
NOT_FOR = {
    "backends": {"nn", "optim", "data"},
    "random": {"backends"},
    "schedules": {"backends"},
    "names": {"backends"},
    "mlp_xp": {"backends"},
}
"""Rooms, and who may not import them although they stand higher."""
ON_THE_HOST = {"data", "estimators", "interop", "viz", "random"}
"""Rooms that work on the host, with NumPy: in the estimators labels, which may be text, do."""


def level(room: str) -> int:
    return next(index for index, rooms in enumerate(LEVELS) if room in rooms)


# ---- reading the source ----


@functools.cache
def sources() -> dict[str, ast.Module]:
    """Every file of the project by its dotted name, the folder backends/ as mlp_xp.backends."""
    found = {}
    for folder, prefix in (("mlp_xp", ()), ("backends", ("mlp_xp",)), ("scripts", ()), ("tests", ())):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[:2] != ("mlp_xp", "backends"):  # the symlink
                found[".".join((*prefix, *parts))] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def room_of(name: str) -> str:
    """The room that a dotted name belongs to; mlp_xp itself for what is in none."""
    first, _, rest = name.partition(".")
    if first != "mlp_xp":
        return first
    second = rest.partition(".")[0]
    return second if any(second in rooms for rooms in LEVELS) else "mlp_xp"


def imports(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a file imports, also inside functions and by a call."""
    package = name.removesuffix(".__init__").split(".")
    if not name.endswith(".__init__"):
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value.lstrip(".")


def files(*rooms: str) -> dict[str, ast.Module]:
    return {name: tree for name, tree in sources().items() if room_of(name) in rooms}


def in_package() -> dict[str, ast.Module]:
    """Every file of mlp_xp but those of the backends."""
    return {
        name: tree for name, tree in sources().items() if name.startswith("mlp_xp.") and room_of(name) != "backends"
    }


def parsed(code: str) -> ast.Module:
    return ast.parse(textwrap.dedent(code))


def test_every_room_of_the_package_has_its_place():
    folders = {path.parent.name for path in (ROOT / "mlp_xp").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "mlp_xp").glob("*.py")} - {"__init__"}
    known = set().union(*LEVELS)
    assert folders | modules <= known, f"state in LEVELS where they stand: {(folders | modules) - known}"
    assert {"nn", "optim", "train", "data", "backends", "random"} <= folders | modules


def test_imports_are_found_wherever_they_stand():
    code = """
    import a.b, numpy as np
    from mlp_xp import nn
    from ..optim import Adam
    from . import step
    def f():
        import torch
        return importlib.import_module("jax"), __import__("cupy")
    """
    found = {name for _, name in imports("mlp_xp.train.trainer", parsed(code))}
    assert found == {
        *("a.b", "numpy", "mlp_xp.nn", "mlp_xp.optim.Adam", "mlp_xp.train.step", "torch", "jax", "cupy"),
    }
    assert {name for _, name in imports("mlp_xp.train.__init__", parsed("from .step import State"))} == {
        "mlp_xp.train.step.State"
    }


# ---- who imports whom ----


def wrong_way(name: str, tree: ast.Module) -> list[str]:
    """Imports of a file that go up, or sideways into another room, or where they may not."""
    here = room_of(name)
    wrong = []
    for line, imported in imports(name, tree):
        there = room_of(imported)
        ours = imported.partition(".")[0] in ("mlp_xp", "scripts", "tests")
        if not ours or there == here:
            continue
        if level(there) <= level(here) or here in NOT_FOR.get(there, ()):
            wrong.append(f"{name}:{line} imports {imported}")
    return wrong


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("mlp_xp.optim.adam", "from mlp_xp.train import Trainer"),
        ("mlp_xp.optim.adam", "from ..nn import Layer"),
        ("mlp_xp.nn.linear", "from mlp_xp import backends"),
        ("mlp_xp.nn.linear", "from ..backends.base import Backend"),
        ("mlp_xp.nn.linear", "import mlp_xp.optim"),
        ("mlp_xp.data.toy", "import mlp_xp.backends"),
        ("mlp_xp.train.trainer", "from mlp_xp.viz import curves"),
        ("mlp_xp.train.trainer", "from mlp_xp import cli"),
        ("mlp_xp.random", "from .nn import Layer"),
        ("mlp_xp.__init__", "from . import nn"),
        ("mlp_xp.estimators.mlp", "import tests.helpers"),
        ("mlp_xp.backends.base", "from mlp_xp.random import key"),
        ("mlp_xp.backends.base", "import mlp_xp"),
    ],
)
def test_an_import_in_the_wrong_direction_is_found(name, code):
    assert wrong_way(name, parsed(code))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("mlp_xp.train.trainer", "from mlp_xp import backends, nn, optim, random\nfrom . import step\nimport json"),
        ("mlp_xp.nn.dropout", "from mlp_xp.random import bits\nfrom .layer import Layer"),
        ("mlp_xp.cli", "from mlp_xp import __version__\nfrom mlp_xp.train import Trainer"),
        ("scripts.train", "from mlp_xp import estimators, viz"),
    ],
)
def test_an_import_in_the_right_direction_is_not_blamed(name, code):
    assert not wrong_way(name, parsed(code))


@pytest.mark.parametrize("name", sources())
def test_imports_go_in_one_direction(name):
    assert not wrong_way(name, sources()[name])


def test_the_backends_import_nothing_of_mlp_xp_but_one_another_by_relative_imports():
    for name, tree in files("backends").items():
        for line, imported in imports(name, tree):
            assert room_of(imported) != "mlp_xp", f"{name}:{line} imports {imported}"
        for node in ast.walk(tree):
            absolute: list[str] = []
            if isinstance(node, ast.Import):
                absolute = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{name}:{node.lineno} leaves the folder"
                absolute = [] if node.level else [str(node.module)]
            assert not {module.partition(".")[0] for module in absolute} & {"mlp_xp", "backends"}, name


@pytest.mark.parametrize("name", sources())
def test_the_folder_backends_is_imported_as_a_part_of_mlp_xp_only(name):
    for line, imported in imports(name, sources()[name]):
        assert imported.partition(".")[0] != "backends", f"{name}:{line}"


# ---- who imports array libraries ----


def libraries(name: str, tree: ast.Module) -> set[str]:
    """Array libraries that a file imports by name, also through a wrapper's part for one library."""
    found = set()
    for _, imported in imports(name, tree):
        first, _, rest = imported.partition(".")
        if first == "array_api_compat":
            first = rest.partition(".")[0]
        found |= {first} & ARRAY_LIBRARIES
    return found


def test_an_array_library_is_found_by_every_name():
    assert libraries("mlp_xp.nn.x", parsed("import numpy as np")) == {"numpy"}
    assert libraries("mlp_xp.nn.x", parsed("from jax.numpy import exp")) == {"jax"}
    assert libraries("mlp_xp.nn.x", parsed("from array_api_compat import torch")) == {"torch"}
    assert libraries("mlp_xp.nn.x", parsed("import array_api_compat.cupy as cp")) == {"cupy"}
    assert libraries("mlp_xp.nn.x", parsed("import array_api_compat\nfrom array_api_compat import device")) == set()


@pytest.mark.parametrize("name", files("nn", "optim", "train"))
def test_layers_rules_and_the_loop_import_no_array_library(name):
    assert not libraries(name, sources()[name])


@pytest.mark.parametrize("name", in_package())
def test_only_what_works_on_the_host_imports_numpy_and_nothing_imports_another_array_library_unasked(name):
    room = room_of(name)
    allowed = {"numpy"} if room in ON_THE_HOST else set()
    if room == "interop":  # it exchanges models with PyTorch
        allowed |= {"torch"}
    assert libraries(name, sources()[name]) <= allowed


# ---- nobody asks which backend it is ----


def is_backend(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id == "backend") or (
        isinstance(node, ast.Attribute) and node.attr in ("backend", "_backend")
    )


def asks_identity(node: ast.AST) -> bool:
    """Does an expression hold a backend's name, word or device, or ask which library an array or a namespace is of?"""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute):
            if is_backend(part.value) and part.attr in ("name", "word", "device", "device_name"):
                return True
            if part.attr == "__name__" and ast.unparse(part.value).rpartition(".")[2] == "xp":
                return True
        if isinstance(part, ast.Call):
            called = ast.unparse(part.func).rpartition(".")[2]
            if called.startswith("is_") and any(f"_{library}_" in called for library in (*BACKENDS, "pydata", "dask")):
                return True
    return False


def says_backend(node: ast.AST) -> bool:
    """Is it, or does it hold, a backend's word as a text?"""
    return any(
        isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value.partition(":")[0] in BACKENDS
        for part in ast.walk(node)
    )


def branches(tree: ast.Module) -> list[int]:
    """Lines where what happens next depends on a backend's name or device."""
    found = set()
    for node in ast.walk(tree):
        deciding: list[ast.AST] = []
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
            deciding = [node.test]
        elif isinstance(node, ast.comprehension):
            deciding = list(node.ifs)
        elif isinstance(node, ast.Match):
            deciding = [node.subject]
        elif isinstance(node, ast.Compare | ast.BoolOp):
            deciding = [node]
        elif isinstance(node, ast.Subscript):
            deciding = [node.slice]  # a table of cases
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            deciding = [node.func.value]  # a method of the text, such as startswith
            if node.func.attr in ("get", "startswith", "endswith"):
                deciding += node.args
        for part in deciding:
            if asks_identity(part) or (isinstance(node, ast.Compare) and says_backend(node)):
                found.add(getattr(part, "lineno", 0))
        if isinstance(node, ast.match_case) and says_backend(node.pattern):
            found.add(node.pattern.lineno)
    return sorted(found)


@pytest.mark.parametrize(
    "code",
    [
        "if backend.name == 'cupy': pass",
        "if self.backend.word.startswith('torch'): pass",
        "y = 1 if trainer.backend.device == 'cpu' else 2",
        "while backend.device: pass",
        "fast = backend.name in ('jax', 'numpy')",
        "name = backend.name\nif name == 'jax': pass",
        "{'cupy': a, 'numpy': b}[self.backend.name]",
        "cases.get(backend.name, default)",
        "match self.backend.name:\n    case _: pass",
        "match name:\n    case 'cupy' | 'numpy': pass",
        "if xp.__name__.endswith('torch'): pass",
        "if backend.xp.__name__ == 'numpy': pass",
        "if array_api_compat.is_torch_array(x): pass",
        "if array_api_compat.is_jax_namespace(xp): pass",
        "[x for x in y if backend.device == x.device]",
    ],
)
def test_a_branch_on_a_backend_is_found(code):
    assert branches(parsed(code))


@pytest.mark.parametrize(
    "code",
    [
        "xp.zeros((), device=backend.device)",
        "raise ValueError(f'{self.backend.word} cannot')",
        "if not self.backend.has_float64: pass",
        "if loss.name == 'accuracy': pass",
        "record = {'backend': trainer.backend.word}",
        "backends.select('numpy')",
    ],
)
def test_what_does_not_depend_on_a_backend_is_not_blamed(code):
    assert not branches(parsed(code))


@pytest.mark.parametrize("name", in_package())
def test_nobody_branches_on_a_backend(name):
    assert not branches(sources()[name]), f"lines of {name} that branch on a backend's name or device"


# ---- the namespace that all libraries share ----


def namespace_names(tree: ast.Module) -> set[str]:
    """Every NAME of xp.NAME and getattr(xp, "NAME"), with what follows it as far as that is a name: linalg.norm."""
    found = set()
    for node in ast.walk(tree):
        chain: list[str] = []
        part: ast.AST = node
        while isinstance(part, ast.Attribute):
            if part.attr == "xp":
                break
            chain.insert(0, part.attr)
            part = part.value
        is_xp = (isinstance(part, ast.Name) and part.id == "xp") or (isinstance(part, ast.Attribute))
        if chain and is_xp and chain != ["__name__"]:
            found.add(".".join(chain))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) > 1:
            of, attribute = node.args[:2]
            if ast.unparse(of).rpartition(".")[2] == "xp" and isinstance(attribute, ast.Constant):
                found.add(str(attribute.value))
    return found


def missing_in(library: Any, names: set[str]) -> set[str]:
    def has(name: str) -> bool:
        found = library
        for part in name.split("."):
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True

    return {name for name in names if not has(name)}


def test_names_of_the_namespace_are_found():
    code = "xp.exp(x); self.backend.xp.zeros(()); backend.xp.linalg.norm(x); getattr(xp, 'float32'); np.dot(x, x); x.mT"
    assert namespace_names(parsed(code)) == {"exp", "zeros", "linalg", "linalg.norm", "float32"}


@pytest.mark.parametrize(
    "library", ["numpy", "array_api_compat.torch", "jax.numpy", "array_api_strict", "array_api_compat.cupy"]
)
def test_every_library_has_every_name_of_the_namespace_that_is_used(library):
    needed = library.rpartition("compat.")[2].partition(".")[0]
    pytest.importorskip(needed, reason=f"{needed} is not installed", exc_type=ImportError)
    namespace = importlib.import_module(library)
    shared = {**in_package(), "mlp_xp.backends.base": sources()["mlp_xp.backends.base"]}
    used = {name: namespace_names(tree) for name, tree in shared.items()}
    assert {"exp", "sum", "isdtype"} <= set().union(*used.values())
    missing = {name: missing_in(namespace, names) for name, names in used.items()}
    assert not {name: names for name, names in missing.items() if names}, f"not in {library}"
    assert missing_in(namespace, {"exp", "einsum_of_nobody"}) == {"einsum_of_nobody"}


# ---- what an import costs ----


def fresh(code: str) -> str:
    """What a new interpreter prints, started at the root of the project."""
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


HEAVY = (
    *(
        "torch",
        "jax",
        "cupy",
        "array_api_strict",
        "sklearn",
        "scipy",
        "pandas",
        "matplotlib",
        "plotly",
        "jinja2",
        "onnx",
    ),
)


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import mlp_xp", (*HEAVY, "numpy")),
        ("import mlp_xp.cli", (*HEAVY, "numpy")),
        ("import mlp_xp.nn, mlp_xp.optim, mlp_xp.train", HEAVY),
        ("import mlp_xp.backends, mlp_xp.data, mlp_xp.random", HEAVY),
    ],
)
def test_an_import_loads_no_library_that_it_does_not_need(statement, unwanted):
    assert fresh(f"{statement}\nprint([name for name in {unwanted!r} if name in sys.modules])") == "[]"


def test_a_model_is_trained_on_numpy_without_any_other_array_library():
    code = f"""
from mlp_xp import nn, optim, train
trainer = train.Trainer(nn.Sequential(nn.Linear(2, 1)), nn.MeanSquaredError(), optim.SGD(0.1), backend="numpy")
trainer.fit([[0.0, 1.0], [1.0, 0.0]], [0.0, 1.0], epochs=1, progress=False)
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    assert fresh(code) == "[]"


def test_importing_mlp_xp_takes_no_time():
    code = "import time; start = time.perf_counter(); import mlp_xp; print(time.perf_counter() - start)"
    assert min(float(fresh(code)) for _ in range(5)) < 0.2
