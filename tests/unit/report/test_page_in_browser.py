"""The page's script in a real browser, where one is installed."""

import pytest
from browser_kit import IN_A_BROWSER
from results_kit import typed

from raysel.report.page import write_report

pytestmark = IN_A_BROWSER


@pytest.fixture
def open_page(browser, results, tmp_path):
    def opened(**options):
        page = browser.new_page(**options)
        page.problems = []
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(write_report(typed(results), tmp_path).as_uri())
        return page

    return opened


def column(page, index):
    return page.eval_on_selector_all(
        "#trials tbody tr:not([hidden])",
        f"rows => rows.map(row => row.cells[{index}].textContent.trim())",
    )


def test_a_click_sorts_numbers_as_numbers_and_missing_ones_last(open_page, results):
    results["trials"][3]["value"] = 10.5  # as text it would stand before 2
    results["trials"][4]["value"] = 2.0
    page = open_page()
    page.click("#trials th:nth-child(4) button")
    up = column(page, 3)
    assert up[-1] == "–"
    assert [float(v) for v in up[:-1]] == sorted(float(v) for v in up[:-1])
    page.click("#trials th:nth-child(4) button")
    down = column(page, 3)
    assert down[-1] == "–"
    assert [float(v) for v in down[:-1]] == sorted((float(v) for v in down[:-1]), reverse=True)
    assert page.problems == []


def test_filters_narrow_the_rows(open_page):
    page = open_page()
    assert page.inner_text("#count") == "40 of 40"
    page.select_option("#by-strategy", "surgical")
    assert set(column(page, 1)) == {"surgical"}
    page.select_option("#by-strategy", "")
    page.fill("#words", "not finite")
    assert column(page, 0) == ["0011"]
    assert page.inner_text("#count") == "1 of 40"


def test_without_scripts_it_is_a_plain_table(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator("#trials tbody tr").count() == 40
    assert not page.locator("#filters").is_visible()


def test_nothing_spills_over_a_telephone(open_page):
    page = open_page(viewport={"width": 380, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_what_is_wider_than_a_telephone_scrolls_in_its_box_and_says_so(open_page):
    page = open_page(viewport={"width": 400, "height": 800})
    boxes = page.locator(".wide")
    wide = [box for box in boxes.all() if box.evaluate("b => b.scrollWidth > b.clientWidth + 1")]
    assert len(wide) > 10  # tables and figures
    for box in wide:
        assert box.evaluate("b => b.previousElementSibling.textContent").startswith(
            "scroll sideways"
        )
        assert box.evaluate("b => b.previousElementSibling.checkVisibility()")
        assert box.evaluate("b => getComputedStyle(b).maskImage").startswith("linear-gradient")
        box.evaluate("b => { b.scrollLeft = b.scrollWidth; }")
    page.wait_for_selector(".wide.more", state="detached")  # until none is left
    last = page.locator("#trials thead th").last.bounding_box()
    assert last["x"] + last["width"] <= 400  # the last column is in sight


def test_a_page_that_is_wide_enough_says_nothing_of_scrolling(open_page):
    page = open_page(viewport={"width": 1200, "height": 800})
    assert page.locator(".wide").count() > 10
    assert page.locator(".sideways.shown, .wide.more").count() == 0
    assert page.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_by_day_and_by_night(open_page, scheme):
    page = open_page(color_scheme=scheme)
    text, background = page.evaluate(
        """() => {
          const css = name => getComputedStyle(document.documentElement).getPropertyValue(name);
          return [css('--ink'), css('--card')];
        }"""
    )
    assert contrast(text.strip(), background.strip()) > 10
    tick = page.eval_on_selector("figure svg text", "text => getComputedStyle(text).fill")
    assert tick == "rgb({}, {}, {})".format(*(int(text.strip()[i : i + 2], 16) for i in (1, 3, 5)))


def contrast(one, other):
    """WCAG contrast of two colours `#rrggbb` or `#rgb`."""

    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
