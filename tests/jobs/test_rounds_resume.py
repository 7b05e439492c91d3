"""`refine` and `classify` killed at any point go on to the same bits, on other numbers of ranks.

All rounds and the stages around them: `pytest -m slow tests/jobs/test_rounds_resume.py`.
"""

import json

import pytest

pytestmark = pytest.mark.mpi

OFTEN = ["--checkpoint-minutes", "0.001"]
COMMON = ["--box-px", "40", "--lowpass-A", "30", "--noise", "flat", "--unit-particles", "2",
          "--quiet"]
NAMES = {
    "refine": ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc",
               "run_class001.mrc", "fsc.star", "poses.h5", "scores.h5", "run_data.star",
               "run_model.star", "round01_half1.mrc", "round03_half2.mrc"),
    "classify": ("class001_half1.mrc", "class002_half2.mrc", "class002_merged.mrc", "classes.h5",
                 "poses.h5", "particles.star", "run_model.star", "components.h5",
                 "component01.mrc")}


@pytest.fixture(scope="module")
def words(small_set):
    """What is run: `refine` with given poses, checks, three rounds and the last pass; `classify`
    with components, first classes and two rounds of alignment."""
    return {
        "refine": ["refine", "--optimisation-set", str(small_set), "--reference",
                   str(small_set.with_name("truth.mrc")), *COMMON, "--iterations", "3",
                   "--oracle-particles", "2", "--no-accept-if-better"],
        "classify": ["classify", "--optimisation-set", str(small_set), *COMMON, "--classes", "2",
                     "--iterations", "2", "--settled-share", "0", "--oracle-particles", "0",
                     "--pca-iterations", "2", "--components", "2", "--angle-range-deg", "5"]}


@pytest.fixture(scope="module")
def whole(command, words, tmp_path_factory):
    """Bytes of runs without a break on one rank."""
    folder = tmp_path_factory.mktemp("whole")
    run = command(1, *words["refine"], "-o", folder / "refine", "++", *words["classify"],
                  "-o", folder / "classify")
    assert run.returncode == 0, run.stderr
    rounds = [json.loads((folder / name / "job.json").read_text())["results"]["rounds"]
              for name in NAMES]
    assert rounds == [3, 3]
    return {name: read(folder / name, name) for name in NAMES}


def read(folder, name):
    """Bytes of all outputs of a command."""
    return {file: (folder / file).read_bytes() for file in NAMES[name]}


def kill(stage, after=None, units=1):
    """A rank is killed in a unit of a stage, by default in its second one."""
    plan = {"fail": "kill", "rank": 1, "stage": stage, "units": units, "sleep_s": 0.1}
    return plan if after is None else {**plan, "after": after}


def place(name):
    """Rank 0 is killed where it would call a function."""
    return {"kill_at": f"sta_mpi.jobs.{name}"}


def slow(name, plan):
    return pytest.param(name, plan, 3, marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "plan", "ranks"), [
    pytest.param("refine", kill("round 2"), 4),
    pytest.param("classify", kill("round 2"), 4, marks=pytest.mark.slow),
    slow("refine", kill("average", units=4)),
    slow("refine", kill("noise")),
    slow("refine", kill("round 1")),
    slow("refine", kill("oracle check")),
    slow("refine", kill("noise", after="round 1")),
    slow("refine", place("align_loop:round_summary")),
    slow("refine", kill("round 3")),
    slow("refine", place("refine:_given_if_better")),
    slow("refine", kill("average", after="round 3")),
    slow("refine", place("refine:write_refinement")),
    slow("refine", place("refine_output:write_model")),
    slow("classify", kill("components 1", units=4)),
    slow("classify", kill("components 3")),
    slow("classify", place("classify_start:_write_components")),
    slow("classify", kill("round 1")),
    slow("classify", kill("round 3")),
    slow("classify", place("classify:write_classes")),
    slow("classify", place("classify_output:write_model"))], ids=str)
def test_killed_run_goes_on_to_the_same_bits(command, words, whole, tmp_path, name, plan, ranks):
    out = tmp_path / "out"
    killed = command(2, *words[name], *OFTEN, "-o", out, plant=plan)
    assert killed.returncode != 0
    assert list(out.glob("checkpoint/*.h5"))
    assert json.loads((out / "job.json").read_text())["status"] == "running"
    run = command(ranks, *words[name], *OFTEN, "-o", out)
    assert run.returncode == 0, run.stderr
    assert read(out, name) == whole[name]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("name", list(NAMES))
def test_bits_do_not_depend_on_the_number_of_ranks(command, words, whole, tmp_path, name, ranks):
    run = command(ranks, *words[name], "-o", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    assert read(tmp_path / "out", name) == whole[name]


@pytest.mark.slow
def test_random_starts_killed_in_their_contest_go_on_to_the_same_bits(command, words, tmp_path):
    """Round 9 is the second one of the second start."""
    contest = [*words["classify"], "--start", "random", "--random-starts", "2", "--no-align"]
    run = command(1, *contest, "-o", tmp_path / "whole")
    assert run.returncode == 0, run.stderr
    killed = command(2, *contest, *OFTEN, "-o", tmp_path / "out", plant=kill("round 9"))
    assert killed.returncode != 0
    run = command(3, *contest, *OFTEN, "-o", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    for name in NAMES["classify"][:7]:
        assert (tmp_path / "out" / name).read_bytes() == (
            tmp_path / "whole" / name).read_bytes(), name
