"""`mask`, `fsc`, `postprocess` and `local-resolution` from files to files, against known maps."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.containers import read_h5
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_fsc import read_fsc, read_postprocess
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import StarTable
from sta_mpi.post.mask_shapes import body
from sta_mpi.signal.filters import b_factor_map, lowpass_map
from sta_mpi.signal.fsc import fsc, resolution_A
from sta_mpi.signal.masks import soft_sphere

N, VOXEL_A, B_A2 = 48, 2.0, 250.0


def white(seed):
    return np.random.default_rng(seed).standard_normal((N, N, N)).astype(np.float32)


def invoke(*words):
    """Run a command in this process; its job.json."""
    result = CliRunner().invoke(cli, [*map(str, words), "--quiet"], prog_name="sta-mpi")
    assert result.exit_code == 0, result.stderr
    record = json.loads((words[-1] / "job.json").read_text())
    assert (words[-1] / "report.html").stat().st_size > 20_000
    return record


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Half maps of a ball of detail (B 250 Å²) in noise, RELION's names, and the truth."""
    folder = tmp_path_factory.mktemp("maps")
    ball = soft_sphere(N, 12, 3)
    truth = (ball * (3.0 + 12.0 * b_factor_map(white(1), VOXEL_A, B_A2))).astype(np.float32)
    for half in (1, 2):
        noisy = (truth + white(1 + half)).astype(np.float32)
        write_mrc(folder / f"run_half{half}_class001_unfil.mrc", noisy, VOXEL_A)
        other = (truth + white(10 + half)).astype(np.float32)
        write_mrc(folder / f"other_half{half}.mrc", other, VOXEL_A)
        few = (truth + 2.0 * white(20 + half)).astype(np.float32)
        write_mrc(folder / f"quarter_half{half}.mrc", few, VOXEL_A)
    write_mrc(folder / "truth.mrc", truth, VOXEL_A)
    write_mrc(folder / "mask.mrc", soft_sphere(N, 13, 5), VOXEL_A)
    return folder


HALF1 = "run_half1_class001_unfil.mrc"


def test_mask_of_noisy_map_covers_the_particle_and_not_the_solvent(maps, tmp_path):
    record = invoke("mask", "--map", maps / HALF1, "--lowpass-A", 20, "--extend-px", 0, "-o",
                    tmp_path / "m")
    mask = read_mrc(tmp_path / "m" / "mask.mrc")
    ball = soft_sphere(N, 12, 3) >= 0.5
    inside = mask.data == 1
    assert mask.voxel_A == pytest.approx(VOXEL_A)
    assert 2 * (inside & ball).sum() / (inside.sum() + ball.sum()) > 0.85
    assert record["results"]["islands"] == 1


def test_masks_of_shapes_and_their_logic_have_the_volume_of_geometry(tmp_path):
    box = ("--box-px", 48, "--voxel-A", 3)
    sphere = invoke("mask", "--shape", "sphere", "--radius-A", 45, *box, "-o", tmp_path / "s")
    volume = 4 / 3 * np.pi * 45**3
    # body: 1/2 of an edge of 5 px beyond the radius of 15 px
    assert sphere["results"]["volume_A3"] == pytest.approx(volume, rel=0.03)
    invoke("mask", "--shape", "cylinder", "--radius-A", 20, "--height-A", 60, *box, "-o",
           tmp_path / "c")
    shell = invoke("mask", "--shape", "shell", "--radius-A", 45, "--inner-radius-A", 30, *box,
                   "-o", tmp_path / "h")
    assert shell["results"]["volume_A3"] == pytest.approx(4 / 3 * np.pi * (45**3 - 30**3), rel=0.05)
    part = invoke("mask", "--or-mask", tmp_path / "s" / "mask.mrc", "--minus-mask",
                  tmp_path / "c" / "mask.mrc", "--edge-px", 4, "-o", tmp_path / "d")
    s, c = (body(read_mrc(tmp_path / name / "mask.mrc").data) for name in "sc")
    assert part["results"]["volume_A3"] == pytest.approx((s & ~c).sum() * 27.0)
    assert (read_mrc(tmp_path / "d" / "mask.mrc").data[s & ~c] == 1).all()
    outside = invoke("mask", "--or-mask", tmp_path / "s" / "mask.mrc", "--invert", "-o",
                     tmp_path / "i")
    assert outside["results"]["volume_A3"] == pytest.approx((~s).sum() * 27.0)


def test_fsc_writes_all_curves_and_finds_both_half_maps_by_relions_name(maps, tmp_path):
    record = invoke("fsc", "--half1", maps / HALF1, "--mask", maps / "mask.mrc",
                    "--molecular-weight-kDa", 100, "-o", tmp_path / "f")
    results = record["results"]
    curve = read_fsc(tmp_path / "f" / "fsc.star")
    assert results["resolution_A"] == resolution_A(curve, VOXEL_A, N)
    assert "rlnFourierShellCorrelationParticleMolWeight" in read_star(
        tmp_path / "f" / "fsc.star")["fsc"]
    points = ET.parse(tmp_path / "f" / "fsc.xml").getroot().findall("coordinate")
    xml = np.array([[float(p.find(axis).text) for axis in "xy"] for p in points])
    assert np.abs(xml[:, 1] - curve).max() < 1e-6
    assert xml[-1, 0] == pytest.approx(0.25)
    cones = read_star(tmp_path / "f" / "fsc_directional.star")["fsc_directional"]
    assert len(cones) > 300
    assert 1.0 < results["anisotropy"] < 1.3


@pytest.fixture(scope="module")
def processed(maps, tmp_path_factory):
    """Folder and job.json of one postprocess with an automatic B-factor."""
    folder = tmp_path_factory.mktemp("processed") / "p"
    return folder, invoke("postprocess", "--half1", maps / HALF1, "--mask", maps / "mask.mrc",
                          "--auto-b-factor", "--b-fit-low-A", 25, "--b-fit-high-A", 7,
                          "--write-half-maps", "-o", folder)


def test_postprocessed_map_is_nearer_to_the_truth_than_the_mean_of_the_halves(maps, tmp_path):
    record = invoke("postprocess", "--half1", maps / HALF1, "--mask", maps / "mask.mrc",
                    "--no-mask-sweep", "-o", tmp_path / "p")
    truth, mask = read_mrc(maps / "truth.mrc").data, read_mrc(maps / "mask.mrc").data > 0.5
    halves = [read_mrc(maps / HALF1.replace("half1", f"half{h}")).data for h in (1, 2)]
    made = read_mrc(tmp_path / "p" / "postprocess.mrc").data
    before, after = (np.corrcoef(m[mask], truth[mask])[0, 1] for m in (sum(halves), made))
    assert 1 - after < 0.6 * (1 - before)
    # FSC 0.5 to the truth and 0.143 of the halves name one resolution, within two shells of noise
    to_truth = resolution_A(fsc(sum(halves) * mask, truth * mask), VOXEL_A, N, 0.5)
    ours = record["results"]["resolution_A"]
    assert abs(N * VOXEL_A / ours - N * VOXEL_A / to_truth) <= 2
    assert np.array_equal(read_mrc(tmp_path / "p" / "postprocess_masked.mrc").data,
                          made * read_mrc(tmp_path / "p" / "mask.mrc").data)


def test_automatic_b_factor_is_that_of_the_particle(processed):
    folder, record = processed
    # noise of the solvent lifts the amplitudes of the whole box: the fall looks slower
    assert record["results"]["b_factor_A2"] == pytest.approx(-B_A2, rel=0.2)
    table = read_postprocess(folder / "postprocess.star")
    assert table.general["b_factor_A2"] == pytest.approx(4 * table.general["guinier_slope"],
                                                         rel=1e-5)


def test_treated_half_maps_have_the_map_as_their_mean(processed):
    folder, _ = processed
    halves = [read_mrc(folder / f"postprocess_half{h}.mrc").data for h in (1, 2)]
    map_ = read_mrc(folder / "postprocess.mrc").data
    assert np.abs((halves[0] + halves[1]) / 2 - map_).max() < 1e-5 * np.abs(map_).max()
    assert np.abs(halves[0] - halves[1]).max() > 0.1 * map_.std()


def test_postprocess_star_has_relions_tables_labels_and_order(processed, data_dir):
    real = data_dir / "relion5_empiar10164_hiv" / "PostProcess" / "job079" / "postprocess.star"
    if not real.is_file():
        pytest.skip(f"real table not found: {real}")
    ours, theirs = read_star(processed[0] / "postprocess.star"), read_star(real)
    assert [table.name for table in ours] == [table.name for table in theirs]
    for name in ("general", "fsc", "guinier"):
        assert ours[name].labels == theirs[name].labels
        assert ours[name].is_loop == theirs[name].is_loop


def test_mtf_sharpens_and_voxel_of_the_option_wins_over_the_header(maps, tmp_path):
    frequency = np.linspace(0, 0.5, 51)
    write_star(tmp_path / "mtf.star", [StarTable("", {
        "rlnResolutionInversePixel": frequency, "rlnMtfValue": np.exp(-2 * frequency)})])
    record = invoke("postprocess", "--half1", maps / HALF1, "--mask", maps / "mask.mrc", "--mtf",
                    tmp_path / "mtf.star", "--mtf-pixel-A", 1.5, "--voxel-A", 3,
                    "--no-mask-sweep", "-o", tmp_path / "p")
    assert record["results"]["voxel_A"] == 3
    plot = read_postprocess(tmp_path / "p" / "postprocess.star").guinier
    gain = plot["mtf_corrected"] - plot["original"]
    # MTF pixel 1.5 Å, voxel 3 Å: Nyquist of the map is 1/4 of a cycle a detector pixel
    assert gain[-1] == pytest.approx(2 * 0.25, abs=0.01)


def test_other_splits_and_subsets_give_spread_and_reslog(maps, tmp_path):
    record = invoke("postprocess", "--half1", maps / HALF1, "--mask", maps / "mask.mrc",
                    "--split-half1", maps / "other_half1.mrc", "--n-particles", 400,
                    "--subset-half1", maps / "quarter_half1.mrc", "--subset-n-particles", 100,
                    "-o", tmp_path / "p")
    results = record["results"]
    assert results["splits"] == 2
    assert results["resolution_splits_sd_A"] < 1.0
    # a quarter of the particles is twice the noise: the planted B-factor is the slope; half a
    # shell at either of two points changes it by 40 %
    assert 0.6 * B_A2 < results["reslog_b_factor_A2"] < 1.7 * B_A2
    assert results["predicted_doubling_A"] < results["resolution_A"]
    page = (tmp_path / "p" / "report.html").read_text()
    for heading in ("Dependence on the mask", "Other random splits",
                    "Resolution and number of particles", "Sharpening"):
        assert heading in page


def test_mask_that_hides_the_particle_is_not_believed(maps, tmp_path):
    aside = soft_sphere(N, 6, 4, (10, 10, 10))
    write_mrc(tmp_path / "aside.mrc", aside, VOXEL_A)
    record = invoke("postprocess", "--half1", maps / HALF1, "--mask", tmp_path / "aside.mrc",
                    "--no-mask-sweep", "-o", tmp_path / "p")
    assert any("unmasked FSC is used" in text for text in record["warnings"])
    assert record["results"]["resolution_A"] == record["results"]["resolution_unmasked_A"]
    forced = invoke("postprocess", "--half1", maps / HALF1, "--mask", tmp_path / "aside.mrc",
                    "--force-mask", "--no-mask-sweep", "-o", tmp_path / "q")
    assert forced["results"]["resolution_A"] > record["results"]["resolution_A"]


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [pytest.param(2, marks=pytest.mark.slow), 3,
                                   pytest.param(4, marks=pytest.mark.slow)])
def test_local_resolution_has_the_same_bits_on_any_number_of_ranks(
        maps, command, local_run, tmp_path, ranks):
    run = command(ranks, *local_words(maps), "-o", str(tmp_path / "l"))
    assert run.returncode == 0, run.stderr
    for name in ("local_resolution.mrc", "local_filtered.mrc", "local_fsc.h5"):
        assert (tmp_path / "l" / name).read_bytes() == (local_run / name).read_bytes()


def local_words(maps):
    return ["local-resolution", "--half1", str(maps / HALF1), "--mask-diameter-A", "76",
            "--step-px", "4", "--window-A", "36", "--unit-points", "40", "--b-factor-A2", "-100",
            "--n-permutations", "200", "--quiet"]


@pytest.fixture(scope="module")
def local_run(maps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("local") / "l"
    invoke(*local_words(maps), "-o", folder)
    return folder


def test_local_resolution_is_good_in_the_particle_and_bad_outside(maps, local_run):
    record = json.loads((local_run / "job.json").read_text())
    found = read_mrc(local_run / "local_resolution.mrc").data
    r = np.sqrt(sum((np.indices((N,) * 3) - N // 2) ** 2))
    whole = record["results"]["resolution_A"]
    # the window of 36 Å is 7 resolutions wide and adds its own width to the frequency
    assert np.median(found[r < 5]) == pytest.approx(whole, rel=0.25)
    assert np.median(found[(r > 17) & (r < 19)]) > 1.3 * np.median(found[r < 5])
    arrays = read_h5(local_run / "local_fsc.h5").arrays
    assert len(arrays["curves"]) == len(arrays["points_zyx"]) == record["results"]["points"]
    filtered = read_mrc(local_run / "local_filtered.mrc").data
    truth = lowpass_map(read_mrc(maps / "truth.mrc").data, VOXEL_A, whole)
    sharp = b_factor_map(truth, VOXEL_A, -100.0)
    assert np.corrcoef(filtered[r < 10], sharp[r < 10])[0, 1] > 0.85


@pytest.mark.mpi
@pytest.mark.slow
def test_killed_local_resolution_goes_on_to_the_same_bits(maps, command, local_run, tmp_path):
    words = [*local_words(maps), "--checkpoint-minutes", "0.003", "-o", str(tmp_path / "l")]
    killed = command(2, *words, plant={"fail": "kill", "rank": 1, "checkpoints": 1, "units": 1,
                                       "sleep_s": 0.1})
    assert killed.returncode != 0
    run = command(2, *words)
    assert run.returncode == 0, run.stderr
    results = json.loads((tmp_path / "l" / "job.json").read_text())["results"]
    assert 0 < results["units_resumed"] < results["units"]
    for name in ("local_resolution.mrc", "local_filtered.mrc", "local_fsc.h5"):
        assert (tmp_path / "l" / name).read_bytes() == (local_run / name).read_bytes()


def test_dry_run_of_local_resolution_writes_nothing(maps, tmp_path):
    result = CliRunner().invoke(cli, [*local_words(maps), "--dry-run", "-o", str(tmp_path / "l")])
    assert result.exit_code == 0
    assert "points" in result.stdout
    assert not (tmp_path / "l").exists()


def test_map_against_a_model_of_its_own_atoms(tmp_path):
    pytest.importorskip("gemmi")
    from sta_mpi.data.atoms import Atoms
    from sta_mpi.simulate.atoms import density_of_atoms

    rng = np.random.default_rng(1)
    xyz = np.clip(rng.normal(0, 9, (400, 3)), -24, 24)
    atoms = Atoms(xyz, np.full(400, "C"), np.full(400, 40.0), np.ones(400))
    write_mrc(tmp_path / "map.mrc", density_of_atoms(atoms, 64, 1.2, centre_A=np.zeros(3)), 1.2)
    lines = [f"ATOM  {i + 1:5d}  CA  ALA A{i + 1:4d}    " + "".join(f"{v + 38.4:8.3f}" for v in at)
             + "  1.00 40.00           C  " for i, at in enumerate(xyz)]
    (tmp_path / "model.pdb").write_text("\n".join([*lines, "END"]) + "\n")
    record = invoke("fsc", "--map", tmp_path / "map.mrc", "--model", tmp_path / "model.pdb", "-o",
                    tmp_path / "f")
    # the model's voxel 0 is at 0: its centre voxel 32 lies at 38.4 Å, where the atoms were put
    assert record["results"]["resolution_model_0.5_A"] <= 2.41
    assert record["results"]["model_correlation"] > 0.99
    mask = invoke("mask", "--map", tmp_path / "map.mrc", "--model", tmp_path / "model.pdb",
                  "--extend-px", 0, "-o", tmp_path / "m")
    assert mask["results"]["volume_A3"] > 400 * 10
