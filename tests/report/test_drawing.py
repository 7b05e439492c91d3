"""Figures drawn later are those drawn now, whoever draws them."""

import pickle

import numpy as np
import pytest

from sta_mpi.report.content import Figure, ReportContent, Section
from sta_mpi.report.drawing import Drawing, drawings_of, drawn
from sta_mpi.report.figures import ctf_weight, rank_load
from sta_mpi.report.page import render_report

LATER = ctf_weight.later({"both": np.exp(-np.arange(17) / 5.0)}, 2.0, box_px=32)


def two_sections():
    return [Section("One", figures=[Figure("a", LATER, "a's caption"), Figure("b", b"drawn")]),
            Section("Two", text="t", figures=[Figure("c", None), Figure("d", LATER)])]


def test_a_drawing_that_went_to_another_process_is_the_picture_drawn_here():
    here = ctf_weight({"both": np.exp(-np.arange(17) / 5.0)}, 2.0, box_px=32)
    assert here.startswith(b"\x89PNG")
    assert LATER.png() == here
    sent = pickle.loads(pickle.dumps(LATER))
    assert isinstance(sent, Drawing)
    assert sent.draw is ctf_weight
    assert sent.png() == here


def test_figures_get_their_pictures_in_order_and_all_else_stays():
    sections = two_sections()
    assert drawings_of(sections) == [LATER, LATER]
    one, two = drawn(sections, [b"first", b"second"])
    assert [f.png for f in one.figures] == [b"first", b"drawn"]
    assert [f.png for f in two.figures] == [None, b"second"]
    assert (one.title, two.title, two.text) == ("One", "Two", "t")
    assert one.figures[0].caption == "a's caption"
    assert drawings_of([one, two]) == []


def test_size_of_a_drawing_is_that_of_all_of_its_arrays():
    a = np.zeros(10, np.float32)
    drawing = Drawing(rank_load, (a, [a, (a, "x")]), {"more": {"k": a}, "n": 3})
    assert drawing.nbytes == 4 * 40
    assert LATER.nbytes == 17 * 8


@pytest.mark.parametrize("pngs", [[], [b"x"], [b"x"] * 3])
def test_pictures_that_are_not_as_many_as_figures_are_refused(pngs):
    with pytest.raises(ValueError, match=f"{len(pngs)} pictures for 2 figures"):
        drawn(two_sections(), pngs)


def test_a_page_draws_what_nobody_has_drawn(tmp_path):
    load = rank_load.later(*np.ones((3, 2)))
    content = ReportContent("average", "finished", "1", sections=[
        Section("S", figures=[Figure("load", load)])])
    drawn_before = ReportContent("average", "finished", "1", sections=[
        Section("S", figures=[Figure("load", load.png())])])
    page = render_report(content, tmp_path)
    assert page == render_report(drawn_before, tmp_path)
    assert "data:image/png;base64,iVBOR" in page
