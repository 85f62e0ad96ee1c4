"""The page in a real browser: no errors, no network, every control works, and it works without a script."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from classrob.reading.results import Results
from classrob.report import form, render

from .synthetic import Pretence, Threat, rows, write
from .test_report import SHAPES

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs Chromium and chromedriver, of which one is not on the path"
)
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)

Visit = Callable[..., webdriver.Chrome]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER or ""
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def page(name: str) -> Path:
        if name not in made:
            folder = write(tmp_path_factory.mktemp("run"), SHAPES[name])
            with Results.open(folder) as results:
                made[name] = folder / "report.html"
                made[name].write_text(render(results, rows(results)), "utf-8")
        return made[name]

    return page


@pytest.fixture
def visit(browser: webdriver.Chrome, pages: Callable[[str], Path]) -> Iterator[Visit]:
    """Open a page at a width; at the end the console must be empty and nothing may have been fetched."""

    def go(
        name: str, width: int = 1280, dark: bool = False, script: bool = True, place: str = ""
    ) -> webdriver.Chrome:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        browser.get("about:blank")
        browser.get(pages(name).as_uri() + place)
        return browser

    browser.get_log("browser")
    yield go
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert browser.get_log("browser") == []
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []


def shown(page: webdriver.Chrome, selector: str) -> list[str]:
    """The texts of the visible elements."""
    texts = [e.text for e in page.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]
    return [text.replace("\u2060", "") for text in texts]


def slide(page: webdriver.Chrome, *keys: str) -> None:
    page.find_element(By.CSS_SELECTOR, "#picker input").send_keys(*keys)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("width", [1280, 400])
def test_no_shape_scrolls_sideways_or_complains(visit: Visit, name: str, width: int) -> None:
    page = visit(name, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    assert len(shown(page, ".condition")) == 1
    assert page.execute_script("return window.broken") is None


def test_budget_slider_updates_every_number(visit: Visit) -> None:
    page = visit("ten")
    slide(page, Keys.END)
    with Results.open(
        write(Path(page.current_url.removeprefix("file://")).parent / "again", SHAPES["ten"])
    ) as results:
        wanted = {
            (r.metric, r.label): r
            for r in rows(results)
            if (r.model, r.threat, r.budget) == ("digits/standard", "linf", 0.4)
        }
    assert shown(page, "#picker output") == ["0.4"]
    assert shown(page, ".at") == ["At budget 0.4"]
    figure = shown(page, ".condition [data-figure='0']")[0]
    assert form.percent(wanted["accuracy", None].value) in figure
    table = {line.split()[0]: line for line in shown(page, ".classes tbody tr")}
    assert len(table) == 10
    for name, line in table.items():
        for metric in ("accuracy", "cfps", "cfns", "flip-rate"):
            assert form.percent(wanted[metric, name].value) in line
    right = shown(page, "[data-side='own'] .heat td.hit")
    assert [float(n or 0) for n in right] == [
        round((wanted["accuracy", str(i)].value or 0) * wanted["accuracy", str(i)].n) for i in range(10)
    ]
    assert shown(page, "[data-reading]")[0].startswith("At the largest budget, 0.4, ")


def test_conditions_are_chosen_and_linked(visit: Visit) -> None:
    page = visit("ten")
    Select(page.find_element(By.CSS_SELECTOR, "[data-part=model] select")).select_by_visible_text(
        "digits/adversarial"
    )
    Select(page.find_element(By.CSS_SELECTOR, "[data-part=threat] select")).select_by_visible_text(
        "corruption/fog"
    )
    assert shown(page, ".condition h3") == [
        "corruption/fog digits/adversarial on digits · 300 images, 10 classes"
    ]
    page = visit("ten", place="#c1")
    assert shown(page, ".condition h3") == ["linf · pgd digits/standard on digits · 300 images, 10 classes"]
    page.find_elements(By.CSS_SELECTOR, ".findings a")[1].click()
    assert shown(page, ".condition h3")[0].startswith("corruption/fog digits/standard")


def test_columns_sort(visit: Visit) -> None:
    page = visit("ten")
    names = [line.split()[0] for line in shown(page, ".classes tbody tr")]
    sort = next(
        b for b in page.find_elements(By.CSS_SELECTOR, ".condition.shown th button") if b.text == "Class"
    )
    sort.send_keys(Keys.ENTER)
    assert [line.split()[0] for line in shown(page, ".classes tbody tr")] == sorted(names)
    assert sort.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    sort.send_keys(Keys.ENTER)
    assert [line.split()[0] for line in shown(page, ".classes tbody tr")] == sorted(names, reverse=True)


def test_chart_classes_toggle_and_budgets_follow_the_arrow_keys(visit: Visit) -> None:
    page = visit("ten")
    chip = next(
        c for c in page.find_elements(By.CSS_SELECTOR, ".condition.shown button.chip") if c.text == "5"
    )
    line = page.find_element(By.CSS_SELECTOR, ".condition.shown .series[data-key='5']")
    assert "on" not in line.get_attribute("class").split()
    chip.send_keys(Keys.SPACE)
    assert chip.get_attribute("aria-pressed") == "true"
    assert "on" in line.get_attribute("class").split()
    plot = page.find_element(By.CSS_SELECTOR, ".condition.shown .plot")
    plot.send_keys(Keys.ARROW_RIGHT)
    assert shown(page, "#picker output") == ["0.2"]
    assert shown(page, "#tip")[0].startswith("budget 0.2\nAll classes: ")
    assert "\n5: " in shown(page, "#tip")[0]
    chip.send_keys(Keys.SPACE)
    assert "on" not in line.get_attribute("class").split()


def test_many_classes_are_searched_and_drawn(visit: Visit) -> None:
    page = visit("thousand")
    assert len(shown(page, ".classes tbody tr")) == 21
    search = page.find_element(By.CSS_SELECTOR, ".condition.shown .search input")
    search.send_keys("n0000077")
    assert len(shown(page, ".classes tbody tr")) == 10
    search.send_keys("zzz")
    assert shown(page, ".classes tbody tr") == ["no class is called that"]
    search.clear()
    search.send_keys(Keys.BACKSPACE)
    add = page.find_element(By.CSS_SELECTOR, ".condition.shown .add input")
    add.send_keys("n00000500", Keys.TAB)
    assert "n00000500" in shown(page, "button.chip[aria-pressed=true]")
    assert page.find_elements(By.CSS_SELECTOR, ".condition.shown .series.on[data-key='500'] path.line")


@pytest.mark.parametrize("dark", [False, True])
def test_theme_follows_the_system_and_the_button(visit: Visit, dark: bool) -> None:
    page = visit("ten", dark=dark)

    def background() -> str:
        return page.execute_script("return getComputedStyle(document.body).backgroundColor")

    before, button = background(), page.find_element(By.ID, "theme")
    assert button.text == ("Light colours" if dark else "Dark colours")
    button.click()
    assert background() != before
    button.click()
    assert background() == before


def test_keyboard_reaches_the_summary_first(visit: Visit) -> None:
    page = visit("ten")
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    link = page.switch_to.active_element
    assert link.text == "Skip to the summary"
    outline = page.execute_script("return getComputedStyle(arguments[0]).outlineStyle", link)
    assert outline == "solid"


def test_everything_essential_is_there_without_a_script(visit: Visit) -> None:
    page = visit("ten", script=False)
    assert len(page.find_elements(By.CSS_SELECTOR, ".condition")) == 6
    assert all(
        e.is_displayed()
        for e in page.find_elements(By.CSS_SELECTOR, ".condition, .classes, .heat, .condition .curve")
    )
    assert not page.find_element(By.ID, "picker").is_displayed()
    assert not page.find_element(By.ID, "theme").is_displayed()


def test_names_are_text_in_the_page(visit: Visit) -> None:
    page = visit("nasty")
    slide(page, Keys.ARROW_RIGHT)
    names = {
        e.get_attribute("title")
        for e in page.find_elements(By.CSS_SELECTOR, ".condition.shown .classes tbody th")
    }
    assert names == set(SHAPES["nasty"].classes)
    assert len(page.find_elements(By.TAG_NAME, "script")) == 3


def test_one_budget_needs_no_slider(visit: Visit) -> None:
    assert SHAPES["two"] == Pretence(
        SHAPES["two"].classes, {"net": 0.8}, threats=(Threat("linf", (8 / 255,)),)
    )
    page = visit("two")
    assert not page.find_element(By.CSS_SELECTOR, "[data-part=budget]").is_displayed()
    assert shown(page, ".at") == ["At budget 8/255"]


def read_csv(page: webdriver.Chrome, selector: str) -> list[list[str]]:
    text = page.execute_script("return report.csv(document.querySelector(arguments[0]))", selector)
    return list(csv.reader(io.StringIO(text)))


def test_every_table_sorts_and_is_downloaded(visit: Visit) -> None:
    page = visit("ten")
    tables = page.find_elements(By.CSS_SELECTOR, "main table")
    assert len(page.find_elements(By.CSS_SELECTOR, "main button.csv")) == len(tables)
    glance = page.find_element(By.CSS_SELECTOR, "table.glance")
    head = glance.find_elements(By.CSS_SELECTOR, "thead button")[2]

    def column() -> list[float]:
        cells = glance.find_elements(By.CSS_SELECTOR, "tbody tr td:nth-child(3) .v")
        return [float(cell.text.replace("\u202f%", "")) for cell in cells]

    for direction, reverse in (("ascending", False), ("descending", True)):
        head.send_keys(Keys.ENTER)
        assert column() == sorted(column(), reverse=reverse)
        assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == direction
    rows_ = read_csv(page, ".condition.shown table.classes")
    assert rows_[0][:2] == ["Class", "Clean accuracy"]
    assert [row[0] for row in rows_[1:]] == [str(i) for i in range(10)]
    assert {len(row) for row in rows_} == {len(rows_[0])}
    for button in page.find_elements(By.CSS_SELECTOR, "main button.csv")[:2]:
        button.send_keys(Keys.ENTER)


def test_downloads_hold_all_classes_and_no_formulas(visit: Visit) -> None:
    page = visit("thousand")
    assert len(read_csv(page, ".condition.shown table.classes")) == 1001
    page = visit("nasty")
    page.execute_script("""
        const table = document.createElement("table");
        table.innerHTML = "<tr><td></td><td></td><td></td><td></td></tr>";
        ["=1+1", "+cmd|x", "-5.2 pp", 'a,"b'].forEach((text, i) => { table.rows[0].cells[i].textContent = text; });
        table.id = "probe";
        document.querySelector("main").append(table);""")
    assert read_csv(page, "#probe") == [["'=1+1", "'+cmd|x", "-5.2 pp", 'a,"b']]
    names = {row[0] for row in read_csv(page, ".condition.shown table.classes")[1:]}
    assert "\"quoted\" & 'single'" in names


@pytest.mark.parametrize("width", [1280, 400])
def test_detectors_are_seen_to_fall(visit: Visit, width: int) -> None:
    page = visit("guarded", width, place="#detectors")
    assert shown(page, ".guarded .said li")[0].startswith("Detector “<i>msp</i>” falls at 2 of 2 budgets")
    lines = shown(page, ".guarded .areas tbody tr")
    assert len(lines) == 8
    assert [line.split()[0] for line in lines if line.endswith("falls")] == ["<i>msp</i>"] * 2
    grid = page.find_element(By.CSS_SELECTOR, ".guarded details")
    assert not grid.find_element(By.TAG_NAME, "table").is_displayed()
    grid.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert grid.find_element(By.TAG_NAME, "table").is_displayed()
    assert read_csv(page, ".guarded details table")[0] == [
        "True class",
        "<i>msp</i> against pgd",
        "<i>msp</i> evaded by evade/<i>msp</i>",
        "energy against pgd",
    ]
    Select(page.find_element(By.CSS_SELECTOR, "#chosen select")).select_by_visible_text("c")
    assert len(page.find_elements(By.CSS_SELECTOR, ".guarded tr.kept")) == 2


def test_a_class_is_highlighted_everywhere(visit: Visit) -> None:
    page = visit("ten")
    link = page.find_element(By.CSS_SELECTOR, ".condition.shown .classes tbody tr[data-class='0-3'] a")
    page.execute_script("arguments[0].focus()", link)
    for place in (".contest tr", ".condition.shown .classes tr", ".heat td", ".heat th", ".series", ".chip"):
        lit = page.find_elements(By.CSS_SELECTOR, f"{place}.lit")
        assert lit, place
        assert all("0-3" in node.get_attribute("data-class").split() for node in lit)
    page.execute_script("document.activeElement.blur()")
    assert not page.find_elements(By.CSS_SELECTOR, ".lit")
    Select(page.find_element(By.CSS_SELECTOR, "#chosen select")).select_by_visible_text("5")
    slide(page, Keys.END)
    kept = page.find_elements(By.CSS_SELECTOR, ".condition.shown .classes tr.kept")
    assert [row.get_attribute("data-class") for row in kept] == ["0-5"]
    Select(page.find_element(By.CSS_SELECTOR, "#chosen select")).select_by_visible_text("none")
    assert not page.find_elements(By.CSS_SELECTOR, ".kept")


def test_a_link_to_a_class_opens_its_page(visit: Visit) -> None:
    page = visit("ten")
    assert not page.find_element(By.CSS_SELECTOR, "#class-0-3 table").is_displayed()
    page.find_element(By.CSS_SELECTOR, ".condition.shown .classes tbody tr[data-class='0-3'] a").send_keys(
        Keys.ENTER
    )
    WebDriverWait(page, 10).until(
        lambda d: d.find_element(By.CSS_SELECTOR, "#class-0-3 table").is_displayed()
    )
    assert len(page.find_elements(By.CSS_SELECTOR, ".classpage")) == 10
    assert len(page.find_elements(By.CSS_SELECTOR, "#class-0-3 svg.curve")) == 2
    page = visit("thousand")
    assert len(page.find_elements(By.CSS_SELECTOR, ".classpage")) == 20
    box = page.find_element(By.CSS_SELECTOR, "#chosen input")
    box.send_keys(
        page.find_element(By.CSS_SELECTOR, ".condition.shown .classes tbody th").get_attribute("title")
    )
    assert len(page.find_elements(By.CSS_SELECTOR, ".condition.shown .classes tr.kept")) == 1


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_no_serious_fault(visit: Visit, width: int, dark: bool) -> None:
    kit = pytest.importorskip(
        "axe_playwright_python", reason="needs axe-playwright-python, which holds axe-core"
    )
    axe = (files(kit) / "axe.min.js").read_text("utf-8")
    page = visit("two", width, dark)
    page.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    page.execute_script(axe)
    page.set_script_timeout(100)
    found = page.execute_async_script(
        "const done = arguments[0];"
        "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => done(violations"
        ".filter((v) => ['serious', 'critical'].includes(v.impact))"
        ".map((v) => [v.id, v.nodes.map((n) => n.html.slice(0, 200))])))"
    )
    assert found == []
