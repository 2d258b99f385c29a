"""The page as a person meets it, in a real browser where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.query import run_query, sandbox
from index.catalog import Catalog

from .browser import Browser

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = [
    pytest.mark.chromium,
    pytest.mark.skipif(not PROGRAM, reason="no chromium: install Debian's package"),
]
SHOWN = "found.map(row => [data.manifests[row[MANIFEST]].name, row[ID]])"


@pytest.fixture(scope="module")
def browser(page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(page, encoding="utf-8")
    with Browser(PROGRAM, folder / "profile") as opened:
        opened.open(folder / "report.html", 1440, "light")
        yield opened


def choose(browser: Browser, **values: str) -> None:
    """Set the filters of the table, and nothing else."""
    browser.ask("controls.reset(); controls.elements.manifest.value = ''; refresh()")
    for name, value in values.items():
        browser.ask(f"controls.elements.{name}.value = {value!r}")
    browser.ask("controls.dispatchEvent(new Event('input'))")


def test_nothing_of_the_crawl_runs_and_nothing_is_asked_for(browser: Browser) -> None:
    opened = "[...document.querySelectorAll('.pic')].slice(-40)"
    browser.ask(f"{opened}.forEach(pic => {{ detail(pic.dataset.image); dialog.close(); }})")
    browser.ask("[...byImage.keys()].forEach(id => tell(id, 0, 0))")
    assert browser.ask("window.harmed === undefined")
    assert browser.ask("document.scripts.length") == 2
    assert browser.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_is_no_wider_than_the_screen(
    browser: Browser, page: str, tmp_path: Path, width: int, scheme: str
) -> None:
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    browser.open(tmp_path / "report.html", width, scheme)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []


def edges(browser: Browser, strip: str) -> tuple[bool, bool]:
    """Tell of the left and the right edge of a strip, above its words, whether it is shaded."""
    box = browser.ask(
        f"(box => [box.left + scrollX, box.top + scrollY, box.width])"
        f"(document.querySelector('{strip}').getBoundingClientRect())"
    )
    left, top, width = (round(value) for value in box)
    row = browser.picture(left, top + 2, width, 1)
    ground = row.getpixel((width // 2, 0))
    return row.getpixel((1, 0)) != ground, row.getpixel((width - 2, 0)) != ground


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_strip_that_goes_on_is_shaded_where_it_does(
    browser: Browser, page: str, tmp_path: Path, scheme: str
) -> None:
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    browser.open(tmp_path / "report.html", 390, scheme)
    strip = "document.querySelector('.bar-nav ul')"
    assert browser.ask(f"{strip}.scrollWidth - {strip}.clientWidth") > 60
    found = []
    for place in (0, 30, 10_000):
        browser.ask(f"{strip}.scrollLeft = {place}")
        found.append(edges(browser, ".bar-nav ul"))
    assert found == [(False, True), (True, True), (True, False)]
    browser.open(tmp_path / "report.html", 1440, scheme)
    assert edges(browser, ".bar-nav ul") == (False, False)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"manifest": "0"},
        {"selected": "1"},
        {"selected": "0", "label": "1"},
        {"label": "0", "manifest": "1"},
        {"why": "0"},
        {"low": "0.5"},
        {"low": "0.25", "high": "0.75", "selected": "0"},
    ],
)
@pytest.mark.parametrize("order", [0, 2, 3, 4])
def test_the_copied_sql_gives_the_rows_of_the_table(
    browser: Browser, harmful: Catalog, filters: dict[str, str], order: int
) -> None:
    choose(browser, **filters)
    browser.ask(f"document.querySelectorAll('#ledger thead button')[{order}].click()")
    shown = browser.ask(SHOWN)
    with sandbox(harmful) as connection:
        answer = run_query(connection, browser.ask("find('sql').textContent"))
        rows = [row for batch in answer.batches for row in batch]
    assert [[row[0], str(row[1])] for row in rows] == shown
    if "why" not in filters:
        assert rows


def test_a_filter_leaves_only_what_it_asks_for(browser: Browser) -> None:
    choose(browser)
    everything = len(browser.ask(SHOWN))
    choose(browser, selected="1", low="0.5")
    kept = browser.ask("found.map(row => [row[SELECTED], row[SCORE]])")
    assert 0 < len(kept) < everything
    assert all(selected == 1 and score >= 0.5 for selected, score in kept)
    choose(browser, low="2")
    assert browser.ask("document.getElementById('count').textContent") == "no row is like that"


def test_an_image_opens_its_ledger_rows_and_escape_closes_them(browser: Browser) -> None:
    choose(browser)
    image = browser.ask("found[0][ID]")
    browser.ask("document.querySelector('#ledger .pic').click()")
    assert browser.ask("dialog.open")
    said = browser.ask("dialog.textContent")
    assert image in said and browser.ask("found[0][REASON]") in said and "found at" in said
    assert browser.ask("dialog.querySelectorAll('tbody tr').length") == 2
    browser.press("Escape")
    assert not browser.ask("dialog.open")


def test_arrow_keys_move_within_a_group_which_is_one_stop_of_tab(browser: Browser) -> None:
    groups = "[...document.querySelectorAll('#images [data-manifest]:not([hidden]) .pics')]"
    group = f"{groups}.filter(one => byImage.has(one.firstElementChild.dataset.image))[0]"
    assert browser.ask(f"{group}.querySelectorAll('.pic[tabindex=\"0\"]').length") == 1
    browser.ask(f"{group}.querySelector('.pic').focus()")
    browser.press("ArrowRight")
    place = f"[...{group}.querySelectorAll('.pic')].indexOf(document.activeElement)"
    assert browser.ask(place) == 1
    assert "score" in browser.ask("document.getElementById('tip').textContent")


def test_arrow_keys_move_on_a_map_and_enter_opens_a_point(browser: Browser) -> None:
    shown = "[...document.querySelectorAll('.map')].find(one => one.getBoundingClientRect().width)"
    assert browser.ask(f"{shown}.querySelectorAll('[tabindex=\"0\"]').length") == 1
    leftmost = "(a, b) => a.getBBox().x - b.getBBox().x"
    browser.ask(f"[...{shown}.querySelectorAll('[data-point]')].sort({leftmost})[0].focus()")
    place = "document.activeElement.getBBox().x"
    start = browser.ask(place)
    browser.press("ArrowRight")
    assert browser.ask(place) > start
    assert browser.ask(f"{shown}.querySelectorAll('[tabindex=\"0\"]').length") == 1
    assert browser.ask("document.activeElement.getAttribute('aria-label')")
    assert not browser.ask("document.getElementById('tip').hidden")
    point = browser.ask("document.activeElement.dataset.point")
    browser.press("Enter")
    assert browser.ask("dialog.open") and point in browser.ask("dialog.textContent")
    browser.press("Escape")


def test_every_picture_says_what_it_is(browser: Browser) -> None:
    mute = "[...document.images].filter(one => !one.closest('#tip') && !one.alt).length"
    assert browser.ask(mute) == 0
    charts = "[...document.querySelectorAll('svg:not([aria-hidden])')]"
    assert browser.ask(f"{charts}.every(one => one.getAttribute('aria-label'))")


def test_the_switch_shows_one_manifest_at_a_time(browser: Browser) -> None:
    def hidden(manifest: int) -> bool:
        return bool(
            browser.ask(f"document.querySelector('#images [data-manifest=\"{manifest}\"]').hidden")
        )

    browser.ask("document.querySelector('#switch input[value=\"0\"]').click()")
    assert (hidden(0), hidden(1)) == (False, True)
    browser.ask("document.querySelector('#switch input[value=\"1\"]').click()")
    assert (hidden(0), hidden(1)) == (True, False)
