"""`run`: a chain of stages does what its commands do one by one, and can be broken off."""

import json
import re

import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.errors import InputError, UsageError
from sta_mpi.jobs.chain import DoneStage, fill_in, read_chain
from sta_mpi.jobs.chain_carry import box_px, stage_values

AVERAGE = {"name": "average", "command": "average", "binning": 2}


def toml(stages, shared=None):
    lines = ["[all]", *(f"{k} = {json.dumps(v)}" for k, v in (shared or {}).items())]
    for stage in stages:
        lines += ["[[stage]]", *(f"{k} = {json.dumps(v)}" for k, v in stage.items())]
    return "\n".join(lines) + "\n"


@pytest.fixture
def chain_file(tmp_path):
    """A function that writes stages to a chain file."""
    def write(*stages, shared=None, text=None):
        path = tmp_path / "chain.toml"
        path.write_text(toml(stages, shared) if text is None else text)
        return path

    return write


def done(name, command, folder, results=None, outputs=None, values=None):
    return DoneStage(name, command, folder / name, results or {}, outputs or {}, values or {})


# ---- what a file may say -----------------------------------------------------------


@pytest.mark.parametrize(("stage", "shared", "said"), [
    ({"command": "avrage"}, {}, "stage 01_avrage: there is no command 'avrage'"),
    ({"command": "status"}, {}, "no command 'status' that runs as a job"),
    ({"command": "os.system"}, {}, "cannot be a folder|no command"),
    ({"name": "a"}, {}, "stage 1: no command"),
    ({"name": "../a", "command": "average"}, {}, "'../a' cannot be a folder"),
    ({"command": "average", "boxpx": 3}, {}, "there is no parameter 'boxpx'"),
    ({"command": "average", "output": "x"}, {}, "output is set by the chain"),
    ({"command": "average", "box_px": "many"}, {}, "--box-px is 'many', expected a whole number"),
    ({"command": "average", "binning": -1}, {}, "--binning is -1, expected at least 1"),
    ({"command": "average", "mask_diameter_A": "{bin8:x}"}, {}, "'bin8', which is no earlier"),
    ({"command": "average", "optimisation_set": "{01_average}/x"}, {}, "no earlier stage"),
    ({"command": "average"}, {"lowpass_A": 3}, "no stage has a parameter lowpass_A"),
    ({"command": "average"}, {"box_A": "wide"}, "box_A is 'wide', expected a size in Å"),
    ({"command": "average"}, {"restart": True}, "restart is set by the chain"),
])
def test_wrong_chain_is_refused_before_anything_runs(chain_file, stage, shared, said):
    with pytest.raises((InputError, UsageError)) as caught:
        read_chain(chain_file(stage, shared=shared))
    assert re.search(said, str(caught.value)), caught.value
    assert "chain.toml" in str(caught.value)


@pytest.mark.parametrize("text", ["", "stage = 3", "[[stage]", "[other]\n", "stage = [1]",
                                  "all = 1\n[[stage]]\ncommand = 'average'\n"])
def test_file_that_is_no_chain_is_told_so(chain_file, text):
    with pytest.raises(InputError, match=r"chain\.toml"):
        read_chain(chain_file(text=text))


def test_two_stages_of_one_name_are_refused(chain_file):
    with pytest.raises(InputError, match="two stages are called 'average'"):
        read_chain(chain_file(AVERAGE, AVERAGE))


# ---- references and what is carried over -------------------------------------------


def test_reference_gives_folder_output_or_result_with_its_type(tmp_path):
    stages = {"a": done("a", "average", tmp_path, {"resolution_A": 17.5}, {"merged": "m.mrc"})}
    assert fill_in("{a}/x.mrc", stages) == str(tmp_path / "a" / "x.mrc")
    assert fill_in("{a:merged}", stages) == str(tmp_path / "a" / "m.mrc")
    assert fill_in("{a:resolution_A}", stages) == 17.5
    assert fill_in(["{a}", 3], stages) == [str(tmp_path / "a"), 3]
    with pytest.raises(InputError, match=r"'half1'\. It has merged, resolution"):
        fill_in("{a:half1}", stages)


def test_newest_results_go_on_and_the_file_wins(chain_file, tmp_path):
    chain = read_chain(chain_file(
        {"name": "refine", "command": "refine", "box_px": 32},
        {"name": "given", "command": "refine", "box_px": 32, "lowpass_A": 50.0, "symmetry": "C2"},
        {"name": "fsc", "command": "fsc"}))
    before = [done("reference", "align", tmp_path, {"resolution_A": 33.0, "symmetry": "C6"},
                   {"optimisation_set": "set.star"}),
              done("select", "select", tmp_path, {}, {"optimisation_set": "chosen.star"}),
              done("bin2", "refine", tmp_path, {"resolution_A": 21.0},
                   {"half1": "h1.mrc", "half2": "h2.mrc", "map": "m.mrc"})]
    values, notes = stage_values(chain, chain.stages[0], before)
    assert values["optimisation_set"] == str(tmp_path / "select" / "chosen.star")
    assert (values["start_at_fsc"], values["symmetry"]) == (True, "C6")
    assert "lowpass_A" not in values
    assert any("from stage select" in note for note in notes)
    values, _ = stage_values(chain, chain.stages[1], before)
    assert (values["lowpass_A"], values["symmetry"]) == (50.0, "C2")
    assert "start_at_fsc" not in values
    values, _ = stage_values(chain, chain.stages[2], before)
    assert values["half2"] == str(tmp_path / "bin2" / "h2.mrc")


@pytest.mark.parametrize("stage", [
    {"command": "refine", "reference": ["ref.mrc"]},    # another reference than its average
    {"command": "refine", "halves": "clusters"},        # half-sets that have seen each other
    {"command": "align"}])
def test_a_search_that_does_not_go_on_from_a_refinement_begins_at_its_resolution(
        chain_file, tmp_path, stage):
    chain = read_chain(chain_file({"name": "next", "box_px": 32, **stage}))
    before = [done("bin2", "refine", tmp_path, {"resolution_A": 21.0},
                   {"optimisation_set": "set.star"})]
    values, _ = stage_values(chain, chain.stages[0], before)
    assert values["lowpass_A"] == 21.0
    assert "start_at_fsc" not in values


def test_half_sets_that_were_drawn_anew_since_the_refinement_need_a_lowpass(chain_file, tmp_path):
    chain = read_chain(chain_file({"name": "next", "command": "refine", "box_px": 32}))
    for halves, begins in (("keep", True), ("random", False)):
        before = [done("bin2", "refine", tmp_path, {"resolution_A": 21.0},
                       {"optimisation_set": "set.star"}),
                  done("best", "select", tmp_path, {}, {"optimisation_set": "set.star"},
                       {"halves": halves})]
        values, _ = stage_values(chain, chain.stages[0], before)
        assert ("start_at_fsc" in values) is begins
        assert ("lowpass_A" in values) is not begins


@pytest.mark.parametrize(("box_A", "pixel_A", "expected"),
                         [(260, 1.35, 200), (100, 10.0, 10), (1, 1, 8), (173.0, 1.0, 180)])
def test_box_is_even_quick_and_large_enough(box_A, pixel_A, expected):
    assert box_px(box_A, pixel_A) == expected


# ---- the command -------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_chain(command, small_scene, tmp_path_factory):
    """A chain run on 2 ranks from simulation to FSC: its folder and file."""
    folder = tmp_path_factory.mktemp("chain")
    stages = [{"name": "simulated", "command": "simulate", **small_scene}, AVERAGE,
              {"name": "mask", "command": "mask", "lowpass_A": 40.0},
              {"name": "fsc", "command": "fsc"}]
    (folder / "chain.toml").write_text(toml(stages, {"box_A": 190}))
    run = command(2, "run", folder / "chain.toml", "-o", folder / "out", plant=None)
    assert run.returncode == 0, run.stderr
    assert "stage 4 of 4, fsc: sta-mpi fsc" in run.stdout
    return folder


def test_chain_gives_the_bits_of_its_commands(whole_chain, tmp_path):
    out = whole_chain / "out"
    run = CliRunner().invoke(cli, [
        "average", "--optimisation-set", str(out / "simulated" / "optimisation_set.star"),
        "--box-px", "16", "--binning", "2", "--quiet", "-o", str(tmp_path / "a")],
        prog_name="sta-mpi")
    assert run.exit_code == 0, run.stderr
    assert (tmp_path / "a" / "half1.mrc").read_bytes() == (
        out / "average" / "half1.mrc").read_bytes()
    used = (out / "fsc" / "job.toml").read_text()
    assert "mask/mask.mrc" in used
    assert "average/half2.mrc" in used


def test_status_and_report_show_every_stage(whole_chain, monkeypatch):
    monkeypatch.chdir(whole_chain)      # a long path would be folded
    shown = CliRunner().invoke(cli, ["status", "."]).stdout
    for name in ("out/simulated", "out/average", "out/mask", "out/fsc"):
        assert name in shown
    record = json.loads((whole_chain / "out" / "job.json").read_text())
    fsc = json.loads((whole_chain / "out" / "fsc" / "job.json").read_text())
    assert record["results"]["resolution_A"] == fsc["results"]["resolution_A"]
    page = (whole_chain / "out" / "report.html").read_text()
    assert "Taken over from earlier stages" in page
    assert "box_px = 16 for 190" in page


def test_changed_stage_is_refused_until_it_is_asked_for(whole_chain, empty_figures):
    path, out = whole_chain / "changed.toml", whole_chain / "out"
    path.write_text((whole_chain / "chain.toml").read_text() + "mask_diameter_A = 90\n")
    words = ["run", str(path), "-o", str(out), "--quiet"]
    kept = (out / "average" / "job.json").stat().st_mtime_ns
    refused = CliRunner().invoke(cli, words, prog_name="sta-mpi")
    assert refused.exit_code == 3
    assert "stage fsc" in refused.stderr
    assert "--restart-from fsc" in refused.stderr
    accepted = CliRunner().invoke(cli, [*words, "--restart-from", "fsc"], prog_name="sta-mpi")
    assert accepted.exit_code == 0, accepted.stderr
    assert (out / "average" / "job.json").stat().st_mtime_ns == kept


def test_chain_killed_in_a_stage_ends_in_the_same_bits(whole_chain, started, wait_for, command,
                                                       tmp_path):
    words = ["run", whole_chain / "chain.toml", "-o", tmp_path / "out", "--quiet"]
    process, _ = started(2, *words, plant=None)
    wait_for(lambda: (tmp_path / "out" / "average" / "job.json").exists())
    process.kill()
    process.wait()
    run = command(1, *words, "--until", "average", plant=None)
    assert run.returncode == 0, run.stderr
    assert not (tmp_path / "out" / "mask").exists()
    assert (tmp_path / "out" / "average" / "half1.mrc").read_bytes() == (
        whole_chain / "out" / "average" / "half1.mrc").read_bytes()


def test_failed_stage_is_named(chain_file, tmp_path):
    path = chain_file({"name": "first", "command": "average", "box_px": 32,
                       "optimisation_set": str(tmp_path / "missing.star")})
    run = CliRunner().invoke(cli, ["run", str(path), "-o", str(tmp_path / "out")],
                             prog_name="sta-mpi")
    assert run.exit_code == 3
    assert "stage first" in run.stderr
    assert "missing.star" in run.stderr
    assert json.loads((tmp_path / "out" / "job.json").read_text())["status"] == "failed"
