"""Wrong options, TOML files and output folders: what, found, expected, and exit codes 2 to 4."""

import os
import subprocess

import pytest
from bad_projects import (
    ALIGN,
    AVERAGE,
    BOX_PX,
    FSC,
    assert_refused,
    run,
    snapshot,
    with_value,
)

BOX = str(BOX_PX)


@pytest.mark.parametrize(("command", "words"), [
    pytest.param(with_value(AVERAGE, BOX, "25"), "25, expected an even number", id="odd_box"),
    pytest.param(with_value(AVERAGE, BOX, "-24"), "--box-px is -24, expected at least 8",
                 id="negative_box"),
    pytest.param(with_value(AVERAGE, BOX, "1" + "0" * 25), "expected at most 1000000",
                 id="astronomic_box"),
    pytest.param(with_value(AVERAGE, BOX, "x"), "'x' is not a valid integer", id="text"),
    pytest.param((*AVERAGE, "--symmetry", "C0"), "--symmetry.*'C0' is not known", id="C0"),
    pytest.param((*AVERAGE, "--symmetry", "X7"), "--symmetry.*'X7' is not known", id="X7"),
    pytest.param((*AVERAGE, "--max-dose-e-per-A2", "-1"), "is -1, expected more than 0",
                 id="negative_dose"),
    pytest.param((*AVERAGE, "--max-bad-share", "nan"), "nan, expected", id="nan"),
    pytest.param((*AVERAGE, "--binning", "1000000"), "expected at most 1000", id="binning"),
    pytest.param((*AVERAGE, "--nonsense"), "No such option.*--help", id="unknown_option"),
    pytest.param(("avrage",), "No such command 'avrage'", id="unknown_command"),
    pytest.param(("average", "-o", "out"), "no particles given: pass --optimisation-set",
                 id="no_particles"),
    pytest.param(("average",), "--output is needed", id="no_output"),
    pytest.param(("fsc", "--half1", "maps/merged.mrc", "-o", "out"), "--half2 is needed",
                 id="no_second_half"),
    pytest.param(with_value(ALIGN, "40", "4"), "--lowpass-A 4 is beyond Nyquist.*16.00 Å",
                 id="beyond_nyquist"),
    pytest.param(with_value(ALIGN, "40", "1e9"), "fewer than 2 Fourier shells.*192 Å",
                 id="lowpass_coarser_than_the_box"),
    pytest.param((*ALIGN, "--highpass-A", "30"), "--highpass-A 30 must be coarser",
                 id="highpass_finer_than_lowpass"),
    pytest.param((*ALIGN, "--angle-range-deg", "180", "--angle-step-deg", "0.01"),
                 r"2.4e\+13 candidates, expected at most", id="too_many_rotations"),
    pytest.param((*ALIGN, "--shift-range-A", "1e9"), "candidates, expected at most 1,000,000",
                 id="too_many_shifts"),
    pytest.param((*ALIGN, "--score", "ncc", "--angle-prior-deg", "3"), "--score loglik",
                 id="prior_on_ncc"),
    pytest.param((*ALIGN, "--cone-deg", "20"), "--cone-deg limits .* global .* is local",
                 id="cone_of_a_local_search"),
    pytest.param((*ALIGN, "--search", "grid", "--rotation-share", "0.5"),
                 "--rotation-share limits .* is grid", id="share_of_a_grid"),
    pytest.param((*ALIGN, "--search", "global", "--relax-symmetry", "C2"),
                 "--relax-symmetry is for local .* global in all rounds",
                 id="relaxed_symmetry_without_local_rounds"),
    pytest.param((*ALIGN, "--relax-symmetry", "X7"), "--relax-symmetry.*'X7' is not known",
                 id="relaxed_X7"),
    pytest.param((*ALIGN, "--assignment", "soft"), "'soft' is not", id="assignment"),
    pytest.param((*ALIGN, "--scratch-dir", "no/such"), "--scratch-dir no/such is no folder",
                 id="scratch_dir"),
    pytest.param(("simulate", "-o", "out", "--hand", "0"), "hand is 1 or -1", id="hand_0"),
    pytest.param(("simulate", "-o", "out", "--n-series", "1000000000"), "at most 100000",
                 id="many_series"),
    pytest.param(("simulate", "-o", "out", "--tilt-step-deg", "1e-9"), "at least 0.01",
                 id="tiny_tilt_step")])
def test_wrong_option_is_refused_as_wrong_usage(project, command, words):
    project.refuses(command, 2, words)
    assert not project.path("out/report.html").exists()


@pytest.mark.parametrize(("text", "words"), [
    pytest.param(b"this is not [ toml", "job.toml is not TOML.*line 1", id="no_toml"),
    pytest.param(bytes(range(256)), "job.toml is not TOML", id="binary"),
    pytest.param(b'output = "out"\nbox_size = 3\n', "no parameter 'box_size'", id="unknown_key"),
    pytest.param(b'output = "out"\nbox_px = "many"\n', "--box-px is 'many', expected a whole",
                 id="text_for_number"),
    pytest.param(b'output = "out"\nbox_px = 24.5\n', "24.5, expected a whole number",
                 id="fraction"),
    pytest.param(b'output = "out"\nbox_px = [24]\n', r"\[24\], expected a whole number", id="list"),
    pytest.param(b"output = true\nbox_px = 24\n", "--output is True, expected a path", id="bool"),
    pytest.param(b'output = "a\\u0000b"\nbox_px = 24\n', "NUL character", id="nul"),
    pytest.param(b'command = "align"\noutput = "out"\n', "parameters of 'align'",
                 id="other_command")])
def test_wrong_toml_is_refused_as_wrong_usage(project, text, words):
    project.path("job.toml").write_bytes(text)
    project.refuses(("average", "job.toml"), 2, words)


@pytest.mark.parametrize(("name", "words"), [("no.toml", "No such file"), ("maps", "directory")])
def test_toml_that_cannot_be_read_is_refused(project, name, words):
    project.refuses(("average", name), 2, f"cannot read {name}", words)


def test_two_wrong_parameters_are_two_lines(project):
    project.path("job.toml").write_text('output = "out"\nbox_px = "many"\nbinning = -1\n')
    project.refuses(("average", "job.toml"), 2, "--box-px is 'many'", "--binning is -1", faults=2)


def test_plan_that_does_not_fit_in_memory_is_refused_before_the_start(project):
    project.refuses((*AVERAGE, "--max-memory-GiB", "0.001"), 4, "GiB", "--max-memory-GiB",
                    "smaller box")


def test_box_larger_than_the_images_is_refused(project):
    project.refuses(with_value(AVERAGE, BOX, "100000"), 3, "TS_01",
                    "covers 100000 px of the images, which have 96 x 96 px", "smaller --box-px")


def test_box_in_which_no_particle_fits_is_refused(project):
    project.refuses(with_value(AVERAGE, BOX, "96"), 3, "none of 12 particles", "768 Å")


@pytest.mark.parametrize(("prepare", "output", "code", "words"), [
    pytest.param(lambda p: p.path("out").write_text("x"), "out", 3, "out is a file", id="file"),
    pytest.param(lambda p: (p.path("out").mkdir(), p.path("out/notes.txt").write_text("x")), "out",
                 3, "holds files that are not of a job", id="foreign_files"),
    pytest.param(lambda p: p.path("out").symlink_to("nowhere"), "out", 3, "link to nothing",
                 id="dangling_link"),
    pytest.param(lambda p: None, "particles.star/out", 4, "Not a directory", id="below_a_file"),
    pytest.param(lambda p: None, "o" * 300, 4, "File name too long", id="long_name"),
    pytest.param(lambda p: None, ".", 3, "not of a job", id="the_project_itself"),
    pytest.param(lambda p: None, "/proc/sta_mpi_out", 4, "/proc/sta_mpi_out", id="proc")])
def test_folder_that_cannot_hold_the_job_is_refused(project, prepare, output, code, words):
    prepare(project)
    project.refuses((*AVERAGE[:-1], output), code, words)


def test_read_only_output_is_refused(project):
    folder = project.path("locked")
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)],
                          capture_output=True) if os.geteuid() == 0 else None
    if made is None:
        folder.chmod(0o555)
    elif made.returncode:
        pytest.skip("as root permissions do not bite, and a read-only mount is not allowed here")
    try:
        project.refuses((*AVERAGE[:-1], "locked/out"), 4, "locked/out", "Read-only|Permission")
        project.refuses((*AVERAGE[:-1], "locked"), 4, "locked", "[Rr]ead-only|Permission")
    finally:
        if made is not None:
            subprocess.run(["umount", str(folder)], check=False)


def test_folder_of_another_job_stays_as_it_was(project):
    project.accepts(FSC)
    before = snapshot(project.path("out"))
    project.refuses(AVERAGE, 3, r"another job \(fsc, status finished\)", "--restart")
    project.refuses((*FSC, "--seed", "7"), 3, "parameters, inputs or program version differ")
    assert snapshot(project.path("out")) == before


def test_finished_job_is_not_computed_again(project):
    project.accepts(FSC)
    before = snapshot(project.path("out"))
    outcome = project.accepts(FSC)
    assert "finished before" in outcome.out
    assert "--restart" in outcome.out
    assert snapshot(project.path("out")) == before


def test_changed_tilt_table_is_another_input(project):
    project.accepts(AVERAGE)
    project.set_column("tilt_series/TS_01.star", "TS_01", "rlnDefocusU", "31000", [0])
    project.refuses(AVERAGE, 3, "another job", "inputs")


def test_refused_job_leaves_its_folder_to_the_mended_one(project):
    good = project.path("particles.star").read_bytes()
    project.set_column("particles.star", "particles", "rlnRandomSubset", "3", [4])
    project.refuses(AVERAGE, 3, "row 5")
    project.path("particles.star").write_bytes(good)
    project.accepts(AVERAGE)
    assert project.path("out/merged.mrc").exists()


def test_names_with_blanks_and_umlauts_work(project):
    old, new = project.folder, project.folder.with_name("Zähler mit Leer zeichen ☃")
    old.rename(new)
    os.chdir(new)
    outcome = run(*FSC[:-1], "Ergebnis é ☃")
    os.chdir(new.parent)
    assert outcome.code == 0, outcome.err
    assert (new / "Ergebnis é ☃" / "fsc.star").exists()
    average = run(*with_value(AVERAGE, "optimisation_set.star", f"{new}/optimisation_set.star"))
    assert average.code == 0, average.err


def test_dry_run_of_a_faulty_set_tells_the_fault_and_writes_nothing(project):
    project.set_rows("particles.star", "particles", [])
    outcome = run(*AVERAGE, "--dry-run")
    assert_refused(outcome, 3, "empty")
    assert not project.path("out").exists()
