"""The pose-polish kernel: parity, derivatives, signs, and a step towards the truth.

Without a GPU the CUDA twin runs in numba's simulator, in a process of its own:
`NUMBA_ENABLE_CUDASIM=1 python tests/kernels/test_polish.py gpu`; the loops run as plain Python
with `NUMBA_DISABLE_JIT=1 python tests/kernels/test_polish.py cpu`.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.kernels.gather import gather_slices, pack_volume, prepare_gather
from sta_mpi.kernels.polish import (
    PackedSamples,
    PoseProblem,
    make_layout,
    normal_equations,
    pack_samples,
    reference,
    score,
)

ROOT = Path(__file__).resolve().parents[2]
# box, padded box, radii of the bands, samples used of four tilts (-1: all)
PARITY = [(4, 4, [1], (-1, 0, 1, 2)), (7, 7, [1, 2], (-1, 0, 3, 1)), (7, 10, [1, 2], (5, -1, 0, 2)),
          (31, 31, [7, 14], (-1, 17, 255, 256)), (32, 48, [4, 8, 15], (-1, 0, 257, 96)),
          (33, 33, [15], (33, 31, 1, -1))]


def complex_noise(rng, shape):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def slice_axes() -> np.ndarray:
    """Four tilts: the identity, whose samples lie on the grid, and random ones."""
    R = np.concatenate([np.eye(3)[None], Rotation.random(3, rng=5).as_matrix()])
    return R[:, :2]


def noise_case(n, n_pad, r_bands, count):
    rng = np.random.default_rng(n + n_pad)
    padded = np.fft.rfftn(rng.normal(size=(n_pad,) * 3)).astype(np.complex64)
    layout, shape = make_layout(n, r_bands), (4, n, n // 2 + 1)
    weight = rng.random(shape).astype(np.float32)
    packed = pack_samples(complex_noise(rng, shape), weight, layout)
    count = np.array([layout.n_samples if c < 0 else min(c, layout.n_samples) for c in count])
    return padded, layout, packed, rng.normal(size=(4, 2)) * 2, count


def as_columns(found) -> np.ndarray:
    return np.column_stack([found.cross, found.power, found.gd, found.gw, found.H])


def relative_error(found, expected) -> float:
    """Largest error of sums of tilts (m, columns), relative to the largest sum of its kind.

    A sum of noise may cancel, so no sum is measured against itself alone.
    """
    size = np.abs(expected).max(axis=0)
    for i, j in ((2, 5), (5, 7), (7, 10)):
        size[i:j] = size[i:j].max(initial=0.0)
    return float((np.abs(found - expected) / np.where(size > 0, size, 1.0)).max())


def parity_error(device: str, n, n_pad, r_bands, count) -> float:
    """Largest difference from the reference, of sums and of scores."""
    padded, layout, packed, shift, count = noise_case(n, n_pad, r_bands, count)
    volume = pack_volume(padded, n)
    arguments = volume, slice_axes(), shift, packed, layout, count, n
    found = as_columns(normal_equations(*arguments, device=device))
    cross, power = score(*arguments, device=device)
    expected = reference.normal_equations(
        padded, n_pad / n, slice_axes(), shift, packed.dre, packed.dim, packed.w,
        layout.kx, layout.ky, count, n)
    empty = count == 0
    assert (found[empty] == 0).all()
    assert (cross[empty] == 0).all()
    pair = np.column_stack([cross, power])
    return max(relative_error(found, expected), relative_error(pair, expected[:, :2]))


# float32 coordinates place a sample to 1e-6 of a voxel, phases are good to 1e-6
TOLERANCE = 2e-5


@pytest.mark.parametrize("case", PARITY)
def test_cpu_polish_equals_reference(case):
    assert parity_error("cpu", *case) < TOLERANCE


def test_parity_error_is_not_trivially_zero():
    assert parity_error("cpu", *PARITY[-1]) > 1e-9


def pose_difference(device: str) -> float:
    """Difference of a particle's sums, stored in half precision, from those on the CPU."""
    padded, layout, _, _, count = noise_case(*PARITY[2])
    shape = (4, 7, 4)
    packed = pack_samples(complex_noise(np.random.default_rng(2), shape) * np.float32(1e-4),
                          np.full(shape, 1e6, np.float32), layout, np.float16)
    R = Rotation.random(4, rng=4).as_matrix()
    found, expected = (
        PoseProblem(pack_volume(padded, 7), packed, layout, R, 7, d).sums(R[0], R[1, 0], count)
        for d in (device, "cpu"))
    return max(relative_error(np.atleast_2d(getattr(found, x)), np.atleast_2d(getattr(expected, x)))
               for x in ("cross", "power", "gd", "gw", "H"))


def run_cases(device: str) -> str:
    assert pose_difference(device) < TOLERANCE
    for case in PARITY:
        found = parity_error(device, *case)
        assert found < TOLERANCE, f"{case} on {device}: {found}"
    return f"{len(PARITY)} cases agree"


def run_in_process_with(variable: str, device: str) -> str:
    env = {**os.environ, variable: "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, device], env=env, timeout=300,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_cuda_polish_equals_reference():
    from numba import cuda

    if cuda.is_available():
        assert run_cases("gpu") == f"{len(PARITY)} cases agree"
    else:
        found = run_in_process_with("NUMBA_ENABLE_CUDASIM", "gpu")
        assert found == f"{len(PARITY)} cases agree"


def test_cpu_polish_without_jit_equals_reference():
    assert run_in_process_with("NUMBA_DISABLE_JIT", "cpu") == f"{len(PARITY)} cases agree"


def test_half_plane_holds_each_pair_of_mates_once():
    n, layout = 32, make_layout(32, [3.5, 8, 15], r_min=2)
    k = set(zip(layout.kx.tolist(), layout.ky.tolist(), strict=True))
    assert len(k) == layout.n_samples
    assert not any((-x, -y) in k for x, y in k)
    both = k | {(-x, -y) for x, y in k}
    wanted = {(x, y) for x in range(-n, n) for y in range(-n, n) if 4 <= x * x + y * y <= 225}
    assert both == wanted


def test_bands_of_layout_hold_their_radii():
    layout = make_layout(32, [3.5, 8, 15])
    r = np.hypot(layout.kx, layout.ky)
    limits = [0, 3.5, 8, 15]
    for i in range(3):
        band = r[layout.band_start[i] : layout.band_start[i + 1]]
        assert (band > limits[i]).all()
        assert (band <= limits[i + 1]).all()
    assert layout.band_start[-1] == layout.n_samples


@pytest.mark.parametrize("bands", [[], [4, 4], [8, 4], [0, 4], [16]])
def test_impossible_bands_are_refused(bands):
    with pytest.raises(ValueError):
        make_layout(32, bands)


def test_power_of_half_plane_is_half_the_power_of_the_full_transform():
    n = 16
    rng = np.random.default_rng(3)
    image = np.fft.rfft2(rng.normal(size=(n, n))).astype(np.complex64)[None]
    layout = make_layout(n, [7])
    packed = pack_samples(image, np.ones(image.shape, np.float32), layout)
    full = np.abs(np.fft.fft2(np.fft.irfft2(image[0], s=(n, n)))) ** 2
    k = np.fft.fftfreq(n, 1 / n)
    inside = (k[:, None] ** 2 + k**2 <= 49) & (k[:, None] ** 2 + k**2 > 0)
    found = 2 * float((packed.dre.astype(float) ** 2 + packed.dim.astype(float) ** 2).sum())
    assert found == pytest.approx(full[inside].sum(), rel=1e-6)


def test_results_are_the_same_bits_twice_and_do_not_depend_on_the_other_tilts():
    padded, layout, packed, shift, count = noise_case(*PARITY[4])
    volume, axes = pack_volume(padded, 32), slice_axes()
    first = as_columns(normal_equations(volume, axes, shift, packed, layout, count, 32))
    again = as_columns(normal_equations(volume, axes, shift, packed, layout, count, 32))
    np.testing.assert_array_equal(first, again)
    one = PackedSamples(*(x[2:3] for x in (packed.dre, packed.dim, packed.w, packed.data_scale,
                                           packed.weight_scale)))
    alone = as_columns(normal_equations(
        volume, axes[2:3], shift[2:3], one, layout, count[2:3], 32))
    np.testing.assert_array_equal(first[2:3], alone)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e7])
def test_half_precision_storage_rounds_at_its_eleven_bits_whatever_the_grey_scale(scale):
    padded, layout, _, shift, count = noise_case(*PARITY[4])
    volume, rng, shape = pack_volume(padded, 32), np.random.default_rng(1), (4, 32, 17)
    data = complex_noise(rng, shape) * np.float32(scale)
    weight = rng.random(shape).astype(np.float32) * np.float32(scale)
    full, half = (as_columns(normal_equations(
        volume, slice_axes(), shift, pack_samples(data, weight, layout, dtype), layout, count, 32))
        for dtype in (np.float32, np.float16))
    # each value is off by at most 2^-12 of itself; errors of a sum of noise add as it does,
    # and the largest of 8 sums is compared with the largest of 100 errors
    assert 1e-8 < relative_error(half, full) < 2.0**-10


class TestDerivatives:
    """A transform that is multilinear in (x, y, z): trilinear interpolation is exact for it.

    So the interpolant has no kinks and finite differences are good to the step squared.
    """

    n, r = 16, 7

    def case(self, data=None):
        rng = np.random.default_rng(8)
        n, n_pad = self.n, 2 * self.n
        at = np.fft.fftfreq(n_pad, 1 / n_pad)
        z, y, x = np.meshgrid(at / 10, at / 10, np.arange(n + 1) / 10, indexing="ij")
        # even real part and odd imaginary part, as the transform of a real map has
        even = 1 + 0.5 * x * y - 0.7 * x * z + 0.6 * y * z
        odd = 0.3 * x - 0.4 * y + 0.5 * z + 0.8 * x * y * z
        volume = pack_volume((even + 1j * odd).astype(np.complex64), n, self.r)
        layout, shape = make_layout(n, [self.r]), (3, n, n // 2 + 1)
        R, shift = Rotation.random(3, rng=3).as_matrix(), rng.normal(size=(3, 2))
        weight = rng.random(shape).astype(np.float32) + np.float32(0.1)
        data = complex_noise(rng, shape) if data is None else (weight * data).astype(np.complex64)
        return volume, R, shift, pack_samples(data, weight, layout), layout

    def values(self, case, move):
        volume, R, shift, packed, layout = case
        turned = R @ Rotation.from_rotvec(move[:3]).as_matrix()
        count = np.full(3, layout.n_samples)
        return normal_equations(volume, turned[:, :2], shift + move[3:], packed, layout, count,
                                self.n)

    @pytest.mark.parametrize("j", range(5))
    def test_gradients_equal_finite_differences(self, j):
        case, step = self.case(), np.zeros(5)
        # the third derivative gives (2 pi r / n x step)^2 / 6 = 1e-5, rounding 1e-7 / step
        step[j] = 3e-3
        here, above, below = (self.values(case, s * step) for s in (0.0, 1.0, -1.0))
        cross = (above.cross - below.cross) / (2 * step[j])
        power = (above.power - below.power) / (2 * step[j])
        assert np.abs(here.gd[:, j] - cross).max() < 1e-3 * np.abs(here.gd[:, j]).max()
        slope = 2 * here.gw[:, j] if j < 3 else np.zeros(3)
        assert np.abs(slope - power).max() < 1e-3 * np.abs(here.gw).max()

    def test_information_is_curvature_of_misfit_when_the_model_is_the_data(self):
        n = self.n
        volume, R, shift, _, _ = self.case()
        V = gather_slices(volume, R[:, :2], n, self.r)
        ky, kx = np.fft.fftfreq(n, 1 / n)[:, None], np.arange(n // 2 + 1)
        case = self.case(
            V * np.exp(-2j * np.pi / n * (shift[:, :1, None] * kx + shift[:, 1:, None] * ky)))
        here = self.values(case, np.zeros(5))
        H = here.matrices()
        np.testing.assert_allclose(here.cross, here.power, rtol=1e-5)
        np.testing.assert_allclose(here.gd[:, :3], here.gw, atol=1e-5 * here.power.max())
        unit = 0.03 * np.sqrt(here.power.mean() / np.diagonal(H.mean(axis=0)))
        moves = [i * x + j * y for x in np.diag(unit) for y in np.diag(unit)
                 for i in (1, -1) for j in (1, -1)]
        for move in moves:
            # squared residual of both signs of the move, whose odd orders cancel
            plus, minus = self.values(case, move), self.values(case, -move)
            found = sum(here.power - 2 * x.cross + x.power for x in (plus, minus)) / 2
            expected = np.einsum("i,fij,j->f", move, H, move)
            assert np.abs(found - expected).max() < 2e-2 * expected.max() + 1e-6 * here.power.max()


def phantom_particle(n=48, r=20, tilts=21):
    from sta_mpi.signal.fft import FftPlans
    from sta_mpi.simulate.builtin_phantoms import chiral_phantom

    phantom = chiral_phantom(14.0, 1.6)
    tilt = Rotation.from_euler("y", np.linspace(-60, 60, tilts)[:, None], degrees=True).as_matrix()
    R_p2t = Rotation.from_euler("zyz", [30, 50, -70], degrees=True).as_matrix()
    shift_xyz = np.array([1.3, -0.8, 0.6])
    views = phantom.views_rft(tilt @ R_p2t, n, 1.0)
    ky, kx = np.fft.fftfreq(n, 1 / n)[:, None], np.arange(n // 2 + 1)
    shift = (tilt @ shift_xyz)[:, :2]
    views = views * np.exp(-2j * np.pi / n * (shift[:, :1, None] * kx + shift[:, 1:, None] * ky))
    plans = FftPlans(effort="estimate")
    volume = prepare_gather(plans.rfft3(phantom.truth_map(n, 1.0)), plans, 2.0)
    layout = make_layout(n, [r])
    packed = pack_samples(views.astype(np.complex64), np.ones(views.shape, np.float32), layout)
    return volume, tilt, R_p2t, shift_xyz, packed, layout


def gauss_newton_step(case, R_p2t, shift_xyz, n=48):
    volume, tilt, _, _, packed, layout = case
    count = np.full(len(tilt), layout.n_samples)
    sums = normal_equations(volume, (tilt @ R_p2t)[:, :2], (tilt @ shift_xyz)[:, :2], packed,
                            layout, count, n)
    J = np.zeros((len(tilt), 5, 6))
    J[:, :3, :3] = np.eye(3)
    J[:, 3:, 3:] = tilt[:, :2]
    slope = sums.gd.copy()
    slope[:, :3] -= sums.gw
    H = np.einsum("fai,fab,fbj->ij", J, sums.matrices(), J)
    step = np.linalg.solve(H, np.einsum("fai,fa->i", J, slope))
    return R_p2t @ Rotation.from_rotvec(step[:3]).as_matrix(), shift_xyz + step[3:]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_sums_of_a_pose_follow_from_those_of_its_tilts(dtype):
    padded, layout, packed, _, count = noise_case(*PARITY[4])
    if dtype == np.float16:
        shape = (4, 32, 17)
        packed = pack_samples(complex_noise(np.random.default_rng(2), shape) * np.float32(1e-4),
                              np.full(shape, 1e6, np.float32), layout, dtype)
    volume, n = pack_volume(padded, 32), 32
    rotation, R = (Rotation.random(k, rng=k).as_matrix() for k in (4, 1))
    R, shift = R[0], np.array([0.4, -1.3, 2.2])
    tilts = normal_equations(volume, (rotation @ R)[:, :2], (rotation @ shift)[:, :2], packed,
                             layout, count, n)
    J = np.zeros((4, 5, 6))
    J[:, :3, :3], J[:, 3:, 3:] = np.eye(3), rotation[:, :2]
    problem = PoseProblem(volume, packed, layout, rotation, n)
    found = problem.sums(R, shift, count)
    close = {"rtol": 1e-4, "atol": 1e-6 * np.abs(tilts.H).max()}  # float32 phases differ
    np.testing.assert_allclose(found.cross, tilts.cross.sum(), rtol=1e-4)
    np.testing.assert_allclose(found.power, tilts.power.sum(), rtol=1e-6)
    np.testing.assert_allclose(found.gd, np.einsum("fai,fa->i", J, tilts.gd), **close)
    np.testing.assert_allclose(found.gw, [*tilts.gw.sum(axis=0), 0, 0, 0], **close)
    np.testing.assert_allclose(
        found.H, np.einsum("fai,fab,fbj->ij", J, tilts.matrices(), J), **close)
    np.testing.assert_allclose(problem.score(R, shift, count), (found.cross, found.power),
                               rtol=1e-4)


@pytest.mark.parametrize("axis", range(3))
def test_one_gauss_newton_step_halves_the_error_of_an_analytic_particle(axis):
    case = phantom_particle()
    _, _, R_true, shift_true, _, _ = case
    turn, move = np.zeros(3), np.zeros(3)
    turn[axis], move[axis] = np.radians(2.0), 0.5
    R, shift = gauss_newton_step(
        case, R_true @ Rotation.from_rotvec(turn).as_matrix(), shift_true + move)
    angle = Rotation.from_matrix(R_true.T @ R).magnitude()
    assert np.degrees(angle) < 1.0
    assert np.linalg.norm(shift - shift_true) < 0.25


def test_score_of_an_analytic_particle_is_highest_at_its_pose_and_shift():
    case = phantom_particle()
    volume, tilt, R_true, shift_true, packed, layout = case
    count = np.full(len(tilt), layout.n_samples)

    def correlation(R, shift):
        cross, power = score(volume, (tilt @ R)[:, :2], (tilt @ shift)[:, :2], packed, layout,
                             count, 48)
        norm = (packed.dre.astype(float) ** 2 + packed.dim.astype(float) ** 2).sum()
        return cross.sum() / np.sqrt(power.sum() * norm)

    best = correlation(R_true, shift_true)
    assert best > 0.99
    assert correlation(R_true, -shift_true) < 0.9
    assert correlation(R_true.T, shift_true) < 0.9
    for j in range(3):
        away = np.zeros(3)
        away[j] = 0.05
        assert correlation(R_true @ Rotation.from_rotvec(away).as_matrix(), shift_true) < best
        assert correlation(R_true @ Rotation.from_rotvec(-away).as_matrix(), shift_true) < best


@pytest.mark.parametrize("wrong", ["count", "shift", "tilts", "radius"])
def test_arguments_that_do_not_fit_are_refused(wrong):
    padded, layout, packed, shift, count = noise_case(*PARITY[4])
    volume, axes = pack_volume(padded, 32, 7 if wrong == "radius" else 15), slice_axes()
    if wrong == "count":
        count = count + layout.n_samples
    elif wrong == "shift":
        shift = shift[:2]
    elif wrong == "tilts":
        axes = axes[:3]
    with pytest.raises(ValueError, match=r"expected|count|reaches"):
        normal_equations(volume, axes, shift, packed, layout, count, 32)


if __name__ == "__main__":
    print(run_cases(sys.argv[1]))
