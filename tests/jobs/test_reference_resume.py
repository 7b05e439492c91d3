"""`reference` gives the same bits on any number of ranks, and after a kill at any stage."""

import pytest

pytestmark = pytest.mark.mpi

OFTEN = ["--checkpoint-minutes", "0.005"]
NAMES = ("half1.mrc", "half2.mrc", "merged.mrc", "reference.mrc", "poses.h5", "particles.star",
         "starts/start01.mrc", "starts/start02.mrc")


@pytest.fixture(scope="module")
def words(small_set):
    """Two starts, a global and a local round, the round with symmetry; 24 particles."""
    return ["reference", "--optimisation-set", str(small_set), "--box-px", "32", "--pad", "1.5",
            "--starts", "2", "--iterations", "1", "--unit-particles", "4", "--symmetry", "C2",
            "--lowpass-A", "48", "--quiet"]


@pytest.fixture(scope="module")
def whole(command, words, tmp_path_factory):
    """Bytes of a run without a break on one rank."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run = command(1, *words, "-o", out)
    assert run.returncode == 0, run.stderr
    return {name: (out / name).read_bytes() for name in NAMES}


@pytest.mark.parametrize("plant", [
    pytest.param({"fail": "kill", "rank": 1, "stage": "round 2", "units": 1, "sleep_s": 0.1},
                 id="in round 2"),
    *(pytest.param({"kill_at": place}, id=name, marks=pytest.mark.slow) for name, place in (
        ("in the first start", "sta_mpi.jobs.reference_starts:run_start"),
        ("after the competition", "sta_mpi.jobs.reference:open_store"),
        ("before the symmetry", "sta_mpi.jobs.reference:orient"),
        ("after the symmetry", "sta_mpi.jobs.reference:round_parameters"),
        ("before the outputs", "sta_mpi.jobs.reference:write_reference")))])
def test_killed_reference_goes_on_to_the_same_bits_on_three_ranks(
        command, words, whole, tmp_path, plant):
    out = tmp_path / "out"
    killed = command(2, *words, *OFTEN, "-o", out, plant=plant)
    assert killed.returncode != 0
    assert not (out / "poses.h5").exists()
    run = command(3, *words, *OFTEN, "-o", out)
    assert run.returncode == 0, run.stderr
    for name in NAMES:
        assert (out / name).read_bytes() == whole[name], name


@pytest.mark.slow
@pytest.mark.parametrize("method", ["average", "tree", "particle"])
def test_other_methods_give_the_same_bits_on_four_ranks(command, words, tmp_path, method):
    more = ["--method", method, "--tree-levels", "3"]
    for n in (1, 4):
        run = command(n, *words, *more, "-o", tmp_path / f"out{n}")
        assert run.returncode == 0, run.stderr
    names = NAMES[:5] if method == "average" else NAMES
    for name in names:
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out4" / name).read_bytes()
