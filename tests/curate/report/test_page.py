"""The page as text: nothing of the crawl is markup, and nothing is asked of any network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from curate.report.absent import absent_sections
from curate.report.charts import nice_ticks, short
from curate.report.content import Content
from curate.report.page import render

from .conftest import FIRST, HARM, RUN, SECOND


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag in self.texts:
            self._inside = tag
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside][-1] += data


@pytest.fixture(scope="session")
def elements(page: str) -> Elements:
    return Elements(page)


def data_of(elements: Elements) -> dict[str, object]:
    found: dict[str, object] = json.loads(elements.texts["script"][0])
    return found


def test_only_our_own_script_and_style_are_there(elements: Elements) -> None:
    scripts = [attributes for tag, attributes in elements.found if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"iframe", "object", "embed", "base", "img", "audio", "video", "template"}
    links = [attributes for tag, attributes in elements.found if tag == "link"]
    assert links == [{"rel": "icon", "href": "data:,"}]


def test_no_attribute_runs_styles_or_fetches(elements: Elements) -> None:
    for _, attributes in elements.found:
        for name, value in attributes.items():
            assert not name.startswith("on") and name not in ("style", "src", "srcset", "action")
            if name == "href":
                assert value == "data:," or (value or "").startswith("#")


def test_what_the_crawl_says_is_shown_as_it_is(page: str, elements: Elements) -> None:
    data = data_of(elements)
    images = json.dumps(data["images"])
    assert json.dumps(HARM)[1:-1].replace('\\"', "")[:20] in images
    assert [one["name"] for one in data["manifests"]] == [FIRST, SECOND]  # type: ignore[attr-defined]
    assert "<script>window.harmed" not in page
    assert "&lt;/script&gt;&lt;script&gt;window.harmed=1" in page
    assert "run &lt;b onclick" in page and RUN not in page
    assert "49" not in re.findall(r"harmed=1&gt;&#39;&#34;&amp;([^<]{0,7})", page)[0]


def test_the_policy_allows_this_script_and_style_alone(elements: Elements) -> None:
    (policy,) = [
        attributes["content"] or ""
        for tag, attributes in elements.found
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for kind, text in (
        ("script", elements.texts["script"][1]),
        ("style", elements.texts["style"][0]),
    ):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"


def test_ids_are_exact_and_every_entry_is_there(content: Content, elements: Elements) -> None:
    rows = data_of(elements)["rows"]
    assert isinstance(rows, list) and len(rows) == len(content.entries)
    stored = {(content.scope.manifests[row[0]].name, int(row[1])): row[5] for row in rows}
    for entry in content.entries:
        assert stored[entry.manifest, entry.image_id] == entry.score


def test_sections_without_anything_to_show_say_why(content: Content) -> None:
    assert absent_sections(content) == {}
    bare = {**vars(content), "rounds": [], "curves": [], "methods": [], "groups": [], "shifts": []}
    page = render(Content(**bare))
    for title in ("Rounds", "Training curves", "Methods", "Groups", "Shift estimates"):
        assert f"<b>{title}</b>: not shown, because " in page


def test_a_report_without_a_student_or_original_is_a_report(content: Content) -> None:
    maps = type(content.maps)(remarks=["3 images are too few for a map"])
    bare = {**vars(content), "originals": None, "maps": maps, "agreements": []}
    page = render(Content(**bare))
    assert page.count("3 images are too few for a map") >= 2


def test_the_page_is_small(page: str, content: Content) -> None:
    thumbnails = sum(map(len, content.thumbnails.uris.values()))
    assert len(page.encode()) - thumbnails < 1_000_000


def test_the_page_keeps_to_its_bound_by_leaving_out_the_last_thumbnails(
    page: str, content: Content
) -> None:
    most = len(page.encode()) - 5_000 + 200_000  # what is kept for their ids
    smaller = render(content, most)
    assert len(smaller.encode()) < most
    kept = list(json.loads(Elements(smaller).texts["script"][0])["thumbs"])
    everything = [str(image) for image in content.thumbnails.uris]
    assert kept == everything[: len(kept)] and 0 < len(kept) < len(everything)
    assert f"{len(everything) - len(kept)} more images are shown without one" in smaller


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-3, 7, [-2, 0, 2, 4, 6]),
        (0, 950, [0, 200, 400, 600, 800]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == ticks


def test_numbers_are_short() -> None:
    assert [short(v) for v in (0.25, 12, 1500, 3_200_000, 4.35e9)] == [
        "0.25",
        "12",
        "1.5k",
        "3.2M",
        "4.35G",
    ]
