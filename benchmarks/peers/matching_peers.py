"""Template matching of one tomogram and rotation list: this program, scipy, pyFFTW, pyTME.

    OMP_NUM_THREADS=1 python benchmarks/peers/matching_peers.py [--order 2] [--pytme PYTHON]

A tomogram of noise with planted chiral objects and a missing wedge of +-60 degrees. All get the
same template, mask, rotation list and band. The peers correlate the whole tomogram with every
rotation, in real space turned by a cubic spline, and divide by the same local deviation; they get
the tomogram already filtered and whitened (its cost is not counted), at its own voxels and, named
"cut", at the coarser voxels that the band allows, which is what this program does by itself. pyTME
has its own score (FLCSphericalMask) and its own environment. Ours is counted from the raw tomogram
to the list of peaks.

Tiles are counted as tiles of 64^3 *original* voxels, so that coarser voxels count for speed; a
second column counts voxels of the grid that was used. "Same peaks": share of the best peaks of
the plain scipy search, as many as were planted, that lie within 20 Å of one of the others' best.
CPU seconds of the process, one thread.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyfftw
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial import cKDTree

from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.geometry.sampling import healpix_rotations
from sta_mpi.jobs.match import choose_peaks, find_candidates, scan_rotations
from sta_mpi.jobs.match_input import load_input, read_volume
from sta_mpi.jobs.match_plan import make_wedge, plan_tomogram, rotations_of
from sta_mpi.jobs.match_refine import RefineJob
from sta_mpi.jobs.match_scan import ScanJob, SharedVolume
from sta_mpi.jobs.parameters.match import MatchParameters
from sta_mpi.parallel.engine import run_job
from sta_mpi.parallel.runtime import Runtime
from sta_mpi.pick.match_peaks import local_maxima, thin_points
from sta_mpi.pick.match_volume import (
    MatchFilter,
    frequencies,
    local_sd,
    on_frequencies,
    prepare_volume,
    search_shape,
)
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.placement import random_positions

sys.path.insert(0, str(Path(__file__).parent.parent / "micro"))
from timing import print_table

VOXEL_A, BOX = 10.0, 24
MASK_A, LOWPASS_A, HIGHPASS_A, EDGE_A = 160.0, 40.0, 320.0, 80.0
NOISE = 1.0
NEAR_A = 20.0
A3_EACH = 3.4e7
"""Volume that one planted object has for itself."""

Real = NDArray[np.float32]
Floats = NDArray[np.float64]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """Tomogram (bright), template, and where the objects are."""

    tomogram: Real
    template: Real
    centres_A: Floats

    @property
    def shape(self) -> Shape:
        """Of the tomogram, zyx."""
        z, y, x = self.tomogram.shape
        return z, y, x


@dataclass(frozen=True)
class Search:
    """What a method found: positions [Å], best first, and its CPU seconds."""

    name: str
    xyz_A: Floats
    seconds: float
    n_rotations: int
    n_voxels: int


def make_scene(rng: np.random.Generator, shape: Shape) -> Scene:
    """Plant turned phantoms in noise, then take the missing wedge away."""
    phantom = chiral_phantom(60.0, 9.0)
    extent = np.array(shape[::-1]) * VOXEL_A - 2.4 * EDGE_A
    n = round(float(np.prod(shape)) * VOXEL_A**3 / A3_EACH)
    centres = random_positions(n, extent, MASK_A, rng)[:n]
    R = random_rotations(len(centres), rng)
    axes = [(np.arange(n) - n / 2) * VOXEL_A for n in shape]
    clean = np.zeros(shape)
    for centre, turn in zip(centres, R, strict=True):
        clean += _blobs(phantom, phantom.centre_A @ turn.T + centre, axes)
    clean *= 1.0 / clean.max()
    dirty = clean + NOISE * 0.35 * rng.standard_normal(shape)
    F = scipy.fft.rfftn(dirty) * seen(shape)
    middle = [(np.arange(BOX) - BOX // 2) * VOXEL_A] * 3
    template = _blobs(phantom, phantom.centre_A, middle)
    return Scene(scipy.fft.irfftn(F, s=shape).astype(np.float32), template.astype(np.float32),
                 centres)


def _blobs(phantom: Any, centre_A: Floats, axes: list[Floats]) -> Floats:
    z, y, x = (np.exp(-0.5 * ((axis - centre_A[:, i, None]) / phantom.sigma_A[:, None]) ** 2)
               for axis, i in zip(axes, (2, 1, 0), strict=True))
    z = z * (phantom.mass / phantom.sigma_A**3)[:, None]
    return np.asarray(np.einsum("bz,by,bx->zyx", z, y, x, optimize=True))


def seen(shape: tuple[int, ...]) -> Real:
    """1 where tilts about y to 60 degrees measured."""
    kz, kx = np.fft.fftfreq(shape[0])[:, None, None], np.fft.rfftfreq(shape[2])
    inside = np.abs(kz) <= np.abs(kx) * np.tan(np.radians(60.0)) + 1e-9
    return np.broadcast_to(inside, (shape[0], shape[1], len(kx))).astype(np.float32)


class Whole:
    """Correlation of the whole tomogram with one turned template after the other."""

    def __init__(self, scene: Scene, is_cut: bool, library: str) -> None:
        rule = MatchFilter(LOWPASS_A, HIGHPASS_A, MASK_A, EDGE_A, 0.0)
        shape = search_shape(scene.shape, VOXEL_A, LOWPASS_A) if is_cut else scene.shape
        self.voxels = np.array(scene.shape) * VOXEL_A / np.array(shape)
        self.shape = tuple(scipy.fft.next_fast_len(n, real=True) for n in shape)
        self.n_planted = len(scene.centres_A)
        volume = prepare_volume(scene.tomogram, VOXEL_A, rule)
        self._filter(scene, shape, rule, volume)
        self.template = _resampled(scene.template, VOXEL_A, float(self.voxels.mean()))
        self._library(library)
        self.radius = 0.5 * MASK_A / self.voxels

    def _filter(self, scene: Scene, shape: Any, rule: MatchFilter, volume: Any) -> None:
        s = frequencies(scene.shape, np.full(3, VOXEL_A))
        noise = on_frequencies(volume.noise_power, s, volume.shell_per_A)
        band = rule.band(s).astype(np.float32)
        F = scipy.fft.rfftn(scene.tomogram)
        whitened = scipy.fft.irfftn(F * band / np.sqrt(noise), s=scene.shape).astype(np.float32)
        if shape != scene.shape:
            whitened = _cut(whitened, shape)
        self.sd = local_sd(whitened, np.ones(shape, bool), 0.5 * MASK_A / self.voxels)
        self.whitened = whitened
        pads = [(0, m - n) for n, m in zip(shape, self.shape, strict=True)]
        s = frequencies(self.shape, self.voxels)
        noise = on_frequencies(volume.noise_power, s, volume.shell_per_A)
        self.on_template = (rule.band(s) * seen(self.shape) / np.sqrt(noise)).astype(np.float32)
        self.G = scipy.fft.rfftn(np.pad(whitened, pads)) * self.on_template
        self.weight = self.on_template**2
        self.used = shape

    def _library(self, name: str) -> None:
        half = (*self.shape[:2], self.shape[2] // 2 + 1)
        real = pyfftw.empty_aligned(self.shape, "float32")
        rft = pyfftw.empty_aligned(half, "complex64")
        if name == "pyfftw":
            flags = ("FFTW_MEASURE",)
            to_half = pyfftw.FFTW(real, rft, axes=(0, 1, 2), flags=flags)
            to_real = pyfftw.FFTW(rft, real, axes=(0, 1, 2), direction="FFTW_BACKWARD",
                                  flags=flags, normalise_idft=True)
            self.to_half: Callable[..., Any] = lambda x: to_half(x)
            self.to_real: Callable[..., Any] = lambda x: to_real(x)
        else:
            self.to_half = lambda x: scipy.fft.rfftn(x)
            self.to_real = lambda x: scipy.fft.irfftn(x, s=self.shape)

    def search(self, rotations: Floats, name: str) -> Search:
        """Largest score over the rotations and its peaks."""
        start = time.process_time()
        best = np.full(self.shape, -np.inf, np.float32)
        padded = np.zeros(self.shape, np.float32)
        n = len(self.template)
        for R in rotations:
            turned = _turned(self.template, R)
            padded[:] = 0
            padded[:n, :n, :n] = turned
            T = self.to_half(np.roll(padded, (-(n // 2),) * 3, (0, 1, 2)))
            norm = np.sqrt(2 * np.sum((T.real**2 + T.imag**2) * self.weight, dtype=np.float64)
                           / padded.size)
            scores = self.to_real(np.conj(T) * self.G)
            np.maximum(best, scores / np.float32(norm), out=best)
        best = best[tuple(slice(0, n) for n in self.used)] / self.sd
        seconds = time.process_time() - start
        return Search(name, peaks(best, self.voxels, self.n_planted), seconds, len(rotations),
                      best.size)


def _turned(template: Real, R: Floats) -> Real:
    """The density at x is that of the template at R^T x."""
    flip = R[::-1, ::-1]
    centre = np.full(3, len(template) // 2, float)
    return np.asarray(affine_transform(template, flip.T, centre - flip.T @ centre, order=3))


def _resampled(template: Real, voxel_A: float, new_A: float) -> Real:
    if abs(new_A - voxel_A) < 1e-6:
        return template
    n = 2 * int(np.ceil(0.5 * len(template) * voxel_A / new_A))
    shift = len(template) // 2 - n // 2 * new_A / voxel_A
    return np.asarray(affine_transform(template, np.eye(3) * new_A / voxel_A, shift,
                                       output_shape=(n,) * 3, order=3), np.float32)


def _cut(volume: Real, shape: tuple[int, int, int]) -> Real:
    F = scipy.fft.rfftn(volume)
    z, y = (np.r_[0:(m + 1) // 2, n - m // 2:n] for n, m in zip(F.shape[:2], shape[:2],
                                                              strict=True))
    return np.asarray(scipy.fft.irfftn(F[np.ix_(z, y, np.arange(shape[2] // 2 + 1))], s=shape),
                      np.float32)


def peaks(scores: Real, voxels_A: Floats, n: int) -> Floats:
    """Positions xyz of the best peaks, as many as were planted, off the borders."""
    allowed = np.zeros(scores.shape, bool)
    margin = [int(np.ceil(EDGE_A / v)) for v in voxels_A]
    allowed[tuple(slice(m, n - m) for m, n in zip(margin, scores.shape, strict=True))] = True
    points = local_maxima(scores, allowed, 20 * n)
    xyz = ((points - np.array(scores.shape) / 2) * voxels_A)[:, ::-1]
    kept = thin_points(xyz, scores[tuple(points.T)], 0.6 * MASK_A)
    return np.asarray(xyz[kept][:n])


def ours(scene: Scene, folder: Path, order: int, search: str) -> Search:
    """This program, from the tomogram in a file to its peaks."""
    write_mrc(folder / "tomo.mrc", scene.tomogram, VOXEL_A)
    write_mrc(folder / "template.mrc", scene.template, VOXEL_A)
    p = MatchParameters(
        tomogram=(folder / "tomo.mrc",), reference=folder / "template.mrc", output=folder / "out",
        mask_diameter_A=MASK_A, lowpass_A=LOWPASS_A, highpass_A=HIGHPASS_A, edge_A=EDGE_A,
        healpix_order=order, search=search, tomogram_contrast="bright", bead_sigmas=0.0)
    runtime = Runtime()
    best = np.inf
    for _ in range(2):    # the first compiles and plans
        start = time.process_time()
        inputs = load_input(p)
        plan = plan_tomogram(p, inputs, inputs.sources[0])
        whole = prepare_volume(read_volume(plan.source), VOXEL_A, plan.rule)
        volume = SharedVolume(whole.filtered, whole.noise_power, whole.shell_per_A, whole)
        wedge = make_wedge(p, plan)
        scan = ScanJob(plan, wedge, volume, scan_rotations(p, inputs), "benchmark", folder)
        maps = run_job(scan, runtime).outputs
        candidates, statistics = find_candidates(plan, whole, maps)
        refine = RefineJob(plan, wedge, volume, rotations_of(p, order), candidates, "benchmark",
                           folder)
        found = choose_peaks(p, plan, whole, candidates, run_job(refine, runtime).outputs,
                             statistics, 0).of(0, 1)
        best = min(best, time.process_time() - start)
    return Search(f"sta-mpi match, {search}", found.xyz_A[:len(scene.centres_A)], best,
                  len(rotations_of(p, order)), int(np.prod(plan.shape)))


def pytme(scene: Scene, whole: Whole, rotations: Floats, python: str, folder: Path) -> Search:
    """pyTME in its own environment, on the whitened tomogram."""
    template = _filtered_template(scene, whole)
    n = len(template)
    grid = np.indices(template.shape) - n // 2
    mask = (np.sqrt((grid**2).sum(axis=0)) <= whole.radius.mean()).astype(np.float32)
    # it turns templates by matrices that act on zyx
    np.savez(folder / "in.npz", target=whole.whitened, template=template, mask=mask,
             rotations=np.ascontiguousarray(rotations[:, ::-1, ::-1]))
    subprocess.run([python, str(Path(__file__).with_name("pytme_peer.py")),
                    str(folder / "in.npz"), str(folder / "out.npz")], check=True)
    found = np.load(folder / "out.npz")
    return Search(f"pyTME {found['version']}, FLCSphericalMask",
                  peaks(found["scores"].astype(np.float32), whole.voxels, whole.n_planted),
                  float(found["seconds"]), len(rotations), found["scores"].size)


def _filtered_template(scene: Scene, whole: Whole) -> Real:
    """The template with the radial part of the filter; pyTME gets no wedge."""
    n = 2 * len(whole.template)
    rule = MatchFilter(LOWPASS_A, HIGHPASS_A, MASK_A, EDGE_A, 0.0)
    wide = np.pad(whole.template, n // 4)
    F = scipy.fft.rfftn(wide) * rule.band(frequencies((n, n, n), whole.voxels))
    cut = slice(n // 4, n // 4 + n // 2)
    return np.asarray(scipy.fft.irfftn(F, s=(n, n, n))[cut, cut, cut], np.float32)


def agreement(reference: Floats, other: Floats) -> float:
    """Share of the reference's peaks that the other list has too."""
    return float((cKDTree(other).query(reference)[0] <= NEAR_A).mean())


def row(found: Search, reference: Search, scene: Scene, n_original: int) -> list[str]:
    """One line of the table."""
    rate = found.n_rotations / found.seconds
    base = reference.n_rotations / reference.seconds
    return [found.name, f"{found.n_voxels:,}", f"{found.seconds:.1f}",
            f"{rate * n_original / 64**3:,.0f}", f"{rate * found.n_voxels / 1e6:,.0f}",
            f"{rate / base:.1f}", f"{100 * agreement(reference.xyz_A, found.xyz_A):.0f} %",
            f"{100 * agreement(scene.centres_A, found.xyz_A):.0f} %"]


def main() -> None:
    """Search with all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--order", type=int, default=2, help="HEALPix order of the list")
    parser.add_argument("--shape", type=int, nargs=3, default=(80, 160, 160), help="z y x")
    parser.add_argument("--pytme", help="interpreter of an environment with pytme")
    parser.add_argument("--every", type=int, default=1,
                        help="peers search every n-th rotation (times only; peaks differ)")
    options = parser.parse_args()
    scene = make_scene(np.random.default_rng(7), tuple(options.shape))
    rotations = healpix_rotations(options.order)[::options.every]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = Whole(scene, False, "scipy")
        found = [plain.search(rotations, "scipy.fft, whole tomogram"),
                 Whole(scene, False, "pyfftw").search(rotations, "pyFFTW, whole tomogram"),
                 Whole(scene, True, "pyfftw").search(rotations, "pyFFTW, cut to the band")]
        if options.pytme:
            found.append(pytme(scene, plain, rotations, options.pytme, folder))
        found += [ours(scene, folder, options.order, "full"),
                  ours(scene, folder, options.order, "coarse-to-fine")]
    print_table(
        f"Template matching of {' x '.join(map(str, scene.shape[::-1]))} voxels of {VOXEL_A:g} Å, "
        f"{len(rotations)} rotations, {len(scene.centres_A)} planted objects",
        ["search", "voxels correlated", "CPU s", "tiles (64³) x rotations a core-second",
         "million voxels x rotations a core-second", "rate / scipy's", "same peaks as scipy",
         "planted found"],
        [row(f, found[0], scene, int(np.prod(scene.shape))) for f in found])


if __name__ == "__main__":
    main()
