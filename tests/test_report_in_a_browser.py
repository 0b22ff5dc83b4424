"""The report as a reader has it: in Chromium, headless, from a file. Run with -m browser."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import runs

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from mlp_xp import train
from mlp_xp.viz.report import write_report

pytestmark = pytest.mark.browser

FLAGS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
    *("disable-component-update", "disable-sync", "window-size=1200,900", "force-prefers-reduced-motion"),
    "blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",  # a mouse
)
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}


class Reader:
    """Somebody with a browser, who opens reports. The first curve, curve-0, is the loss."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, path: Path) -> None:
        """Open a page and wait until every plot is drawn."""
        self.driver.get(path.as_uri())
        self.until("return document.documentElement.dataset.drawn === 'all'")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str, *arguments: Any) -> None:
        WebDriverWait(self.driver, 30, 0.05).until(lambda _: self.run(script, *arguments))

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def devtools(self, command: str, **arguments: Any) -> dict[str, Any]:
        return self.driver.execute_cdp_cmd(command, arguments)

    def prefers(self, scheme: str) -> None:
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def visible(self, plot: str) -> list[bool]:
        """Which traces of a plot are seen."""
        return self.run("return document.getElementById(arguments[0])._fullData.map((t) => t.visible === true)", plot)

    def curve(self, plot: str, trace: int = 0) -> list[float]:
        return self.run("return [...document.getElementById(arguments[0])._fullData[arguments[1]].y]", plot, trace)

    def axis(self, plot: str, which: str) -> dict[str, Any]:
        script = "const { type, range } = document.getElementById(arguments[0])._fullLayout[arguments[1]];"
        return self.run(f"{script} return {{ type, range }}", plot, f"{which}axis")

    def ground(self) -> str:
        """The classified plane as it is drawn."""
        return self.run("return document.querySelector('#plane-0 .heatmaplayer image').getAttribute('href')")

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def asked_for(self) -> set[str]:
        """What kinds of addresses were asked for."""
        events = [entry["message"] for entry in self.driver.get_log("performance")]
        sent = [event for event in events if "Network.requestWillBeSent" in event]
        return {event.split('"documentURL"')[1].split('"url":"')[1].split(":")[0] for event in sent}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.fail("-m browser needs chromium and chromedriver: on Debian, apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture
def reader(driver: webdriver.Chrome) -> Iterator[Reader]:
    """A browser as it is at the start."""
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    driver.get("about:blank")
    for log in ("browser", "performance"):
        driver.get_log(log)  # what is read is gone
    yield Reader(driver)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    makers: dict[str, Callable[[Path], Any]] = {
        "spiral": runs.spiral,
        "slow": lambda folder: runs.spiral(folder, rate=0.001, epochs=12, data={"of_" * 20 + "some": "data"}),
        "tumours": runs.tumours,
        "xor": runs.xor,
    }
    for name, make in makers.items():
        make(root / name)
    single = {name: write_report(root / name) for name in makers}
    return single | {"compared": write_report([root / name for name in makers], root / "compared.html")}


NAMES = ('at "5"', "top 5", "<b>it's</b> & more")
"""Of metrics. Taken for anything else they would break a page."""
RUNS = ("<b>the one &amp; only", "<i>another")
CLASSES = ['<a href="https://example.org">link</a>', "%{x} &lt; <b>5</b>"]


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two runs with names as nobody should give them."""
    root = tmp_path_factory.mktemp("awkward")
    for run in RUNS:
        runs.xor(root / run)
        history = train.History.load_csv(root / run / "history.csv")
        records = [record | dict.fromkeys(NAMES, 1 / record["epoch"]) for record in history]
        train.History(records).save_csv(root / run / "history.csv")
        about = json.loads((root / run / "run.json").read_text())
        about["data"]["classes"] = CLASSES
        (root / run / "run.json").write_text(json.dumps(about))
    return write_report([root / run for run in RUNS], root / "report.html")


def moment(reader: Reader) -> str:
    return reader.one(".player output").text


@pytest.mark.parametrize("name", ["spiral", "tumours", "xor", "compared"])
def test_it_loads_without_complaint_or_network_and_every_plot_is_drawn(
    reader: Reader, pages: dict[str, Path], name: str
) -> None:
    reader.open(pages[name])
    assert reader.complaints() == []
    assert reader.asked_for() <= {"file", "data", "blob"}
    plots = reader.all(".plot")
    assert len(plots) >= 3
    for plot in plots:
        assert plot.find_elements(By.CSS_SELECTOR, ".main-svg .xtick, .main-svg .x2tick")
        assert plot.find_elements(By.CSS_SELECTOR, ".scatterlayer .trace path")
        assert plot.size["width"] > 200 and plot.size["height"] > 150


def test_names_are_shown_as_they_are_given(reader: Reader, awkward: Path) -> None:
    reader.open(awkward)
    assert reader.complaints() == []
    plots = reader.all(".plot")
    assert all(plot.find_elements(By.CSS_SELECTOR, ".scatterlayer .trace path") for plot in plots)
    for name in NAMES:
        (place,) = [i for i, head in enumerate(reader.all("#curves h3")) if head.text.lower() == name]
        (title,) = reader.all(f"#curve-{place} .ytitle")
        assert title.text == name
    assert reader.one("#plane-0 .cbtitle").text == f"probability of {CLASSES[1]} [%]"
    plot = reader.one("#curve-0")
    reader.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    ActionChains(reader.driver).move_to_element(plot).perform()
    reader.until("return document.querySelector('#curve-0 .hoverlayer').textContent.includes('training')")
    assert all(f"{run}, training : " in reader.one("#curve-0 .hoverlayer").text for run in RUNS)
    for number, name in enumerate(CLASSES):
        point = {"curveNumber": number + 1, "pointNumber": 0}
        reader.run("Plotly.Fx.hover('plane-0', [arguments[0]])", point)
        reader.until("return document.querySelector('#plane-0 .hoverlayer').textContent.endsWith(arguments[0])", name)
    assert reader.all(".plot svg a") == []


def test_a_plot_that_cannot_be_drawn_leaves_the_others_alone(
    reader: Reader, pages: dict[str, Path], tmp_path: Path
) -> None:
    text = pages["spiral"].read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    head, data, rest = text.partition('data-of="curve-1">{"data":')
    assert data
    broken.write_text(f'{head}{data}[{{"x": 1, "y": 1, "meta": {{"keys": 1}}}}], "was":{rest}', encoding="utf-8")
    reader.open(broken)
    (complaint,) = reader.complaints()
    assert 'The plot \\"Accuracy\\" cannot be drawn' in complaint
    undrawn = [plot.get_attribute("id") for plot in reader.all(".plot") if not plot.text.strip()]
    assert undrawn == ["curve-1"]
    reader.one("[data-log]").click()
    assert reader.axis("curve-0", "y")["type"] == "log"


def test_the_slider_moves_the_boundary_by_mouse_and_keyboard(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["spiral"])
    end, slider = reader.ground(), reader.one(".player input")
    assert moment(reader).startswith("epoch 30:")
    slider.send_keys(Keys.ARROW_LEFT)
    assert moment(reader).startswith("epoch 29:") and slider.get_attribute("aria-valuetext") == moment(reader)
    slider.send_keys(Keys.HOME)
    assert moment(reader).startswith("epoch 0:") and reader.ground() != end
    ActionChains(reader.driver).move_to_element_with_offset(slider, slider.size["width"] // 2 - 2, 0).click().perform()
    assert moment(reader).startswith("epoch 30:") and reader.ground() == end


def test_it_plays_pauses_and_ends(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["slow"])
    end, button = reader.ground(), reader.one(".player button")
    button.click()
    assert button.text == "Pause" and moment(reader).startswith("epoch 0:")
    reader.until("return document.querySelector('.player input').value >= 3")
    button.send_keys(Keys.SPACE)
    assert button.text == "Play" and not moment(reader).startswith("epoch 12:") and reader.ground() != end
    button.click()
    reader.until("return document.querySelector('.player button').textContent === 'Play'")
    assert moment(reader).startswith("epoch 12:") and reader.ground() == end


def test_the_legend_hides_and_shows(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["compared"])
    before = reader.visible("curve-0")
    assert before == [True] * len(before)
    names = reader.run("return document.getElementById('curve-0')._fullData.map((trace) => trace.name)")
    reader.one("[data-key='run-1']").click()
    assert reader.visible("curve-0") == [not name.startswith("slow,") for name in names]
    reader.one("[data-key='part-validation']").send_keys(Keys.SPACE)
    shown = [name for name, seen in zip(names, reader.visible("curve-0"), strict=True) if seen]
    assert shown == [name for name in names if not name.startswith("slow,") and "validation" not in name]
    reader.one("[data-key='run-1']").click()
    reader.one("[data-key='part-validation']").click()
    assert reader.visible("curve-0") == before
    reader.one("[data-key='layer-0-2']").click()
    assert reader.visible("layers-0-gradient") == [True, False] and reader.visible("layers-1-gradient") == [True, True]


def test_curves_are_smoothed_and_their_axis_is_logarithmic_on_demand(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["spiral"])
    raw = reader.curve("curve-0")
    Select(reader.one("[data-smoothing]")).select_by_visible_text("medium")
    mean = seen = 0.0
    expected = []
    for value in raw:
        mean, seen = 0.9 * mean + 0.1 * value, 0.9 * seen + 0.1
        expected.append(mean / seen)
    assert reader.curve("curve-0", 1) == pytest.approx(expected)
    assert reader.curve("curve-0", 0) == raw  # faint behind
    Select(reader.one("[data-smoothing]")).select_by_visible_text("none")
    assert reader.curve("curve-0") == raw and len(reader.visible("curve-0")) == 3

    before = reader.axis("curve-0", "y")["type"]
    reader.one("[data-log]").click()
    assert {before, reader.axis("curve-0", "y")["type"]} == {"log", "linear"}
    assert reader.axis("curve-1", "y")["type"] == "linear"


def test_the_axis_of_another_curve_is_told_even_where_the_loss_has_no_logarithm(reader: Reader, tmp_path: Path) -> None:
    records = [{"epoch": t, "loss": 1 - t / 8, "mae": 10.0**-t, "mse": 1.0 + t, "rate": 0.1} for t in range(1, 9)]
    train.History(records).save_csv(tmp_path / "history.csv")
    reader.open(write_report(tmp_path))
    curves = [f"curve-{i}" for i in range(4)]  # loss, mae, mse, rate
    box = reader.one("[data-log]")
    assert box.find_element(By.XPATH, "..").text == "logarithmic axis"
    assert [reader.axis(curve, "y")["type"] for curve in curves] == ["linear", "log", "linear", "linear"]
    assert box.get_property("indeterminate")
    box.click()
    assert [reader.axis(curve, "y")["type"] for curve in curves] == ["linear", "log", "log", "linear"]
    assert box.is_selected() and not box.get_property("indeterminate")
    box.click()
    assert [reader.axis(curve, "y")["type"] for curve in curves] == ["linear"] * 4


def zoom(reader: Reader, plot: str) -> None:
    """Into the middle of a plot."""
    div = reader.one(f"#{plot}")
    reader.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", div)
    mouse = ActionChains(reader.driver).move_to_element(div).click_and_hold()
    mouse.move_by_offset(80, 40).move_by_offset(20, 10).release().perform()
    reader.until("return document.getElementById(arguments[0])._fullLayout.xaxis.range[0] > 5", plot)


def test_what_is_zoomed_stays_so(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["spiral"])
    zoom(reader, "curve-1")
    zoomed = [reader.axis("curve-1", which)["range"] for which in "xy"]
    reader.one("[data-key='part-validation']").click()
    assert reader.visible("curve-1") == [True, False, True]
    assert [reader.axis("curve-1", which)["range"] for which in "xy"] == zoomed


def test_after_a_zoom_another_scale_shows_what_is_drawn(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["spiral"])
    zoom(reader, "curve-0")
    across = reader.axis("curve-0", "x")["range"]
    drawn = [value for trace in range(3) for value in reader.curve("curve-0", trace)]
    for _ in range(2):
        reader.one("[data-log]").click()
        axis = reader.axis("curve-0", "y")
        low, high = (10**end if axis["type"] == "log" else end for end in axis["range"])
        assert low < min(drawn) and max(drawn) < high
        assert high < 2 * max(drawn)  # and no more
        assert reader.axis("curve-0", "x")["range"] == across


def test_a_point_under_the_mouse_is_told(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["spiral"])
    plot = reader.one("#curve-0")
    reader.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    ActionChains(reader.driver).move_to_element(plot).perform()
    reader.until("return document.querySelector('#curve-0 .hoverlayer').textContent.includes('training')")


def test_runs_are_sorted_by_a_column(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["compared"])

    def order() -> list[str]:
        return [cell.text for cell in reader.all(".sortable tbody th")]

    (head,) = [head for head in reader.all(".sortable thead th") if head.text.startswith("Epochs")]
    button = head.find_element(By.TAG_NAME, "button")
    button.send_keys(Keys.ENTER)
    assert order() == ["tumours", "slow", "spiral", "xor"] and head.get_attribute("aria-sort") == "ascending"
    button.click()
    assert order() == ["xor", "spiral", "slow", "tumours"] and head.get_attribute("aria-sort") == "descending"
    (head,) = [head for head in reader.all(".sortable thead th") if head.text.startswith("Test loss")]
    for _ in range(2):
        head.find_element(By.TAG_NAME, "button").click()
        assert set(order()[-2:]) == {"tumours", "xor"}  # of which there is no number: at the end either way


def test_the_keyboard_reaches_every_control_and_the_focus_is_seen(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["spiral"])
    controls = "a[href], input, select, button, summary, [tabindex='0']"
    wanted = reader.run(
        f'return [...document.querySelectorAll("{controls}")].filter((e) => e.checkVisibility()).length'
    )
    reached = []
    for _ in range(wanted):
        ActionChains(reader.driver).send_keys(Keys.TAB).perform()
        focus = reader.driver.switch_to.active_element
        outline = focus.value_of_css_property("outline-style"), focus.value_of_css_property("outline-width")
        assert outline == ("solid", "3px"), focus.get_attribute("outerHTML")
        reached.append(focus.id)
    assert len(set(reached)) == wanted
    first = reader.one(".skip")
    assert reached[0] == first.id and "Skip" in first.get_attribute("textContent")


@pytest.mark.parametrize("name", ["spiral", "slow", "compared"])
def test_a_phone_shows_it_without_scrolling_sideways(reader: Reader, pages: dict[str, Path], name: str) -> None:
    reader.devtools("Emulation.setDeviceMetricsOverride", **PHONE)
    reader.devtools("Emulation.setTouchEmulationEnabled", enabled=True)
    reader.open(pages[name])
    assert reader.run("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    outside = "return [...document.querySelectorAll('main *')].filter((each) => !each.closest('.scroll') && "
    outside += "!each.closest('svg') && each.getBoundingClientRect().right > 361).map((each) => each.outerHTML)"
    assert reader.run(outside) == []
    assert all(150 < plot.size["width"] < 360 for plot in reader.all(".plot"))
    assert all(head.size["height"] < 70 for head in reader.all(".health thead"))  # two lines
    assert reader.run("return document.querySelector('.plot')._fullLayout.dragmode") is False  # a finger scrolls
    assert reader.complaints() == []


def test_it_turns_dark_with_the_browser(reader: Reader, pages: dict[str, Path]) -> None:
    reader.prefers("light")
    reader.open(pages["spiral"])

    def look() -> tuple[str, str, str, str]:
        page = reader.one("body").value_of_css_property("background-color")
        tick = reader.one("#curve-0 .xtick text").value_of_css_property("fill")
        curve = reader.one("#curve-0 .scatterlayer .lines path").value_of_css_property("stroke")
        return page, tick, curve, reader.ground()

    light = look()
    reader.prefers("dark")
    reader.until("return matchMedia('(prefers-color-scheme: dark)').matches")
    dark = look()
    assert all(before != after for before, after in zip(light, dark, strict=True))
    assert dark[2] == "rgb(75, 163, 219)" and light[2] == "rgb(0, 114, 178)"
    reader.prefers("light")
    reader.until("return !matchMedia('(prefers-color-scheme: dark)').matches")
    assert look() == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_printed_with_its_plots_on_white(reader: Reader, pages: dict[str, Path], scheme: str) -> None:
    reader.prefers(scheme)
    reader.open(pages["spiral"])
    reader.run(
        "addEventListener('beforeprint', () => { window.printed = [getComputedStyle(document.body).color,"
        "document.querySelector('#curve-0 .xtick text').style.fill, document.querySelector('details').open,"
        "document.querySelector('#curve-0 .main-svg').getAttribute('width')]; })"
    )
    pdf = base64.b64decode(reader.devtools("Page.printToPDF", printBackground=True)["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 50_000
    ink = "rgb(26, 33, 41)"
    assert reader.run("return window.printed") == [ink, ink, True, "320"]
    reader.until("return document.documentElement.className === ''")  # and then it is as before
    assert reader.one("#curve-0 .main-svg").size["width"] > 400


def runs_in_legend(reader: Reader) -> list[str]:
    return [label.text for label in reader.all("#curves fieldset:first-child label") if label.is_displayed()]


def test_paper_has_what_is_seen_and_afterwards_the_tables_are_as_before(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["compared"])
    tables = reader.all("details")
    tables[1].find_element(By.TAG_NAME, "summary").click()
    before = [table.get_property("open") for table in tables]
    assert before == [False, True, False, False]
    reader.one("[data-key='run-1']").click()
    reader.devtools("Emulation.setEmulatedMedia", media="print")
    reader.until("return document.documentElement.className === 'on-paper'")
    assert [table.get_property("open") for table in tables] == [True] * 4
    assert runs_in_legend(reader) == ["spiral", "tumours", "xor"]
    reader.devtools("Emulation.setEmulatedMedia", media="")
    reader.until("return document.documentElement.className === ''")
    assert [table.get_property("open") for table in tables] == before
    assert runs_in_legend(reader) == ["spiral", "slow", "tumours", "xor"]
