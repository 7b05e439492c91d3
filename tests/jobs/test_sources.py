"""The same particles from tilt images, from 2D stacks and from 3D boxes give one map.

The stacks and boxes are made here as RELION's extraction is described (B.1): data times CTF,
boxes turned by A_sub, weights as CTF^2 in FFT order with the multiplicity behind them.
"""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import open_stack, read_mrc, write_mrc
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.kernels.insert import insert_slices
from sta_mpi.signal.ctf import ctf_coefficients, ctf_images
from sta_mpi.signal.dose import dose_damping
from sta_mpi.signal.fft import FftPlans, radius_rft, shift_phases
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.masks import soft_sphere

BOX, PIXEL_A = 40, 6.0
PLANS = FftPlans(effort="estimate")


def run(*words):
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A simulated project, its true particles and its averages from three sources."""
    folder = tmp_path_factory.mktemp("sources")
    run("simulate", "--n-series", 2, "--n-particles", 20, "--pixel-A", PIXEL_A,
        "--image-width-px", 224, "--image-height-px", 224, "--tilt-step-deg", 6,
        "--thickness-A", 600, "--phantom-radius-A", 60, "--phantom-detail-A", 5, "--snr", 1,
        "--truth-box-px", BOX, "--quiet", "-o", folder / "sim")
    tomograms = read_tomograms(folder / "sim/tomograms.star")
    particles = read_particles(folder / "sim/particles.star", tomograms)
    make_stacks(folder, particles, tomograms)
    make_boxes(folder, particles, tomograms)
    common = ["--tomograms", folder / "sim/tomograms.star", "--quiet", "--noise", "flat"]
    run("average", "--particles", folder / "sim/particles.star", "--box-px", BOX, *common,
        "-o", folder / "from_tilts")
    run("average", "--particles", folder / "stacks.star", *common, "-o", folder / "from_stacks")
    run("average", "--particles", folder / "boxes.star", *common, "-o", folder / "from_boxes")
    return folder


def cut(ts, folder, xyz_A):
    """Transforms of bright patches centred on a position, and the transfer of every tilt."""
    images = open_stack(folder / f"sim/tilt_images/{ts.name}.mrcs")
    position = ts.position_px(xyz_A)
    whole = np.round(position).astype(int)
    out = []
    for i, (x, y) in enumerate(whole):
        padded = np.pad(images[i], BOX, mode="edge")
        patch = -padded[y + BOX // 2: y + BOX // 2 + BOX, x + BOX // 2: x + BOX // 2 + BOX]
        out.append(patch - patch.mean())
    spectra = PLANS.rfft2(np.array(out, np.float32))
    for spectrum, rest in zip(spectra, position - whole, strict=True):
        spectrum *= shift_phases(BOX, -rest)
    s = radius_rft((BOX, BOX // 2 + 1)) / (BOX * PIXEL_A)
    transfer = ctf_images(ctf_coefficients(ts, xyz_A), BOX, PIXEL_A)
    transfer = transfer * dose_damping(ts.pre_dose_e_per_A2, s) * ts.ctf_scale[:, None, None]
    return spectra, transfer.astype(np.float32)


def make_stacks(folder, particles, tomograms):
    """CTF-premultiplied stacks of all tilts, as RELION's 2D extraction writes them."""
    names = []
    (folder / "stacks").mkdir()
    for row in range(len(particles)):
        ts = tomograms.tilt_series(particles.tomo_names[particles.i_tomo[row]])
        spectra, transfer = cut(ts, folder, particles.xyz_A[row])
        names.append(str(folder / f"stacks/{row}_stack2d.mrcs"))
        write_mrc(names[-1], PLANS.irfft2((spectra * transfer).astype(np.complex64)), PIXEL_A)
    changed = replace(particles, image_names=np.array(names, object), is_2d_stack=True,
                      image_pixel_A=PIXEL_A, image_size_px=BOX, is_premultiplied=True,
                      columns=dict(particles.columns))
    write_particles(folder / "stacks.star", changed, tomograms)


def make_boxes(folder, particles, tomograms):
    """Boxes turned by A_sub: data, and CTF^2 followed by the multiplicity."""
    R_box2t = random_rotations(len(particles), np.random.default_rng(4))
    data_names, weight_names = [], []
    (folder / "boxes").mkdir()
    for row in range(len(particles)):
        ts = tomograms.tilt_series(particles.tomo_names[particles.i_tomo[row]])
        spectra, transfer = cut(ts, folder, particles.xyz_A[row])
        sums = np.zeros((BOX, BOX, BOX // 2 + 1, 4), np.float32)
        insert_slices(sums, (spectra * transfer).astype(np.complex64), transfer**2,
                      np.ascontiguousarray((ts.rotation @ R_box2t[row])[:, :2]), BOX // 2 - 1)
        data_names.append(str(folder / f"boxes/{row}_data.mrc"))
        weight_names.append(str(folder / f"boxes/{row}_weights.mrc"))
        write_mrc(data_names[-1], PLANS.irfft3((sums[..., 0] + 1j * sums[..., 1]).astype(
            np.complex64)), PIXEL_A)
        write_mrc(weight_names[-1], np.concatenate([sums[..., 2], sums[..., 3]]), PIXEL_A)
    changed = replace(particles, image_names=np.array(data_names, object), R_box2t=R_box2t,
                      weight_names=np.array(weight_names, object), is_2d_stack=False,
                      image_pixel_A=PIXEL_A, image_size_px=BOX, is_premultiplied=True,
                      columns=dict(particles.columns))
    write_particles(folder / "boxes.star", changed, tomograms)


def curves(project, source):
    """FSC of an average with that from tilt images, and with the truth, under a sphere."""
    mask = soft_sphere(BOX, 12, 4)
    ours = read_mrc(project / f"from_{source}/merged.mrc").data * mask
    tilts = read_mrc(project / "from_tilts/merged.mrc").data * mask
    truth = read_mrc(project / "sim/truth.mrc").data * mask
    return fsc(ours, tilts), fsc(ours, truth)


@pytest.mark.parametrize("source", ["tilts", "stacks", "boxes"])
def test_average_of_each_source_agrees_with_the_truth(project, source):
    truth = curves(project, source)[1]
    # 240 Å box: shell 8 is 30 Å; the boxes are interpolated twice on an unpadded grid
    assert truth[1:9].min() > (0.85 if source == "boxes" else 0.9)


@pytest.mark.parametrize("source", ["stacks", "boxes"])
def test_average_of_other_sources_is_that_of_the_tilt_images(project, source):
    same = curves(project, source)[0]
    assert same[1:9].min() > (0.9 if source == "boxes" else 0.95)
    assert same[3] < 1.0


def test_average_of_boxes_with_the_turn_of_the_box_left_out_is_wrong(project, tmp_path):
    """The test can fail: without A_sub the particles are turned at random."""
    tomograms = read_tomograms(project / "sim/tomograms.star")
    boxes = read_particles(project / "boxes.star", tomograms)
    wrong = replace(boxes, R_box2t=np.broadcast_to(np.eye(3), boxes.R_box2t.shape).copy(),
                    columns=dict(boxes.columns))
    write_particles(tmp_path / "wrong.star", wrong, tomograms)
    run("average", "--particles", tmp_path / "wrong.star", "--tomograms",
        project / "sim/tomograms.star", "--quiet", "-o", tmp_path / "wrong")
    mask = soft_sphere(BOX, 12, 4)
    curve = fsc(read_mrc(tmp_path / "wrong/merged.mrc").data * mask,
                read_mrc(project / "sim/truth.mrc").data * mask)
    assert curve[3:10].mean() < 0.5


def test_grey_scale_of_stacks_does_not_change_the_map(project, tmp_path):
    """Stacks times 1000 give the map times 1000, to the rounding of float32 sums."""
    tomograms = read_tomograms(project / "sim/tomograms.star")
    stacks = read_particles(project / "stacks.star", tomograms)
    names = []
    for row, name in enumerate(stacks.image_names):
        names.append(str(tmp_path / f"{row}_stack2d.mrcs"))
        write_mrc(names[-1], open_stack(name)[:] * np.float32(1000), PIXEL_A)
    scaled = replace(stacks, image_names=np.array(names, object), columns=dict(stacks.columns))
    write_particles(tmp_path / "scaled.star", scaled, tomograms)
    run("average", "--particles", tmp_path / "scaled.star", "--tomograms",
        project / "sim/tomograms.star", "--quiet", "--noise", "flat", "-o", tmp_path / "scaled")
    ours = read_mrc(tmp_path / "scaled/half1.mrc").data / 1000
    plain = read_mrc(project / "from_stacks/half1.mrc").data
    assert np.abs(ours - plain).max() < 1e-3 * plain.std()
