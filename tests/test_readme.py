"""What the README shows is true."""

import re
from pathlib import Path

import numpy as np
import pytest

from mlp_xp import backends, train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_first_example_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = EXAMPLES
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    printed = capsys.readouterr().out
    assert float(re.findall(r"'accuracy': ([\d.]+)", printed)[0]) > 0.93
    assert np.shape(names["logits"]) == (143, 2)
    assert len(train.Trainer.load("model.safetensors").history) == 30


def test_so_does_the_estimator(capsys: pytest.CaptureFixture[str]) -> None:
    _, code = EXAMPLES
    exec(code, {})
    assert float(capsys.readouterr().out) > 0.95


def test_every_file_it_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r"`(scripts/\w+\.py)", README)
    assert len(links) > 5
    assert all((ROOT / link).is_file() for link in links if "://" not in link)


def test_the_backend_table_names_every_backend_and_every_extra_exists() -> None:
    table = README.split("## Backends")[1].split("## Scripts")[0]
    for name in backends.NAMES:
        assert f"| `{name}`" in table
    extras = set(re.findall(r"extras? `(\w+)`", README)) | set(re.findall(r"'\.\[(\w+)\]'", README))
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert extras and all(re.search(rf"^{extra} = \[", pyproject, re.MULTILINE) for extra in extras)
