"""Random damage to STAR files: they load, or a StaMpiError says why; nothing else is raised."""

import shutil
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sta_mpi.errors import StaMpiError
from sta_mpi.jobs.inputs import load_set, set_files
from sta_mpi.jobs.parameters.average import AverageParameters

FILES = ("particles.star", "tomograms.star", "tilt_series/TS_01.star", "optimisation_set.star")
TOKENS = ("", "nan", "inf", "-1", "0", "1e400", "1e30", "abc", "'", '"', "#", "loop_", "data_x",
          "_rlnX", "[1,2", "[]", "TS_01", "\x00", "\xff", "\r", ";", "1_0", "٣", "0x10", "..", "/")
DAMAGE = st.lists(st.tuples(
    st.sampled_from(["drop_line", "double_line", "swap_lines", "drop_token", "double_token",
                     "set_token", "cut_file", "set_byte"]),
    st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True),
    st.sampled_from(TOKENS)), min_size=1, max_size=3)


def damage(text: str, kind: str, where: float, place: float, token: str) -> str:
    """Text with one fault; `where` and `place` choose line and token."""
    lines = text.split("\n")
    full = [i for i, line in enumerate(lines) if line.strip()]
    i = full[int(where * len(full))]
    words = lines[i].split()
    j = int(place * len(words))
    if kind == "drop_line":
        del lines[i]
    elif kind == "double_line":
        lines.insert(i, lines[i])
    elif kind == "swap_lines":
        k = full[int(place * len(full))]
        lines[i], lines[k] = lines[k], lines[i]
    elif kind == "cut_file":
        return text[:int(where * len(text))]
    elif kind == "set_byte":
        at = int(where * len(text))
        return text[:at] + (token[:1] or "?") + text[at + 1:]
    else:
        words[j:j + 1] = {"drop_token": [], "double_token": [words[j]] * 2,
                          "set_token": [token]}[kind]
        lines[i] = " ".join(words)
    return "\n".join(lines)


@pytest.mark.parametrize("name", FILES)
def test_damaged_star_file_loads_or_is_refused_with_a_reason(good_folder, tmp_path, name):
    shutil.copytree(good_folder, tmp_path / "set")
    path = tmp_path / "set" / name
    good = path.read_text()
    parameters = AverageParameters(
        output=tmp_path / "out", optimisation_set=tmp_path / "set" / "optimisation_set.star")

    @settings(max_examples=150, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))
    @given(DAMAGE)
    def check(faults):
        text = good
        for fault in faults:
            text = damage(text, *fault) if text.strip() else text
        path.write_bytes(text.encode("latin-1", "replace"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                set_files(parameters)
                inputs = load_set(parameters)
            except StaMpiError as error:
                message = str(error)
                assert message.endswith((".", ")", "`.")), message
                assert len(message) > 20, message
            else:
                assert len(inputs.particles) > 0

    check()
