"""The HTML page: self-contained, escaped, complete, and the same for the same content."""

import base64
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sta_mpi.errors import ResourceError
from sta_mpi.report import page
from sta_mpi.report.page import (
    Figure,
    FileLink,
    Quantity,
    ReportContent,
    Section,
    Table,
    render_report,
    write_report,
)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
EVIL = "<script>alert('x')</script> & \"TS_01\""
VOID = {"meta", "img", "br", "link"}


class Outline(HTMLParser):
    """Collects tags, attributes and visible text, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]


def outline(content: ReportContent, folder: str = "/jobs/average") -> Outline:
    parser = Outline()
    parser.feed(render_report(content, folder))
    assert parser.open == [], "every tag is closed"
    return parser


def visible(content: ReportContent) -> str:
    return re.sub(r"\s+", " ", outline(content).text)


def full_content(text: str = "plain") -> ReportContent:
    """Every field filled, with `text` in every place that holds words."""
    return ReportContent(
        command=text, status=text, version=text, title=text, summary=text, finished=text,
        elapsed_s=185.0, ranks=4, threads=2, hosts=[text] * 10,
        results=[Quantity(text, 11.5, text, text)], warnings=[text], error=text,
        sections=[Section(text, text, [Quantity(text, text)], [Figure(text, PNG, text)],
                          [Table(text, [text, text], [[text, 1.5]], text)])],
        parameters={text: text}, inputs=[FileLink(text, text)], outputs=[FileLink(text, text)],
        timing=[Quantity(text, 3, text)], timing_figures=[Figure(text, PNG, text)],
        quarantined=[(text, text)], command_line=text)


def test_page_loads_nothing_from_anywhere():
    tags = outline(full_content()).tags
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    sources = [attrs["src"] for tag, attrs in tags if "src" in attrs]
    assert len(sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    style = re.search(r"<style>.*?</style>", render_report(full_content(), "."), re.S)
    assert "url(" not in style[0]
    assert "@import" not in style[0]


def test_pictures_are_the_bytes_that_were_given():
    source = outline(full_content()).values("src")[0]
    assert base64.b64decode(source.partition(",")[2]) == PNG


def test_markup_in_any_field_is_shown_and_not_obeyed():
    parser = outline(full_content(EVIL))
    names = [tag for tag, _ in parser.tags]
    assert "script" not in names
    assert names == [tag for tag, _ in outline(full_content()).tags], "same page with any text"
    assert parser.text.count(EVIL) >= 20


@pytest.mark.parametrize("field", [
    "title", "summary", "error", "warnings", "results", "sections", "parameters", "inputs",
    "outputs", "timing", "timing_figures", "quarantined", "command_line", "hosts", "finished"])
def test_each_field_alone_makes_a_page_that_shows_it(field):
    full = full_content("mark-of-this-field")
    content = ReportContent("average", "finished", "0.1.0", **{field: getattr(full, field)})
    assert "mark-of-this-field" in visible(content)


def test_a_page_of_nothing_but_a_command_has_no_empty_sections():
    parser = outline(ReportContent("average", "finished", "0.1.0"))
    assert [tag for tag, _ in parser.tags if tag in ("section", "table", "h2")] == []
    assert "average" in parser.text


def test_warnings_and_errors_stand_before_the_results():
    text = visible(full_content().__class__(
        "average", "failed", "0.1.0", error="disk full", warnings=["no hand"],
        results=[Quantity("Resolution", 11.5, "Å")]))
    assert text.index("disk full") < text.index("no hand") < text.index("Resolution")
    assert "1 warning " in text


def test_numbers_carry_their_units():
    text = visible(ReportContent("average", "finished", "0.1.0", elapsed_s=185, ranks=1,
                                 results=[Quantity("Resolution", np.float32(11.5), "Å")]))
    assert "11.5\u00a0Å" in outline(ReportContent(
        "a", "finished", "1", results=[Quantity("R", 11.5, "Å")])).text
    assert "3 min 05 s" in text
    assert "1 rank" in text
    assert "1 ranks" not in text


@pytest.mark.parametrize(("path", "href"), [
    ("half1.mrc", "./half1.mrc"),
    ("/jobs/average/maps/half1.mrc", "./maps/half1.mrc"),
    ("/data/my set #1?.star", "./../../data/my%20set%20%231%3F.star"),
    ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
])
def test_links_are_relative_to_the_page_and_never_a_scheme(path, href):
    content = ReportContent("a", "finished", "1", outputs=[FileLink("file", path)])
    assert outline(content).values("href") == [href]


def test_missing_numbers_stand_below_the_numbers_of_their_column():
    table = Table("Rounds", ["round", "gain"], [["given", None], ["first", 6.5]])
    html = render_report(ReportContent(
        "a", "finished", "1", sections=[Section("S", tables=[table])]), "/jobs/a")
    assert '<th scope="col" class="value">gain</th>' in html
    assert '<td class="value">–</td>' in html
    assert "<td>given</td>" in html


def test_long_tables_are_cut_and_the_rest_is_counted():
    table = Table("Units", ["unit", "time [s]"], [[f"u{i}", float(i)] for i in range(5000)])
    text = visible(ReportContent("a", "finished", "1", sections=[Section("S", tables=[table])]))
    assert "u199" in text
    assert "u200" not in text
    assert "and 4,800 more rows" in text


def test_a_table_with_a_short_row_is_refused_with_its_number():
    with pytest.raises(ValueError, match="'T' row 2: 1 values for 2 columns"):
        Table("T", ["a", "b"], [[1, 2], [1]])


def test_a_figure_without_picture_shows_its_caption():
    figure = Figure("No image", None, "TS_01.mrcs is missing")
    parser = outline(ReportContent("a", "finished", "1", sections=[Section("S", figures=[figure])]))
    assert "TS_01.mrcs is missing" in parser.text
    assert parser.values("src") == []


def test_every_picture_has_an_alternative_text():
    assert outline(full_content()).values("alt") == ["plain", "plain"]


def test_the_same_content_gives_the_same_page():
    assert render_report(full_content(), "x") == render_report(full_content(), "x")


def test_page_is_written_under_its_name_alone(tmp_path):
    path = write_report(tmp_path / "report.html", full_content("Å ✓"))
    assert path.read_text(encoding="utf-8").startswith("\n<!DOCTYPE html>") or (
        path.read_text(encoding="utf-8").lstrip().startswith("<!DOCTYPE html>"))
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full_disk(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page.os, "replace", full_disk)
    with pytest.raises(ResourceError, match="No space left on device"):
        write_report(path, full_content())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]
