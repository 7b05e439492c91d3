"""The subtomograms that peers are compared on are what their page says; no peer is needed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.star import read_star

PEERS = Path(__file__).resolve().parents[2] / "benchmarks/peers"
BOX, PIXEL_A = 32, 12.0


def python(*words, **options):
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True,
                          check=False, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three particles as both programs get them."""
    out = tmp_path_factory.mktemp("peers")
    done = python(PEERS / "make_subtomograms.py", out, "--particles", 3, "--box", BOX,
                  "--pixel-A", PIXEL_A, "--snr", 0.02)
    assert done.returncode == 0, done.stderr
    return out


def spectrum(volume):
    """Transform with the origin at index 0, noise of variance 1 having power 1."""
    return np.fft.rfftn(np.fft.ifftshift(volume)) / np.sqrt(volume.size)


def radius():
    full, half = np.fft.fftfreq(BOX, 1 / BOX), np.arange(BOX // 2 + 1)
    return np.sqrt(full[:, None, None]**2 + full[:, None]**2 + half**2)


def test_noise_of_relions_boxes_is_white_with_variance_one(folder):
    for i in (1, 2, 3):
        power = np.abs(spectrum(read_mrc(folder / f"relion/particles/{i}.mrc").data)) ** 2
        ctf = read_mrc(folder / f"relion/particles/{i}_ctf.mrc").data
        outer = radius() > 12    # the signal is below 2 % of the noise there
        # some thousand voxels, correlated over a few: 3 % noise of the mean, 3 % signal
        assert power[outer & (ctf > 0)].mean() == pytest.approx(1, abs=0.08)
        assert power[outer & (ctf == 0)].mean() == pytest.approx(1, abs=0.08)


def test_relions_image_is_the_turned_reference_times_the_ctf(folder):
    """Turning RELION's reference by the angles of its table (scipy, not our code) explains it."""
    from scipy.ndimage import map_coordinates
    from scipy.spatial.transform import Rotation
    truth = np.load(folder / "truth.npz")
    reference = read_mrc(folder / "relion/reference.mrc").data
    start = read_star(folder / "relion/local.star")["particles"]
    grid = np.stack(np.meshgrid(*[np.arange(BOX) - BOX // 2] * 3, indexing="ij"), -1)[..., ::-1]
    for i in range(3):
        angles = [start.floats(f"rlnAngle{a}")[i] for a in ("Rot", "Tilt", "Psi")]
        A = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
        np.testing.assert_allclose(A, truth["start_R_p2t"][i], atol=1e-6)
        at = (grid - truth["offset_A"][i] / PIXEL_A) @ truth["R_p2t"][i] + BOX // 2
        turned = map_coordinates(reference, at[..., ::-1].reshape(-1, 3).T, order=3)
        ctf = read_mrc(folder / f"relion/particles/{i + 1}_ctf.mrc").data
        model = spectrum(turned.reshape((BOX,) * 3)) * ctf
        image = spectrum(read_mrc(folder / f"relion/particles/{i + 1}.mrc").data)
        low = (radius() < 8.5) & (radius() > 2.5)
        scale = np.vdot(model[low], image[low]).real / np.vdot(model[low], model[low]).real
        # Weights in a box are those of the noise, a voxel wide; the signal's are narrower. Without
        # noise the scale is 0.8 to 1.1, rising with the shell (0.7 in the first two).
        assert scale == pytest.approx(1, abs=0.25)


def test_both_forms_hold_the_same_numbers(folder):
    data = spectrum(read_mrc(folder / "ours/boxes/2_data.mrc").data)
    weight = read_mrc(folder / "ours/boxes/2_weights.mrc").data
    ctf = read_mrc(folder / "relion/particles/2_ctf.mrc").data
    image = spectrum(read_mrc(folder / "relion/particles/2.mrc").data)
    seen = (ctf > 0) & (radius() > 0)
    np.testing.assert_allclose(ctf[seen] ** 2, weight[seen], rtol=1e-4)
    ratio = (image[seen] * ctf[seen] / data[seen]).real
    assert ratio.std() < 1e-3 * ratio.mean()


def test_benchmark_without_relion_says_what_to_install(tmp_path):
    done = python(PEERS / "relion_refine_peer.py", env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert "relion_refine is not installed" in done.stderr
    assert "Traceback" not in done.stderr
