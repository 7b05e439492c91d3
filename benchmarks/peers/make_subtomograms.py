"""Simulated 3D subtomograms in two forms: one for RELION 3.1, one for this program.

    python benchmarks/peers/make_subtomograms.py FOLDER [--particles 8] [--box 64] [--pixel-A 6]

A 70S-sized phantom whose Fourier transform is analytic is seen on 41 tilts from -60 to 60
degrees, each with its CTF, dose damping, a position off the centre and white noise. Every
patch of twice the box is multiplied by its transfer a = D CTF and inserted in a Fourier box
together with a^2; the box is brought back, corrected for the insertion, and cropped. So the
pixels are D = sum a X and the weights W = sum a^2. The two programs get the same numbers:

    ours     D and W as they are (RELION 4/5 pseudo-subtomograms), a RELION 5 project
    RELION   X' = D / sqrt(W) with the 3D CTF sqrt(W), not premultiplied. The noise of D has
             power W, so that of X' is white, which is what RELION 3.1 takes it to be. Where
             nothing was measured (W = 0) X' holds white noise and the CTF is 0.

Grey scales: the reference of each program is the phantom on the scale of its images.

    FOLDER/relion/{global,local}.star, particles/, reference.mrc     run RELION in FOLDER/relion
    FOLDER/ours/{global,local,truth}.star, tomograms.star, boxes/, reference.mrc
    FOLDER/truth.npz, truth.mrc

`global` starts without knowledge of orientations, `local` from the true ones turned by a
Gaussian of --turn-deg an axis; both start at the box centre.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles, TiltSeries
from sta_mpi.formats.mrc import write_mrc
from sta_mpi.formats.relion_particles import write_particles
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_table import StarTable
from sta_mpi.geometry.euler import relion_angles_from_matrix
from sta_mpi.geometry.rotations import random_rotations, rotation_from_vector
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.kernels.insert import insert_slices
from sta_mpi.signal.ctf import ctf_coefficients, ctf_images
from sta_mpi.signal.dose import dose_damping
from sta_mpi.signal.fft import FftPlans, radius_rft, shift_phases
from sta_mpi.signal.filters import lowpass_map
from sta_mpi.simulate.builtin_phantoms import ribosome_phantom
from sta_mpi.simulate.phantom import GaussianPhantom

TILTS_DEG = np.linspace(-60.0, 60.0, 41)
DOSE_E_PER_A2 = 2.5
CS_MM, VOLTAGE_KV = 2.7, 300.0
DEFOCUS_A = np.linspace(16000.0, 37000.0, 8)
"""Of the tilt series, which take turns; together they leave no frequency without signal."""

EMPTY = 2e-3
"""Voxels with less than this share of the largest weight count as not measured."""

Floats = NDArray[np.float64]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Poses:
    """True poses and starts; offsets are from the box centre in tomogram axes [Å]."""

    R_p2t: Floats
    offset_A: Floats
    start_R_p2t: Floats
    xyz_A: Floats


def main() -> None:
    """Simulate and write."""
    arguments = parse_arguments()
    folder, box, pixel_A = arguments.folder, arguments.box, arguments.pixel_A
    rng = np.random.default_rng(arguments.seed)
    tomograms = write_tomograms(folder / "ours", pixel_A)
    poses = draw_poses(arguments.particles, arguments.offset_A, arguments.turn_deg, rng)
    phantom = ribosome_phantom(arguments.detail_A)
    plans = FftPlans(effort="estimate")
    noise_sd = noise_for(phantom, tomograms.tilt_series("TS_1"), box, pixel_A, arguments.snr)
    for i in range(arguments.particles):
        series = tomograms.tilt_series(tomograms.names[i % len(DEFOCUS_A)])
        data, weight = subtomogram(phantom, series, poses, i, box, noise_sd, rng, plans)
        write_mrc(folder / f"ours/boxes/{i + 1}_data.mrc", data, pixel_A)
        write_mrc(folder / f"ours/boxes/{i + 1}_weights.mrc", weight, pixel_A)
        whitened, ctf = for_relion(data, weight, noise_sd, rng, plans)
        write_mrc(folder / f"relion/particles/{i + 1}.mrc", whitened, pixel_A)
        write_mrc(folder / f"relion/particles/{i + 1}_ctf.mrc", ctf, pixel_A)
    write_our_particles(folder / "ours", poses, tomograms, box, pixel_A)
    write_relion_particles(folder / "relion", poses, box, pixel_A)
    truth = phantom.truth_map(box, pixel_A)
    lowpass_A = arguments.reference_lowpass_A
    start = lowpass_map(truth, pixel_A, lowpass_A) if lowpass_A > 0 else truth
    write_mrc(folder / "truth.mrc", truth, pixel_A)
    write_mrc(folder / "ours/reference.mrc", start, pixel_A)
    write_mrc(folder / "relion/reference.mrc", start * relion_scale(box, noise_sd), pixel_A)
    np.savez(folder / "truth.npz", R_p2t=poses.R_p2t, offset_A=poses.offset_A,
             start_R_p2t=poses.start_R_p2t, noise_sd=noise_sd, box=box, pixel_A=pixel_A,
             diameter_A=2 * phantom.radius_A)
    print(f"{arguments.particles} subtomograms of {box} px at {pixel_A} Å in {folder}; particle "
          f"diameter {2 * phantom.radius_A:.0f} Å, noise sd {noise_sd:.4g}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--pixel-A", type=float, default=6.0)
    parser.add_argument("--snr", type=float, default=0.05,
                        help="signal power over noise power of a tilt image over the box")
    parser.add_argument("--detail-A", type=float, default=4.0)
    parser.add_argument("--offset-A", type=float, default=9.0,
                        help="offsets are drawn evenly from a ball of this radius")
    parser.add_argument("--turn-deg", type=float, default=2.0, help="sd of the local start")
    parser.add_argument("--reference-lowpass-A", type=float, default=0.0, help="0: the truth")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def write_tomograms(folder: Path, pixel_A: float) -> TomogramSet:
    """A RELION 5 project of tilt series without images, one a defocus."""
    order = np.argsort(np.argsort(np.abs(TILTS_DEG) + 1e-3 * (TILTS_DEG < 0)))
    n, m = len(TILTS_DEG), len(DEFOCUS_A)
    names = [f"TS_{i + 1}" for i in range(m)]
    for name, defocus in zip(names, DEFOCUS_A, strict=True):
        write_star(folder / f"tilt_series/{name}.star", [StarTable(name, {
            "rlnMicrographPreExposure": DOSE_E_PER_A2 * order, "rlnTomoXTilt": np.zeros(n),
            "rlnTomoYTilt": TILTS_DEG, "rlnTomoZRot": np.full(n, 85.0),
            "rlnTomoXShiftAngst": np.zeros(n), "rlnTomoYShiftAngst": np.zeros(n),
            "rlnDefocusU": np.full(n, defocus), "rlnDefocusV": np.full(n, defocus),
            "rlnDefocusAngle": np.zeros(n)})])
    write_star(folder / "tomograms.star", [StarTable("global", {
        "rlnTomoName": names, "rlnVoltage": [VOLTAGE_KV] * m,
        "rlnSphericalAberration": [CS_MM] * m, "rlnAmplitudeContrast": [0.1] * m,
        "rlnTomoTiltSeriesPixelSize": [pixel_A] * m, "rlnTomoHand": [-1.0] * m,
        "rlnTomoTiltSeriesStarFile": [f"tilt_series/{name}.star" for name in names],
        "rlnTomoSizeX": [1000] * m, "rlnTomoSizeY": [1000] * m, "rlnTomoSizeZ": [300] * m})])
    return read_tomograms(folder / "tomograms.star", folder)


def draw_poses(n: int, offset_A: float, turn_deg: float, rng: np.random.Generator) -> Poses:
    """Random orientations, offsets and places in the tomogram."""
    R = random_rotations(n, rng)
    turn = rotation_from_vector(np.radians(turn_deg) * rng.standard_normal((n, 3)))
    away = rng.standard_normal((n, 3))
    away *= (offset_A * np.cbrt(rng.uniform(size=n)) / np.linalg.norm(away, axis=1))[:, None]
    return Poses(R, away, R @ turn,
                 rng.uniform(-1.0, 1.0, (n, 3)) * [2000.0, 2000.0, 500.0])


def transfer(series: TiltSeries, xyz_A: Floats, n: int, pixel_A: float) -> Map:
    """CTF at the particle's depth times dose damping, (n_tilts, n, n//2+1)."""
    s_per_A = radius_rft((n, n // 2 + 1)) / (n * pixel_A)
    damping = [dose_damping(dose, s_per_A) for dose in series.pre_dose_e_per_A2]
    images = ctf_images(ctf_coefficients(series, xyz_A), n, pixel_A) * np.array(damping)
    return np.asarray(images, np.float32)


def noise_for(phantom: GaussianPhantom, series: TiltSeries, box: int, pixel_A: float,
              snr: float) -> float:
    """Noise sd a pixel at which the untilted image of the box has this signal-to-noise."""
    view = phantom.views_rft(series.rotation[20:21], box, pixel_A)
    view = view * transfer(series, np.zeros(3), box, pixel_A)[20:21]
    view[:, 0, 0] = 0
    both_halves = 2 * float((np.abs(view) ** 2).sum()) - float((np.abs(view[..., 0]) ** 2).sum())
    return float(np.sqrt(both_halves / box**2 / snr))


def subtomogram(phantom: GaussianPhantom, series: TiltSeries, poses: Poses, row: int, box: int,
                noise_sd: float, rng: np.random.Generator, plans: FftPlans) -> tuple[Map, Map]:
    """Data sum a X (n, n, n) and weights sum a^2 (n, n, n//2+1) of one particle."""
    n, pixel_A = 2 * box, series.pixel_A
    images = phantom.views_rft(series.rotation @ poses.R_p2t[row], n, pixel_A)
    moved_px = (series.rotation @ poses.offset_A[row])[:, :2] / pixel_A
    for image, shift in zip(images, moved_px, strict=True):
        image *= shift_phases(n, shift)
    gain = transfer(series, poses.xyz_A[row], n, pixel_A)
    images *= gain
    images += plans.rfft2(rng.normal(scale=noise_sd, size=(len(images), n, n)))
    sums = np.zeros((n, n, n // 2 + 1, 4), np.float32)
    axes = np.ascontiguousarray(series.rotation[:, :2])
    insert_slices(sums, (images * gain).astype(np.complex64), gain**2, axes, n // 2 - 1)
    data = correct_gridding(plans.irfft3((sums[..., 0] + 1j * sums[..., 1]).astype(np.complex64)))
    inner = slice(n // 2 - box // 2, n // 2 + box // 2)
    return np.ascontiguousarray(data[inner, inner, inner]), noise_weight(sums[..., 2], box, plans)


def noise_weight(weight: Map, box: int, plans: FftPlans) -> Map:
    """Weights of the cropped box: the noise power that cropping leaves at its frequencies.

    Cutting a box smooths noise power over frequency with the square of the box's transform,
    which in real space is a triangular window; every second frequency is one of the small box.
    """
    n = len(weight)
    spread = correct_gridding(plans.irfft3(weight.astype(np.complex64)))
    window = np.maximum(0.0, 1.0 - np.abs(np.arange(n) - n // 2) / box)
    spread *= (window[:, None, None] * window[:, None] * window).astype(np.float32)
    smooth = plans.rfft3(spread)[::2, ::2, ::2].real
    return np.ascontiguousarray(np.maximum(smooth, 0.0), np.float32)


def relion_scale(box: int, noise_sd: float) -> float:
    """Factor that brings D / sqrt(W) to a noise of variance 1 a voxel.

    The noise of D at a frequency is noise_sd^2 W / 2 in the scale rfftn / n: cropping to half
    the edge keeps 1/8 of the voxels and n^2 of that scale falls by 4.
    """
    return float(np.sqrt(2.0 * box) / noise_sd)


def for_relion(data: Map, weight: Map, noise_sd: float, rng: np.random.Generator,
               plans: FftPlans) -> tuple[Map, Map]:
    """Whitened box of background variance 1, and its 3D CTF (n, n, n//2+1)."""
    n = len(data)
    measured = weight > EMPTY * weight.max()
    ctf = np.sqrt(np.where(measured, weight, 0.0))
    filled = plans.rfft3(rng.normal(scale=1.0, size=(n, n, n)))
    filled[measured] = (plans.rfft3(data)[measured] / ctf[measured]) * relion_scale(n, noise_sd)
    filled[0, 0, 0] = 0.0
    return plans.irfft3(filled), ctf.astype(np.float32)


def write_our_particles(folder: Path, poses: Poses, tomograms: TomogramSet, box: int,
                        pixel_A: float) -> None:
    """Particle tables of boxes parallel to the tomogram."""
    n, m = len(poses.R_p2t), len(DEFOCUS_A)
    unknown = np.repeat(np.eye(3)[None], n, axis=0)
    zero = np.zeros((n, 3))
    for name, R, offset_A in (("global", unknown, zero), ("local", poses.start_R_p2t, zero),
                              ("truth", poses.R_p2t, poses.offset_A)):
        particles = Particles(
            tomo_names=list(tomograms.names), i_tomo=(np.arange(n) % m).astype(np.int32),
            names=np.array([f"{tomograms.names[i % m]}/{i + 1}" for i in range(n)], object),
            xyz_A=poses.xyz_A,
            offset_A=offset_A, R_p2t=R, R_box2t=unknown,
            half=(np.arange(n) // m % 2 + 1).astype(np.int8),
            optics_group=(np.arange(n) % m + 1).astype(np.int32),
            image_names=np.array([str(folder / f"boxes/{i + 1}_data.mrc") for i in range(n)],
                                 object),
            weight_names=np.array([str(folder / f"boxes/{i + 1}_weights.mrc") for i in range(n)],
                                  object),
            is_2d_stack=False, image_pixel_A=pixel_A, image_size_px=box, is_premultiplied=True)
        write_particles(folder / f"{name}.star", particles, tomograms)


def write_relion_particles(folder: Path, poses: Poses, box: int, pixel_A: float) -> None:
    """Particle tables in RELION 3.1's form, paths relative to `folder`.

    No columns rlnAngle*Prior: RELION would keep its local searches around them for ever, not
    around the poses of the iteration before.
    """
    n = len(poses.R_p2t)
    optics = StarTable("optics", {
        "rlnOpticsGroupName": ["opticsGroup1"], "rlnOpticsGroup": [1],
        "rlnMicrographOriginalPixelSize": [pixel_A], "rlnVoltage": [VOLTAGE_KV],
        "rlnSphericalAberration": [CS_MM], "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [pixel_A], "rlnImageSize": [box], "rlnImageDimensionality": [3],
        "rlnCtfDataAreCtfPremultiplied": [0]})
    common = {
        "rlnMicrographName": ["TS_1"] * n, "rlnOpticsGroup": np.ones(n, int),
        "rlnImageName": [f"particles/{i + 1}.mrc" for i in range(n)],
        "rlnCtfImage": [f"particles/{i + 1}_ctf.mrc" for i in range(n)],
        "rlnRandomSubset": np.arange(n) // len(DEFOCUS_A) % 2 + 1}
    for axis in "XYZ":
        common |= {f"rlnCoordinate{axis}": np.arange(n) * 100.0, f"rlnOrigin{axis}Angst":
                   np.zeros(n)}
    angles = relion_angles_from_matrix(poses.start_R_p2t)
    for name, values in (("global", np.zeros((n, 3))), ("local", angles)):
        columns = dict(common)
        for axis, label in enumerate(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")):
            columns[label] = values[:, axis]
        write_star(folder / f"{name}.star", [optics, StarTable("particles", columns)])


if __name__ == "__main__":
    main()
