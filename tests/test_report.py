"""The report: one file that says and draws what is in run folders, and says what is not."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import runs

from mlp_xp import cli, data, nn, optim, train

pytest.importorskip("plotly")
pytest.importorskip("jinja2")

from safetensors.numpy import load_file, save_file
from sklearn import metrics as oracle

from mlp_xp.viz import style
from mlp_xp.viz.report import decisions, findings, health, read, read_all, sections, words, write_report
from mlp_xp.viz.report import run as run_module
from mlp_xp.viz.report.run import Run
from mlp_xp.viz.report.settings import settings
from mlp_xp.viz.report.thresholds import thresholds

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """A page as a tree; every element is closed where it has to be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.builder, self.open = ET.TreeBuilder(), []  # type: ignore[var-annotated]
        self.feed(text)
        self.close()
        assert not self.open
        self.root = self.builder.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        if tag in VOID:
            self.builder.end(tag)
        else:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        self.builder.end(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.builder.end(tag)

    def handle_data(self, data: str) -> None:
        self.builder.data(data)

    def all(self, path: str) -> list[ET.Element]:
        return self.root.findall(f".//{path}")

    def one(self, path: str) -> ET.Element:
        (found,) = self.all(path)
        return found

    def text(self, path: str) -> str:
        return text(self.one(path))

    def plot(self, name: str) -> dict[str, Any]:
        return json.loads(self.one(f"script[@data-of='{name}']").text or "")

    def table(self, caption: str) -> list[list[str]]:
        """The rows of the table whose caption begins so."""
        (table,) = [each for each in self.all("table") if text(each.find("caption")).startswith(caption)]
        return [[text(cell) for cell in row] for row in table.iter("tr")]


def text(element: ET.Element | None) -> str:
    assert element is not None
    return " ".join("".join(element.itertext()).split())


def report(*folders: Path, out: Path) -> Page:
    return Page(write_report(folders, out).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the runs spiral, slow, tumours and xor."""
    root = tmp_path_factory.mktemp("runs")
    runs.spiral(root / "spiral")
    runs.spiral(root / "slow", rate=0.001, epochs=10, snapshots=False)
    runs.tumours(root / "tumours")
    runs.xor(root / "xor")
    return root


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return report(folder / "spiral", out=folder / "spiral.html")


@pytest.fixture(scope="module")
def compared(folder: Path) -> Page:
    return report(*(folder / name for name in ("spiral", "slow", "tumours", "xor")), out=folder / "compared.html")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the run spiral, to be damaged."""
    return Path(shutil.copytree(folder / "spiral", tmp_path / "spiral"))


def history(**columns: list[float]) -> train.History:
    rows = zip(*columns.values(), strict=True)
    return train.History([{"epoch": i, **dict(zip(columns, row, strict=True))} for i, row in enumerate(rows, start=1)])


# ---- one file, for everybody ----


@pytest.mark.parametrize("which", ["page", "compared"])
def test_it_is_one_file_that_asks_the_network_for_nothing(which: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(which)
    for element in page.root.iter():
        assert not {"src", "srcset", "data", "action", "poster"} & set(element.attrib)
        assert element.get("href", "#").startswith("#")
        assert element.tag not in ("link", "base", "iframe", "object")
    assert "url(" not in page.text("style") and "@import" not in page.text("style")
    policy = page.one("meta[@http-equiv='Content-Security-Policy']").get("content", "")
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert sum("plotly.js v" in (script.text or "") for script in page.all("script")) == 1


@pytest.mark.parametrize("which", ["page", "compared"])
def test_a_screen_reader_finds_its_way(which: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(which)
    assert page.root.get("lang") == "en" and page.text("title")
    for landmark in ("header", "nav", "main", "footer", "h1"):
        page.one(landmark)
    ids = [element.get("id") for element in page.root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in page.root.iter():
        for attribute in ("aria-labelledby", "aria-describedby"):
            if attribute in element.attrib:
                assert text(page.one(f"*[@id='{element.get(attribute)}']"))
        if element.tag == "a":
            assert element.get("href", "")[1:] in ids
    levels = [int(element.tag[1]) for element in page.root.iter() if re.fullmatch("h[1-6]", element.tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    for plot in page.all("div[@class='plot']"):
        assert plot.get("role") == "group" and {"aria-labelledby", "aria-describedby"} <= set(plot.attrib)
    for table in page.all("table"):
        assert text(table.find("caption"))
        assert all(head.get("scope") in ("col", "row") for head in table.iter("th"))
    labelled = {id(control) for label in page.all("label") for control in label.iter()}
    for control in [*page.all("input"), *page.all("select")]:
        assert id(control) in labelled or control.get("aria-label")
    assert all(text(button) for button in page.all("button"))
    assert all(box.get("tabindex") == "0" and box.get("aria-label") for box in page.all("div[@class='scroll']"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: Page, theme: str) -> None:
    blocks = re.findall(r":root[^{]*\{([^}]*--paper[^}]*)\}", page.text("style"))
    assert len(blocks) == 2
    found = re.findall(r"--(\w+): #([0-9a-fA-F]{6})", blocks[theme == "dark"])
    colours = {name: [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for name, code in found}
    ground = np.array(colours["card"])
    for name in ("ink", "soft", "accent", "good", "note", "warning"):
        tinted = 0.08 * np.array(colours[name]) + 0.92 * ground
        for below in (colours["paper"], ground, tinted):
            assert style.contrast(colours[name], below) >= 4.5, name
    deepest = 0.5 * np.array(colours["shade"]) + 0.5 * np.array(colours["paper"])  # of a confusion matrix
    assert style.contrast(colours["ink"], deepest) >= 4.5


def test_plots_are_what_plotly_knows(page: Page, compared: Page) -> None:
    from plotly.graph_objects import Figure

    for each in (page, compared):
        scripts = each.all("script[@data-of]")
        assert len(scripts) == len(each.all("div[@class='plot']")) > 5
        for script in scripts:
            content = json.loads(script.text or "")
            Figure(content["data"], content["layout"])  # ValueError for what it does not know
            for key in {key for trace in content["data"] for key in trace.get("meta", {}).get("keys", [])} - {"run-0"}:
                each.one(f"input[@data-key='{key}']")


def test_words_in_folders_and_files_are_never_taken_for_tags(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><b>&amp;"
    name = "<img src=x onerror=alert(1)>"
    runs.spiral(tmp_path / "a" / name, epochs=2, title=evil, data={evil: evil, "classes": [evil, "b", "c"]})
    runs.spiral(tmp_path / "b" / name, epochs=2, title=evil)
    for page in (
        report(tmp_path / "a" / name, out=tmp_path / "one.html"),
        report(tmp_path / "a" / name, tmp_path / "b" / name, out=tmp_path / "two.html"),
    ):
        assert page.text("h1").startswith(evil)
        assert not page.all("img") and not page.all("b")
        plots = [json.loads(script.text or "") for script in page.all("script[@data-of]")]
        names = [trace.get("name", "") for plot in plots for trace in plot["data"]]
        assert any("&lt;" in name for name in names) and not any("<" in name for name in names)  # nor by plotly
        assert len(page.all("script")) == len(page.all("div[@class='plot']")) + 3


# ---- what it says and draws ----


def test_the_summary_has_the_numbers_of_the_history(folder: Path, page: Page) -> None:
    run = read(folder / "spiral")
    assert page.text("h1") == page.text("title") == "Three spirals"
    losses = run.history["val_loss"]
    best = int(np.argmin(losses))
    said = page.text("section[@id='summary']")
    assert f"30 epochs (30 updates) in {words.duration(sum(run.history['seconds']))}." in said
    assert f"the best {losses[best]:.4g} in epoch {best + 1}." in said
    assert f"On the test data: accuracy {100 * run.metrics['test_accuracy']:.2f} % and loss" in said
    tiles = dict(zip(map(text, page.all("dl[@class='tiles']//dt")), page.all("dl[@class='tiles']//dd"), strict=True))
    assert text(tiles["Best validation loss"]) == f"{losses[best]:.4g} epoch {best + 1}"
    assert text(tiles["Parameters"]) == "99"


def test_the_curves_are_those_of_the_history(folder: Path, page: Page) -> None:
    run = read(folder / "spiral")
    training, validation, star = page.plot("curve-1")["data"]
    assert training["x"] == validation["x"] == run.history["epoch"]
    np.testing.assert_allclose(training["y"], run.history["accuracy"], rtol=1e-6)
    np.testing.assert_allclose(validation["y"], run.history["val_accuracy"], rtol=1e-6)
    assert star["y"] == pytest.approx([max(run.history["val_accuracy"])], rel=1e-6)
    assert training["line"]["dash"] != validation["line"]["dash"]
    assert {text(label) for label in page.all("section[@id='curves']//label")} >= {"training", "validation"}


def test_the_confusion_matrix_counts_the_test_outputs(folder: Path, page: Page) -> None:
    results = read(folder / "spiral").results
    counts = oracle.confusion_matrix(results["test_target"], results["test_outputs"].argmax(1))
    _, *rows = page.table("Confusion matrix")
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert [row[1:] for row in rows] == [
        [f"{count}{100 * share:.0f} %" for count, share in zip(*each, strict=True)]
        for each in zip(counts, shares, strict=True)
    ]
    marks = [[td.get("class") for td in row.iter("td")] for row in page.all("table[@class='confusion']/tbody/tr")]
    assert marks == [["right" if i == j else None for j in range(3)] for i in range(3)]
    _, *rows = page.table("Scores of each class")
    expected = oracle.precision_recall_fscore_support(results["test_target"], results["test_outputs"].argmax(1))
    np.testing.assert_allclose(
        [[float(cell) for cell in row[2:]] for row in rows], np.transpose(expected[:3]), atol=5e-4
    )


@pytest.mark.parametrize("name", ["tumours", "xor"])
def test_two_classes_have_roc_and_precision_recall_as_scikit_learn_has_them(folder: Path, name: str) -> None:
    run = read(folder / name)
    found, y, target = (
        thresholds(run),
        run.results["test_outputs"].astype(float),
        run.results["test_target"].reshape(-1),
    )
    assert found is not None
    score = y[:, -1] - (y[:, 0] if y.shape[1] == 2 else 0)
    assert found.area == pytest.approx(oracle.roc_auc_score(target, score), rel=1e-12)
    assert found.average_precision == pytest.approx(oracle.average_precision_score(target, score), rel=1e-12)
    false_alarms, recall, _ = oracle.roc_curve(target, score, drop_intermediate=False)
    np.testing.assert_allclose([found.false_alarms, found.recall], [false_alarms, recall], rtol=1e-12)
    precision, recall, _ = oracle.precision_recall_curve(target, score)
    np.testing.assert_allclose(found.precision[1:], precision[-2::-1][: len(found.precision) - 1], rtol=1e-12)


@pytest.mark.parametrize(
    ("given", "called"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        ("cat, dog", ["cat", "dog"]),
        ([3, 7], ["class 3", "class 7"]),
        (["cat", "dog", "cow"], ["class 0", "class 1"]),
        (None, ["class 0", "class 1"]),
    ],
)
def test_classes_are_called_as_the_data_says(given: Any, called: list[str]) -> None:
    assert decisions.names(Run(Path(), "", about={"data": {"classes": given}}), 2) == called


def test_ties_of_scores_become_alarms_together() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 200)
    score = np.round(rng.normal(size=200) + target, 1)
    found = thresholds(Run(Path(), "", results={"test_outputs": score[:, None], "test_target": target}))
    assert found is not None
    assert found.area == pytest.approx(oracle.roc_auc_score(target, score), rel=1e-12)
    assert found.average_precision == pytest.approx(oracle.average_precision_score(target, score), rel=1e-12)


def test_the_boundary_has_a_moment_for_each_snapshot(folder: Path, page: Page) -> None:
    snapshots = read(folder / "spiral").recording.snapshots
    plot = page.plot("plane-0")
    assert len(plot["frames"]) == len(plot["moments"]) == len(snapshots) == 31
    assert "sliders" not in plot["layout"] and "updatemenus" not in plot["layout"]
    slider = page.one("div[@class='player']/input")
    assert (slider.get("type"), slider.get("max")) == ("range", "30")
    assert page.text("div[@class='player']/output") == plot["moments"][-1]
    assert {text(label) for label in page.all("section[@id='boundary']//label")} == {"class 0", "class 1", "class 2"}


def test_without_snapshots_the_plane_is_that_of_the_end(compared: Page) -> None:
    still, moving = compared.plot("plane-1"), compared.plot("plane-0")
    assert not still["frames"] and moving["frames"] and len(compared.all("div[@class='player']")) == 1
    assert still["data"][0]["z"] != moving["data"][0]["z"]
    assert "train.Recorder(snapshots=True)" in compared.text("section[@id='missing']")


def test_layers_are_told_in_numbers_and_drawn_over_time(folder: Path, page: Page) -> None:
    recording = read(folder / "spiral").recording
    _, *rows = page.table("Each layer")
    assert [row[0] for row in rows] == ["0 Linear(2, 16)", "1 ReLU", "2 Linear(16, 3)"]
    assert [row[1] for row in rows] == [f"{100 * dead[-1]:.0f} %" for dead in recording.of_layers("dead").values()]
    gradients = page.plot("layers-0-gradient")["data"]
    assert [trace["name"] for trace in gradients] == ["0 Linear(2, 16)", "2 Linear(16, 3)"]
    np.testing.assert_allclose(gradients[0]["y"], recording.of_layers("gradient")["0"], rtol=1e-6)
    growth = page.plot("layers-0-growth")["data"][1]["y"]
    sizes = np.array(recording.of_parameters("mean_abs")["2.weight"])
    np.testing.assert_allclose(growth, sizes / sizes[0], rtol=1e-6)
    assert "1/1,000 of that at the last" in page.text("p[@class='rules']")


def test_settings_are_listed(page: Page) -> None:
    names = [text(dt) for dt in page.all("dl[@class='settings']//dt")]
    values = [text(dd) for dd in page.all("dl[@class='settings']//dd")]
    listed = dict(zip(names, values, strict=True))
    assert listed["model"] == "Linear(2, 16) → ReLU → Linear(16, 3)"
    assert listed["optimizer"] == "Adam(lr=0.05)"
    assert listed["training rows"] == "300" and listed["backend"] == "numpy" and listed["name"] == "three spirals"


def test_the_table_of_epochs_has_the_first_the_last_and_the_best(tmp_path: Path, folder: Path) -> None:
    losses = [1 / epoch if epoch < 78 else 1 / 77 + 0.001 for epoch in range(1, 101)]
    (tmp_path / "run").mkdir()
    history(loss=losses).save_csv(tmp_path / "run" / "history.csv")
    head, *rows = report(tmp_path / "run", out=tmp_path / "r.html").table("25 epochs")
    assert head == ["epoch", "loss"]
    shown = [row[0] for row in rows]
    assert shown[0] == "1" and "77 (best)" in shown and shown[-1] == "100" and len(shown) == 25


# ---- what decides ----


def finished(folder: Path, units: int, loss: nn.Loss, X: Any, y: Any, *last: nn.Layer, **more: Any) -> train.Trainer:
    """A run of a small net, tested on what it was trained on."""
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, units), *last)
    trainer = train.Trainer(model, loss, optim.Adam(0.03), backend="numpy")
    trainer.fit(X, y, epochs=20, batch_size=None, progress=False)
    train.save_run(folder, trainer, **({"training": (X, y), "test": (X, y)} | more))
    return trainer


def two_classes() -> tuple[Any, Any]:
    X, y, *_ = data.spiral(classes=2)
    return X, y


@pytest.mark.parametrize("signs", [False, True])
def test_the_hinge_loss_decides_above_0(tmp_path: Path, signs: bool) -> None:
    X, y = two_classes()
    trainer = finished(tmp_path, 1, nn.Hinge(), X, 2 * y - 1 if signs else y)
    page = report(tmp_path, out=tmp_path / "report.html")
    counts = oracle.confusion_matrix(y, trainer.predict(X)[:, 0] > 0)
    cells = [[text(cell) for cell in row.iter("td")] for row in page.all("table[@class='confusion']/tbody/tr")]
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert cells == [
        [f"{count}{100 * share:.0f} %" for count, share in zip(*each, strict=True)]
        for each in zip(counts, shares, strict=True)
    ]
    area = oracle.roc_auc_score(y, trainer.predict(X)[:, 0])
    found = thresholds(read(tmp_path))
    assert found is not None and found.area == pytest.approx(area, rel=1e-12) and page.plot("roc-0")
    assert page.plot("plane-0")["data"]


def test_one_output_decides_as_the_model_says_or_not_at_all(tmp_path: Path) -> None:
    X, y = two_classes()
    trainer = finished(tmp_path, 1, nn.MeanSquaredError(), X, y, nn.Sigmoid())
    found = decisions.confusion(read(tmp_path))
    assert found is not None and found.accuracy == np.mean((trainer.predict(X)[:, 0] > 0.5) == y) < 1
    for damage in (lambda path: path.write_bytes(b"{"), Path.unlink):
        damage(tmp_path / "model.safetensors")
        page = report(tmp_path, out=tmp_path / "report.html")
        assert not page.all("section[@id='decisions']")
        assert "without the model nobody knows above which output" in page.text("div[@class='problems']")


def test_outputs_that_are_no_numbers_are_no_decisions(copy: Path) -> None:
    results = load_file(copy / "results.safetensors")
    results["test_outputs"][3:5] = np.nan
    save_file(results, copy / "results.safetensors")
    page = report(copy, out=copy / "report.html")
    assert not page.all("section[@id='decisions']")
    said = "the decisions on the test data cannot be shown: the outputs for 2 of 300 rows are NaN or infinite"
    assert said in page.text("div[@class='problems']")


def test_validation_data_is_called_so(folder: Path, tmp_path: Path) -> None:
    X, y = two_classes()
    sets: dict[str, Any] = {"test": None, "validation": (X, y), "metrics": {"val_loss": 0.5, "val_accuracy": 0.75}}
    finished(tmp_path / "run", 2, nn.SoftmaxCrossEntropy(), X, y, **sets)
    page = report(tmp_path / "run", out=tmp_path / "report.html")
    assert page.table("Confusion matrix of the validation data")
    assert page.table("Scores of each class on the validation data")
    assert "test data" not in page.text("main")
    both = report(folder / "xor", tmp_path / "run", out=tmp_path / "both.html")
    assert "Decisions on the test and validation data" in map(text, both.all("h2"))
    (tmp_path / "run" / "results.safetensors").unlink()
    assert read(tmp_path / "run").part == "validation"


def test_regression_has_no_plane_and_no_advice_for_one(tmp_path: Path) -> None:
    X, _ = two_classes()
    metrics = [train.R2(), train.MAE()]
    recorder = train.Recorder()
    trainer = train.Trainer(nn.Linear(2, 1), nn.MeanSquaredError(), optim.Adam(), backend="numpy", metrics=metrics)
    trainer.fit(X, X[:, 0] * 2.5, epochs=2, callbacks=[recorder], progress=False)
    tested = {f"test_{name}": value for name, value in trainer.evaluate(X, X[:, 0] * 2.5).items()}
    sets: dict[str, Any] = {"training": (X, X[:, 0] * 2.5), "test": (X, X[:, 0] * 2.5)}
    train.save_run(tmp_path, trainer, recording=recorder.recording, metrics=tested, **sets)
    page = report(tmp_path, out=tmp_path / "report.html")
    ids = [section.get("id") for section in page.all("section")]
    assert ids == ["summary", "curves", "layers", "settings", "epochs"]
    assert not page.all("div[@class='problems']")
    tiles = [text(dt) for dt in page.all("dl[@class='tiles']//dt")]
    assert tiles[:2] == ["Test R2", "Test loss"]


def test_of_many_rows_the_plane_says_how_many_are_drawn(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(3000, 2))
    finished(tmp_path, 2, nn.SoftmaxCrossEntropy(), X, np.arange(3000) // 1500)
    page = report(tmp_path, out=tmp_path / "report.html")
    assert "the marks are 1,500 of the 3,000 rows of the training data." in page.text("*[@id='plane-0-words']")


def test_many_classes_have_no_table_of_each_against_each(tmp_path: Path) -> None:
    history(loss=[2.0, 1.0]).save_csv(tmp_path / "history.csv")
    counts = np.diag(np.full(60, 100))
    counts[range(20), range(1, 21)] = range(1, 21)
    (tmp_path / "metrics.json").write_text(json.dumps({"confusion_matrix": counts.tolist()}))
    page = report(tmp_path, out=tmp_path / "report.html")
    captions = [text(caption) for caption in page.all("caption")]
    assert not [caption for caption in captions if caption.startswith("Confusion matrix")]
    assert "60 classes are too many for a table" in page.text("section[@id='decisions']")
    _, *rows = page.table("Most frequent errors")
    assert rows == [[f"class {i}", f"class {i + 1}", f"{i + 1}"] for i in range(19, 9, -1)]
    assert len(page.table("Scores of each class")) == 61


# ---- words ----


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (9999.4, "9999"),
        (9999.6, "10,000"),
        (-9999.6, "-10,000"),
        (123456.7, "123,457"),
        (1e15, "1e+15"),
        (0.00012344, "0.0001234"),
        (10**400, str(10**400)),
        (float("inf"), "infinite"),
        (float("nan"), "NaN"),
        (None, "–"),
        (1234567, "1,234,567"),
    ],
)
def test_a_number_has_four_digits_as_it_is_read(value: Any, said: str) -> None:
    assert words.number(value) == said


def test_a_rate_that_rises_and_falls_is_told_with_its_peak(tmp_path: Path) -> None:
    history(loss=[4.0, 3.0, 2.0, 1.0], learning_rate=[1e-4, 1e-2, 1e-3, 1e-6]).save_csv(tmp_path / "history.csv")
    page = report(tmp_path, out=tmp_path / "report.html")
    assert page.text("*[@id='curve-1-words']") == "0.0001 to 1e-06, the highest 0.01 in epoch 2."
    assert [page.plot(f"curve-{i}")["kind"] for i in range(2)] == ["metric", "rate"]


def test_a_metric_may_have_any_name(tmp_path: Path) -> None:
    names = ['at "5"', "top 5-head", "<b>&", "learning rate"]
    history(**{name: [1.0, 2.0] for name in [*names, "loss"]}).save_csv(tmp_path / "history.csv")
    page = report(tmp_path, out=tmp_path / "report.html")
    titles = {div.get("id"): page.text(f"*[@id='{div.get('id')}-head']") for div in page.all("div[@class='plot']")}
    expected = ["Loss", 'At "5"', "Top 5-head", "<b>&", "Learning rate"]
    assert titles == {f"curve-{i}": name for i, name in enumerate(expected)}
    assert page.plot("curve-3")["layout"]["yaxis"]["title"]["text"] == "&lt;b>&amp;"  # plotly takes tags for orders


def test_a_run_of_one_epoch_is_drawn_as_points(tmp_path: Path) -> None:
    history(loss=[2.0], val_loss=[3.0]).save_csv(tmp_path / "history.csv")
    page = report(tmp_path, out=tmp_path / "report.html")
    assert [(trace["mode"], trace["y"]) for trace in page.plot("curve-0")["data"]] == [
        ("lines+markers", [2.0]),
        ("lines+markers", [3.0]),
    ]
    assert page.text("*[@id='curve-0-words']") == "2 in training; 3 in validation."
    assert page.table("1 epoch.") == [["epoch", "loss", "validation loss"], ["1", "2", "3"]]


def test_a_long_history_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    real = run_module.numbers
    monkeypatch.setattr(run_module, "numbers", lambda record: looked.append(record) or real(record))
    history(loss=EASY, accuracy=EASY, val_loss=EASY).save_csv(tmp_path / "history.csv")
    report(tmp_path, out=tmp_path / "report.html")
    assert len(looked) == len(EASY)


# ---- what there is to notice ----


def run_of(history: train.History, **metrics: Any) -> Run:
    return Run(Path("run"), "run", history=history, metrics=metrics)


EASY = [1 / epoch for epoch in range(1, 101)]


@pytest.mark.parametrize(
    ("run", "level", "said"),
    [
        (
            run_of(history(loss=[1.0, 0.5, float("nan")])),
            "warning",
            "Diverged: the loss is NaN or infinite from epoch 3 on",
        ),
        (
            run_of(history(loss=EASY), stopped_early="the loss became NaN or infinite at step 7"),
            "warning",
            "Diverged: the loss became NaN or infinite at step 7.",
        ),
        (run_of(history(loss=EASY), stopped_early="interrupted"), "note", "Ended before its time: interrupted."),
        (
            run_of(history(loss=[1.0, float("nan"), 0.5, float("inf"), 0.4])),
            "warning",
            "Diverged: the loss is NaN or infinite in epoch 2 and 1 later epoch.",
        ),
        (run_of(history(loss=EASY), best_epoch=90), "note", "The weights are those of epoch 90 of 100, the best."),
        (
            run_of(history(loss=[0.05, 0.0498, 0.0497, 0.04975])),
            "note",
            "loss has hardly fallen after the first epoch, from 0.05 to no less than 0.0497 (by less than 1%).",
        ),
        (run_of(history(loss=[1.0, 0.1, 0.5])), "note", "ended at 0.5, above its best of 0.1 in epoch 2"),
        (
            run_of(history(loss=[1.0, 0.5, 0.25], val_loss=[1.0, 0.4, 0.5])),
            "note",
            "from epoch 2 on the validation loss rose from 0.4 to 0.5, while the training loss fell from 0.5 to 0.25",
        ),
        (
            run_of(history(loss=EASY)),
            "note",
            "training loss was still falling at the end, by 10% over the last 10 epochs",
        ),
    ],
)
def test_a_course_that_is_not_as_it_should_be_is_noticed(run: Run, level: str, said: str) -> None:
    assert [finding.level for finding in findings.findings(run) if said in finding.text] == [level]


@pytest.mark.parametrize("lost", [float("inf"), float("nan")])
def test_a_training_loss_that_is_lost_is_not_taken_for_one_that_falls(lost: float) -> None:
    (found,) = findings.findings(run_of(history(loss=[1.0, 0.5, lost], val_loss=[1.0, 0.4, 0.6])))
    assert found.text.startswith("Diverged")


def test_nothing_is_noticed_in_a_good_course() -> None:
    flat = [0.1 + 0.9**epoch for epoch in range(100)]
    assert findings.findings(run_of(history(loss=flat, val_loss=[1.02 * loss for loss in flat]))) == []
    assert findings.findings(run_of(train.History())) == findings.findings(run_of(history(loss=[0.1]))) == []


def recording(**course: Callable[[float], float]) -> train.Recording:
    """Of Linear, ReLU, Linear over ten moments t from 0 to 1."""
    usual = {"first": 0.1, "last": 0.1, "dead": 0.0, "size": 0.5}
    records = []
    for step in range(10):
        now = {name: course[name](step / 9) if name in course else value for name, value in usual.items()}
        layers = [
            {"name": name, "layer": kind, "mean": 0.0, "std": 1.0, "dead": dead, "gradient": slope, "parameters": own}
            for name, kind, dead, slope, own in (
                ("0", "Linear(2, 8)", 0.0, now["first"], {"0.weight": {"mean_abs": 0.5, "gradient_norm": 1.0}}),
                ("1", "ReLU()", now["dead"], now["first"], {}),
                ("2", "Linear(8, 3)", 0.0, now["last"], {"2.weight": {"mean_abs": now["size"], "gradient_norm": 1.0}}),
            )
        ]
        records.append({"step": step, "epoch": float(step), "layers": layers})
    return train.Recording(records)


@pytest.mark.parametrize(
    ("seen", "level", "said"),
    [
        (recording(), "good", "Few or no dead units"),
        (recording(dead=lambda t: 0.2 * t), "note", "20% of the units of layer 1 (ReLU)"),
        (recording(dead=lambda t: 0.75 * t), "warning", "75% of the units of layer 1 (ReLU)"),
        (
            recording(first=lambda t: 1e-5),
            "warning",
            "vanish on their way back: at layer 0 they are 1/10,000 of those at",
        ),
        (
            recording(first=lambda t: 1e-5 if t else 0.1),  # one look in which they do not vanish changes nothing
            "warning",
            "vanish on their way back: at layer 0 they are 1/10,000 of those at",
        ),
        (
            recording(first=lambda t: 1e3),
            "warning",
            "Gradients explode on their way back: at layer 0 they are 10,000 times",
        ),
        (recording(first=lambda t: 0.0), "warning", "No gradient reaches layer 0"),
        (
            recording(first=lambda t: 0.0, last=lambda t: 0.0),
            "warning",
            "The gradient at layer 2, the last with weights, is 0 in all records",
        ),
        (
            recording(first=lambda t: 1 - t, last=lambda t: 1 - t),
            "warning",
            "The gradient at layer 2, the last with weights, is 0 at the end",
        ),
        (recording(size=lambda t: 0.5 + 6 * t), "note", "mean |W| is 13 times its start in layer 2 (Linear(8, 3))"),
    ],
)
def test_the_health_of_the_layers_is_said_in_words(seen: train.Recording, level: str, said: str) -> None:
    found = health.findings(seen)
    assert len(found) == 1 and found[0].level == level and said in found[0].text


@pytest.mark.parametrize("unknown", [("first", "last", "dead", "size"), ("first", "last"), ("dead",), ("size",)])
def test_a_layer_that_nothing_is_known_of_is_not_called_good(unknown: tuple[str, ...]) -> None:
    seen = recording(**dict.fromkeys(unknown, lambda t: float("nan") if t else 0.5))
    assert health.findings(seen) == [] and "not known" in {row.words for row in health.layers(seen)}
    assert health.findings(train.Recording()) == health.layers(train.Recording()) == []


def test_a_layer_without_a_gradient_is_not_called_usual() -> None:
    assert [row.words for row in health.layers(recording(first=lambda t: 0.0))] == ["no gradient"] * 2 + [
        "nothing unusual"
    ]


def test_a_model_of_one_layer_has_a_layer_without_a_name(tmp_path: Path) -> None:
    X, y = data.xor()
    trainer = train.Trainer(nn.Linear(2, 1), nn.SigmoidBinaryCrossEntropy(), optim.Adam(0.05), backend="numpy")
    recorder = train.Recorder()
    trainer.fit(X, y + 0, epochs=3, callbacks=[recorder], progress=False)
    train.save_run(tmp_path, trainer, recording=recorder.recording)
    assert [finding.level for finding in health.findings(recorder.recording)] == ["good"]
    words = report(tmp_path, out=tmp_path / "r.html").text("*[@id='layers-0-gradient-words']")
    assert words.endswith(" in the layer.") and words.count(" to ") == 1


# ---- several runs ----


def test_runs_are_compared_where_they_have_the_same(compared: Page) -> None:
    head, *rows = compared.table("The runs side by side")
    cells = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert list(cells) == ["spiral", "slow", "tumours", "xor"]
    assert cells["spiral"]["Test loss"].startswith("★") and cells["spiral"]["Test loss"].endswith("(best)")
    assert "★" not in cells["slow"]["Test loss"] and cells["tumours"]["Test loss"] == "–"
    assert cells["tumours"]["Best validation accuracy"] == cells["xor"]["Best validation loss"] == "–"
    assert [cells[name]["Epochs"] for name in cells] == ["30", "10", "4", "100"]
    curve = compared.plot("curve-1")
    names = [trace["name"] for trace in curve["data"] if trace["mode"] != "markers"]
    assert names == [
        "spiral, training",
        "spiral, validation",
        "slow, training",
        "slow, validation",
        "tumours, training",
    ]
    assert "Not measured in xor." in compared.text("*[@id='curve-1-words']")
    symbols = {trace["name"]: trace["marker"]["symbol"] for trace in curve["data"]}
    assert len({symbols[f"{name}, training"] for name in ("spiral", "slow", "tumours")}) == 3


def test_what_differs_between_settings_is_marked(compared: Page) -> None:
    rows = {row[0]: row[1:] for row in compared.table("Configuration.")}
    assert rows["≠ optimizer (differs)"] == ["Adam(lr=0.05)", "Adam()", "Adam(lr=0.003)", "Adam(lr=0.05)"]
    assert rows["dtype"] == ["float32"] * 4


def test_settings_that_differ_beyond_the_digits_shown_are_told_apart() -> None:
    def told(*values: Any) -> tuple[list[str], bool]:
        ((_, rows),) = settings([Run(Path(), "", about={"configuration": {"l2": value}}) for value in values])
        return rows[0].values, rows[0].differs

    assert told(0.00012344, 0.00012341) == (["0.00012344", "0.00012341"], True)
    assert told(0.00012344, 0.00012344) == (["0.0001234", "0.0001234"], False)
    assert told(1, 1.0) == (["1", "1"], False)
    assert told([0.00012344, None], [0.00012341, None]) == (["0.00012344 and –", "0.00012341 and –"], True)
    assert told("", {}) == (["–", "–"], False)


def test_runs_of_one_name_are_told_apart_and_a_run_given_twice_is_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fast/run", "slow/run", "other"):
        shutil.copytree(folder / "xor", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    found = read_all(["fast/run", Path("slow") / "run", tmp_path / "other", tmp_path / "fast/../fast/run"])
    assert [run.name for run in found] == ["fast/run", "slow/run", "other"]


# ---- what is missing or damaged ----


PARTS: dict[str, set[str]] = {
    "run.json": set(),
    "history.csv": set(),  # the model has it too
    "metrics.json": set(),
    "model.safetensors": {"boundary"},
    "results.safetensors": {"boundary", "decisions"},
    "recording.json": {"layers"},
    "snapshots.safetensors": set(),
}
"""The files of a run, and the parts of the page that there cannot be without them."""


@pytest.mark.parametrize("content", [b"\xff\xfe\x00{[", b'{"a": [1, 2'], ids=["binary", "cut"])
@pytest.mark.parametrize("name", PARTS)
def test_a_damaged_file_is_named_and_the_rest_is_shown(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    page = report(copy, out=copy / "report.html")
    assert name in page.text("div[@class='problems']")
    whole = {"summary", "curves", "decisions", "boundary", "layers", "settings", "epochs"}  # nothing is missing
    assert {section.get("id") for section in page.all("section")} == whole - PARTS[name]
    # What stands for what the file does not tell any more.
    assert (page.text("h1") == "spiral") == (name == "run.json")
    assert ("On the test data" in page.text("section[@id='summary']")) == (name != "metrics.json")
    still = {"recording.json", "snapshots.safetensors"} | {each for each in PARTS if "boundary" in PARTS[each]}
    assert len(page.all("div[@class='player']")) == (name not in still)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "run.json",
            {"title": 3, "configuration": [1], "environment": {"backend": {"a": None}}, "data": {"classes": 7}},
        ),
        ("run.json", {"configuration": {"steps": "many", "parameters": None, "model": {}}, "data": {"classes": [1]}}),
        ("metrics.json", {"test_loss": "low", "confusion_matrix": [[1, 2], [3]], "best_epoch": [], "seconds": "x"}),
        ("metrics.json", {"confusion_matrix": [[0, 0], [0, 0]], "stopped_early": 3, "test_accuracy": None}),
        ("metrics.json", {"confusion_matrix": [[0.9, 0.1], [0.2, 0.8]]}),
        ("metrics.json", {"confusion_matrix": [[1e300, 0], [0, 1e300]]}),
        (
            "run.json",
            {"configuration": {"seed": 10**400}, "environment": {"backend": "numpy", "device": None}, "data": {}},
        ),
        ("recording.json", {"format": "mlp_xp recording 1", "records": [{"step": 0}]}),
        ("recording.json", {"format": "something else", "records": []}),
    ],
)
def test_json_of_another_kind_is_no_traceback(copy: Path, name: str, content: dict[str, Any]) -> None:
    (copy / name).write_text(json.dumps(content))
    page = report(copy, out=copy / "report.html")
    assert len(page.all("section")) >= 6
    if "confusion_matrix" in content:
        assert "confusion_matrix is no square of counts" in page.text("div[@class='problems']")
        assert len(page.table("Confusion matrix of the test data")) == 4  # of the outputs
    if "seed" in content.get("configuration", {}):
        assert str(10**400) in page.text("section[@id='settings']")
        assert page.text("p[@class='subtitle']") == "spiral · numpy"


def test_what_cannot_be_made_of_a_run_is_left_out_with_a_word(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("nothing there")

    makers = ("summary", "findings", "tiles", "epochs")
    for name in makers:
        monkeypatch.setattr(sections, name, fail)
    problems = report(copy, out=copy / "report.html").text("div[@class='problems']")
    for what in ("the summary", "what there is to notice", "the figures", "the epochs"):
        assert f"{what} cannot be shown: 'nothing there'" in problems


def test_a_text_that_is_no_utf_8_does_not_cost_the_report(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    about = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(about | {"title": "bad \ud800"}))
    assert report(copy, out=copy / "report.html").text("h1") == "bad ?"
    latin = Path(copy.rename(copy.parent / os.fsdecode(b"caf\xe9")))
    assert command(latin) == 0 and (latin / "report.html").exists()


def test_results_of_another_model_are_no_traceback(copy: Path, folder: Path) -> None:
    shutil.copy(folder / "tumours" / "model.safetensors", copy)
    page = report(copy, out=copy / "report.html")
    assert "the plane cannot be shown" in page.text("div[@class='problems']")


def test_a_damaged_history_is_replaced_by_that_of_the_model(copy: Path) -> None:
    lines = (copy / "history.csv").read_text().splitlines()
    (copy / "history.csv").write_text("\n".join([*lines[:4], "4,0.1", *lines[5:]]))
    page = report(copy, out=copy / "report.html")
    assert "history.csv, line 5" in page.text("div[@class='problems']")
    assert len(page.plot("curve-0")["data"][0]["x"]) == 30


def test_a_run_that_was_killed_has_a_history_only(copy: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    whole = (copy / "history.csv").read_text()
    (killed / "history.csv").write_text(whole[: whole.rindex(",")])  # while a line was written
    page = report(killed, out=tmp_path / "report.html")
    assert page.text("h1") == "killed" and "run.json is missing" in page.text("div[@class='problems']")
    assert len(page.plot("curve-0")["data"][0]["x"]) == 29
    sections = [section.get("id") for section in page.all("section")]
    assert sections == ["summary", "curves", "epochs", "missing"]
    assert "train.Recorder()" in page.text("section[@id='missing']")
    assert "There are no outputs for test data" in page.text("section[@id='missing']")


def test_losses_that_are_no_numbers_are_gaps(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    history(loss=[2.0, 1.0, inf, nan], val_loss=[nan] * 4, accuracy=[0.1, nan, 0.3, nan]).save_csv(
        tmp_path / "history.csv"
    )
    page = report(tmp_path, out=tmp_path / "report.html")
    assert page.plot("curve-0")["data"][0]["y"] == [2.0, 1.0, None, None]
    assert "Diverged: the loss is NaN or infinite from epoch 3 on." in page.text("section[@id='summary']")
    cells = [cell for row in page.table("4 epochs")[1:] for cell in row]
    assert "NaN" in cells and "infinite" in cells


def test_a_run_without_an_epoch_is_reported(folder: Path, tmp_path: Path) -> None:
    trainer = train.Trainer.load(folder / "xor" / "model.safetensors", backend="numpy")
    train.save_run(tmp_path, train.Trainer(trainer.model, trainer.loss, backend="numpy"), title="nothing yet")
    page = report(tmp_path, out=tmp_path / "report.html")
    assert "No epoch was recorded" in page.text("section[@id='missing']") and not page.all("section[@id='curves']")


# ---- the command ----


def command(*arguments: object) -> int:
    return cli.main(["report", *map(str, arguments)])


def test_by_default_it_stands_in_the_run_folder_or_for_several_in_the_current_one(
    copy: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(copy) == 0
    assert capsys.readouterr().out.strip() == str(copy / "report.html")
    monkeypatch.chdir(tmp_path)
    assert command(copy, folder / "xor") == 0
    assert capsys.readouterr().out.strip() == "report.html"
    assert "2 runs compared" in Page((tmp_path / "report.html").read_text()).text("h1")


def test_an_earlier_report_is_overwritten_and_nothing_else(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(copy) == command(copy) == 0
    other = copy / "other.html"
    other.write_text("<html>mine</html>")
    assert command(copy, "--out", other) == 1
    assert "is no report of mlp_xp; choose another --out" in capsys.readouterr().err
    assert other.read_text() == "<html>mine</html>"
    assert {path.name for path in copy.iterdir()} == {*PARTS, "report.html", "other.html"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "there is no folder nowhere; a run folder comes from train.save_run"),
        (["empty"], "empty is no run, it holds none of run.json, history.csv, metrics.json, model.safetensors;"),
        (["file.txt"], "file.txt is a file; give the folder"),
        (["above"], "did you mean above/a, above/b?"),
        (["ruined"], "nothing in ruined can be read: history.csv, line 1: there is no column 'epoch'"),
        (["spiral", "nowhere"], "there is no folder nowhere"),
        (["spiral", "--out", "no/such/report.html"], "cannot write no/such/report.html: there is no folder no/such"),
        (["spiral", "--out", "empty"], "empty is a folder; give --out a file, such as empty/report.html"),
        (["spiral", "--out", "/proc/report.html"], "cannot write /proc/report.html"),
    ],
)
def test_what_a_user_can_mend_is_said_in_one_line(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    root = copy.parent
    monkeypatch.chdir(root)
    for name in ("empty", "above/a", "above/b", "ruined"):
        (root / name).mkdir(parents=True)
    for name in ("above/a", "above/b"):
        shutil.copy(copy / "history.csv", root / name)
    (root / "ruined" / "history.csv").write_text("rubbish\n1\n")
    (root / "ruined" / "run.json").write_text("{")
    (root / "file.txt").touch()
    assert command(*arguments) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and said in shown.err and shown.err.count("\n") == 1
    assert shown.out == "" and not list(root.rglob("*.html*"))


@pytest.mark.parametrize("library", ["plotly", "jinja2"])
def test_a_missing_library_is_named_with_the_remedy(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], library: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    assert command(copy) == 1
    assert "pip install 'mlp-xp[report]'" in capsys.readouterr().err


def test_the_help_has_examples_and_a_folder_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in ((["--help"], 0), ([], 2)):
        with pytest.raises(SystemExit) as stopped:
            command(*arguments)
        assert stopped.value.code == code
    assert "mlp-xp report runs/spiral" in capsys.readouterr().out.partition("example:")[2]
