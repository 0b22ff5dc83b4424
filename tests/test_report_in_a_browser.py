"""The report as a reader has it: in Chromium, headless, from a file. Run with -m browser."""

import base64
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

from mlp_xp.viz.report import write_report

pytestmark = pytest.mark.browser

FLAGS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
    *("disable-component-update", "disable-sync", "window-size=1200,900", "force-prefers-reduced-motion"),
    "blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",  # a mouse
)
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}


class Reader:
    """Somebody with a browser, who opens reports."""

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
        "slow": lambda folder: runs.spiral(folder, rate=0.001, epochs=12),
        "tumours": runs.tumours,
        "xor": runs.xor,
    }
    for name, make in makers.items():
        make(root / name)
    single = {name: write_report(root / name) for name in makers}
    return single | {"compared": write_report([root / name for name in makers], root / "compared.html")}


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


def test_the_slider_moves_the_boundary_by_mouse_and_keyboard(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["spiral"])
    end, slider = reader.ground(), reader.one(".player input")
    assert moment(reader).startswith("epoch 30:")
    slider.send_keys(Keys.ARROW_LEFT)
    assert moment(reader).startswith("epoch 29:") == (slider.get_attribute("aria-valuetext") == moment(reader))
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
    assert button.text == "Play" and moment(reader) != "epoch 12:" and reader.ground() != end
    button.click()
    reader.until("return document.querySelector('.player button').textContent === 'Play'")
    assert moment(reader).startswith("epoch 12:") and reader.ground() == end


def test_the_legend_hides_and_shows(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["compared"])
    before = reader.visible("curve-loss")
    assert before == [True] * len(before)
    names = reader.run("return document.getElementById('curve-loss')._fullData.map((trace) => trace.name)")
    reader.one("[data-key='run-1']").click()
    assert reader.visible("curve-loss") == [not name.startswith("slow,") for name in names]
    reader.one("[data-key='part-validation']").send_keys(Keys.SPACE)
    shown = [name for name, seen in zip(names, reader.visible("curve-loss"), strict=True) if seen]
    assert shown == [name for name in names if not name.startswith("slow,") and "validation" not in name]
    reader.one("[data-key='run-1']").click()
    reader.one("[data-key='part-validation']").click()
    assert reader.visible("curve-loss") == before
    reader.one("[data-key='layer-0-2']").click()
    assert reader.visible("layers-0-gradient") == [True, False] and reader.visible("layers-1-gradient") == [True, True]


def test_curves_are_smoothed_and_their_axis_is_logarithmic_on_demand(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["spiral"])
    raw = reader.curve("curve-loss")
    Select(reader.one("[data-smoothing]")).select_by_visible_text("medium")
    mean = seen = 0.0
    expected = []
    for value in raw:
        mean, seen = 0.9 * mean + 0.1 * value, 0.9 * seen + 0.1
        expected.append(mean / seen)
    assert reader.curve("curve-loss", 1) == pytest.approx(expected)
    assert reader.curve("curve-loss", 0) == raw  # faint behind
    Select(reader.one("[data-smoothing]")).select_by_visible_text("none")
    assert reader.curve("curve-loss") == raw and len(reader.visible("curve-loss")) == 3

    def axis() -> str:
        return reader.run("return document.getElementById('curve-loss')._fullLayout.yaxis.type")

    before = axis()
    reader.one("[data-log]").click()
    assert {before, axis()} == {"log", "linear"}
    assert reader.run("return document.getElementById('curve-accuracy')._fullLayout.yaxis.type") == "linear"


def test_what_is_zoomed_stays_so(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["spiral"])
    plot = reader.one("#curve-accuracy")
    reader.run("arguments[0].scrollIntoView({block: 'center'})", plot)
    mouse = ActionChains(reader.driver)
    mouse.move_to_element(plot).click_and_hold().move_by_offset(80, 40).move_by_offset(20, 10).release().perform()

    def shown() -> list[float]:
        return reader.run("return document.getElementById('curve-accuracy')._fullLayout.xaxis.range")

    reader.until("return document.getElementById('curve-accuracy')._fullLayout.xaxis.range[0] > 5")
    zoomed = shown()
    reader.one("[data-key='part-validation']").click()
    assert shown() == zoomed and reader.visible("curve-accuracy") == [True, False, True]


def test_a_point_under_the_mouse_is_told(reader: Reader, pages: dict[str, Path]) -> None:
    reader.open(pages["spiral"])
    plot = reader.one("#curve-loss")
    reader.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    ActionChains(reader.driver).move_to_element(plot).perform()
    reader.until("return document.querySelector('#curve-loss .hoverlayer').textContent.includes('training')")


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


@pytest.mark.parametrize("name", ["spiral", "compared"])
def test_a_phone_shows_it_without_scrolling_sideways(reader: Reader, pages: dict[str, Path], name: str) -> None:
    reader.devtools("Emulation.setDeviceMetricsOverride", **PHONE)
    reader.devtools("Emulation.setTouchEmulationEnabled", enabled=True)
    reader.open(pages[name])
    assert reader.run("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    outside = "return [...document.querySelectorAll('main *')].filter((each) => !each.closest('.scroll') && "
    outside += "!each.closest('svg') && each.getBoundingClientRect().right > 361).map((each) => each.outerHTML)"
    assert reader.run(outside) == []
    assert all(150 < plot.size["width"] < 360 for plot in reader.all(".plot"))
    assert reader.run("return document.querySelector('.plot')._fullLayout.dragmode") is False  # a finger scrolls
    assert reader.complaints() == []


def test_it_turns_dark_with_the_browser(reader: Reader, pages: dict[str, Path]) -> None:
    reader.prefers("light")
    reader.open(pages["spiral"])

    def look() -> tuple[str, str, str, str]:
        page = reader.one("body").value_of_css_property("background-color")
        tick = reader.one("#curve-loss .xtick text").value_of_css_property("fill")
        curve = reader.one("#curve-loss .scatterlayer .lines path").value_of_css_property("stroke")
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
        "document.querySelector('#curve-loss .xtick text').style.fill, document.querySelector('details').open,"
        "document.querySelector('#curve-loss .main-svg').getAttribute('width')]; })"
    )
    pdf = base64.b64decode(reader.devtools("Page.printToPDF", printBackground=True)["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 50_000
    ink = "rgb(26, 33, 41)"
    assert reader.run("return window.printed") == [ink, ink, True, "320"]
    reader.until("return document.documentElement.className === ''")  # and then it is as before
    assert reader.one("#curve-loss .main-svg").size["width"] > 400
