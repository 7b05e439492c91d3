"""`mask` and `postprocess` against RELION's own programs on the same maps, if they are there.

Low-pass cutoffs are whole shells here: RELION rounds others to one, this program does not.
"""

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_fsc import read_postprocess
from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_table import StarTable
from sta_mpi.signal.filters import b_factor_map
from sta_mpi.signal.masks import soft_sphere

N, VOXEL_A = 64, 1.5


def ours(*words):
    result = CliRunner().invoke(cli, [*map(str, words), "--quiet"])
    assert result.exit_code == 0, result.stderr


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Half maps of a ball of detail (B 120 Å²) in noise, a mask and an MTF."""
    folder = tmp_path_factory.mktemp("relion")
    rng = np.random.default_rng(1)
    detail = b_factor_map(rng.standard_normal((N, N, N)).astype(np.float32), VOXEL_A, 120.0)
    signal = soft_sphere(N, 16, 4) * (2.0 + 8.0 * detail)
    for half in (1, 2):
        noisy = signal + rng.standard_normal((N, N, N))
        write_mrc(folder / f"half{half}.mrc", noisy.astype(np.float32), VOXEL_A)
    write_mrc(folder / "clean.mrc", signal.astype(np.float32), VOXEL_A)
    write_mrc(folder / "mask.mrc", soft_sphere(N, 18, 6), VOXEL_A)
    # RELION takes an MTF of 1 in the first interval of the table: it is made shorter than a shell
    frequency = np.linspace(0, 0.5, 101)
    write_star(folder / "mtf.star", [StarTable("", {
        "rlnResolutionInversePixel": frequency, "rlnMtfValue": np.exp(-2 * frequency)})])
    return folder


@pytest.mark.parametrize(("theirs", "mine"), [
    (("--extend_inimask", 3, "--width_soft_edge", 5), ("--extend-px", 3, "--edge-px", 5)),
    (("--lowpass", 8, "--angpix", VOXEL_A, "--extend_inimask", -2, "--width_soft_edge", 6),
     ("--lowpass-A", 8, "--extend-px", -2, "--edge-px", 6))])
def test_mask_is_relions_to_the_last_bit(relion, maps, tmp_path, theirs, mine):
    relion("relion_mask_create", maps, "--i", "clean.mrc", "--o", tmp_path / "mask.mrc",
           "--ini_threshold", 0.9, *theirs)
    no_lowpass = () if "--lowpass-A" in mine else ("--lowpass-A", 1)
    ours("mask", "--map", maps / "clean.mrc", "--threshold", 0.9, "--min-island-share", 0,
         *no_lowpass, *mine, "-o", tmp_path / "m")
    expected, found = (read_mrc(tmp_path / name).data for name in ("mask.mrc", "m/mask.mrc"))
    # the same formula in single precision: equal bits are no accident, and the mask is not trivial
    assert 0.02 < expected.mean() < 0.9
    assert np.array_equal(found, expected)


@pytest.fixture(scope="module")
def both(relion, maps, tmp_path_factory):
    """A function that postprocesses by both programs: (their table, map, ours)."""
    def run(theirs, mine):
        folder = tmp_path_factory.mktemp("both")
        relion("relion_postprocess", maps, "--i", "half1.mrc", "--i2", "half2.mrc", "--mask",
               "mask.mrc", "--angpix", VOXEL_A, "--o", folder / "post", *theirs)
        ours("postprocess", "--half1", maps / "half1.mrc", "--mask", maps / "mask.mrc",
             "--no-mask-sweep", *mine, "-o", folder / "p")
        return (read_postprocess(folder / "post.star"), read_mrc(folder / "post.mrc").data,
                read_postprocess(folder / "p" / "postprocess.star"),
                read_mrc(folder / "p" / "postprocess.mrc").data)

    return run


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_postprocess_gives_relions_map_and_numbers(both):
    theirs, their_map, mine, my_map = both(
        ("--auto_bfac", "--autob_lowres", 10, "--molweight", 100),
        ("--auto-b-factor", "--molecular-weight-kDa", 100))
    for key in ("fraction_solvent_mask", "fraction_molecular_weight", "molecular_weight"):
        assert mine.general[key] == pytest.approx(theirs.general[key], rel=1e-5)
    # RELION counts the samples of the plane kx = 0 twice: small shells differ in the third digit
    for key in ("unmasked", "masked", "particle_mask_fraction", "particle_mol_weight"):
        assert np.abs(mine.curves[key] - theirs.curves[key]).max() < 0.02
    assert mine.general["randomise_from_A"] == pytest.approx(theirs.general["randomise_from_A"],
                                                             rel=1e-5)
    # other random phases: the corrected curve scatters, and with it resolution and B
    shells = [N * VOXEL_A / t.general["final_resolution_A"] for t in (mine, theirs)]
    assert abs(shells[0] - shells[1]) <= 1
    assert mine.general["b_factor_A2"] == pytest.approx(theirs.general["b_factor_A2"], rel=0.05)
    original = mine.guinier["original"] - theirs.guinier["original"]
    assert np.abs(original[2:]).max() < 0.05
    assert correlation(my_map, their_map) > 0.998
    assert my_map.std() == pytest.approx(their_map.std(), rel=0.03)


@pytest.mark.parametrize(("theirs", "mine"), [
    (("--skip_fsc_weighting", "--low_pass", 8, "--adhoc_bfac", -60),
     ("--no-fsc-weighting", "--lowpass-A", 8, "--b-factor-A2", -60)),
    (("--mtf", "mtf.star", "--mtf_angpix", 1.0, "--skip_fsc_weighting", "--low_pass", 6),
     ("--mtf", "mtf.star", "--mtf-pixel-A", 1.0, "--no-fsc-weighting", "--lowpass-A", 6))])
def test_map_without_random_phases_is_relions_within_rounding(both, maps, theirs, mine):
    mine = tuple(maps / word if word == "mtf.star" else word for word in mine)
    _, their_map, _, my_map = both(theirs, mine)
    assert correlation(my_map, their_map) > 0.99999
    assert np.abs(my_map - their_map).max() < 0.01 * their_map.std()
