"""Stacks written section by section."""

import numpy as np
import pytest

from sta_mpi.errors import InputError, ResourceError
from sta_mpi.formats.mrc import open_stack
from sta_mpi.formats.mrc_sections import SectionWriter

SHAPE = (3, 5, 8)
IMAGES = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
STATISTICS = (-1.0, 1.0, 0.0, 1.0)


@pytest.mark.parametrize(("mode", "error"), [(2, 0.0), (12, 2e-3)])
def test_sections_written_in_any_order_make_the_stack(tmp_path, mode, error):
    for section in (2, 0, 1):
        SectionWriter(tmp_path / "a" / "s.mrcs", SHAPE, 3.5, mode).write(section, IMAGES[section])
    SectionWriter(tmp_path / "a" / "s.mrcs", SHAPE, 3.5, mode).finish(STATISTICS)
    stack = open_stack(tmp_path / "a" / "s.mrcs")
    assert stack.shape == SHAPE
    assert stack.pixel_A == pytest.approx(3.5)
    for i in range(3):
        assert np.abs(stack[i] - IMAGES[i]).max() <= error
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "s.mrcs"]


def test_stack_has_no_name_before_it_is_finished(tmp_path):
    writer = SectionWriter(tmp_path / "s.mrcs", SHAPE, 1.0)
    writer.write(0, IMAGES[0])
    assert not writer.path.exists()
    with pytest.raises(InputError, match="not every image was written"):
        writer.finish(STATISTICS)


def test_finishing_twice_is_harmless(tmp_path):
    writer = SectionWriter(tmp_path / "s.mrcs", SHAPE, 1.0)
    for i in range(3):
        writer.write(i, IMAGES[i])
    writer.finish(STATISTICS)
    before = writer.path.read_bytes()
    writer.finish(STATISTICS)
    assert writer.path.read_bytes() == before


def test_values_beyond_float16_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"section 2.*write mode 2"):
        SectionWriter(tmp_path / "s.mrcs", SHAPE, 1.0, 12).write(1, IMAGES[1] + 1e6)


def test_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="section 1 cannot be written"):
        SectionWriter(tmp_path / "file" / "s.mrcs", SHAPE, 1.0).write(0, IMAGES[0])


def test_section_outside_the_stack_is_refused(tmp_path):
    with pytest.raises(ValueError, match="section 3"):
        SectionWriter(tmp_path / "s.mrcs", SHAPE, 1.0).write(3, IMAGES[0])


def test_what_an_earlier_run_left_can_be_discarded(tmp_path):
    longer = SectionWriter(tmp_path / "s.mrcs", (9, 5, 8), 1.0)
    longer.write(8, IMAGES[0])
    writer = SectionWriter(tmp_path / "s.mrcs", SHAPE, 1.0)
    writer.discard()
    for i in range(3):
        writer.write(i, IMAGES[i])
    writer.finish(STATISTICS)
    assert open_stack(writer.path).shape == SHAPE
