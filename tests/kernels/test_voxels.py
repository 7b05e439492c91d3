"""The polish kernel of boxes: parity, derivatives, information, agreement with tilt images.

Without a GPU the CUDA twin runs in numba's simulator, in a process of its own:
`NUMBA_ENABLE_CUDASIM=1 python tests/kernels/test_voxels.py gpu`; the loops run as plain Python
with `NUMBA_DISABLE_JIT=1 python tests/kernels/test_voxels.py cpu`.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.kernels.gather import gather_box, pack_volume
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.kernels.voxels import (
    VoxelProblem,
    make_voxel_layout,
    pack_voxels,
    reference,
)

ROOT = Path(__file__).resolve().parents[2]
# box, padded box, edge of the grid of samples, radii of the bands, voxels used (-1: all)
PARITY = [(4, 4, 4, [1], -1), (7, 7, 7, [1, 2], 1), (7, 10, 7, [1, 2], 0), (7, 10, 7, [2], 16),
          (31, 31, 31, [3, 5.5], 255), (32, 48, 16, [3, 6], 257), (33, 33, 33, [4], 33),
          (16, 24, 16, [7], -1)]
# float32 coordinates place a voxel to 1e-6 of a step, phases are good to 1e-6
TOLERANCE = 2e-5
R_BOX = Rotation.from_euler("zyz", [20, 35, -50], degrees=True).as_matrix()
R_POSE = Rotation.from_euler("zyz", [-70, 110, 15], degrees=True).as_matrix()
SHIFT = np.array([1.2, -0.7, 2.1])


def complex_noise(rng, shape):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def noise_case(n, n_pad, g, r_bands, count):
    """(padded transform, packed voxels, how many of them count)."""
    rng = np.random.default_rng(n + n_pad)
    padded = np.fft.rfftn(rng.normal(size=(n_pad,) * 3)).astype(np.complex64)
    layout, shape = make_voxel_layout(n, r_bands), (g, g, g // 2 + 1)
    weight = rng.random(shape).astype(np.float32)
    packed = pack_voxels(complex_noise(rng, shape), weight, layout)
    p = packed.layout.n_samples
    return padded, packed, np.array([p if count < 0 else min(count, p)])


def frequencies(packed) -> np.ndarray:
    layout = packed.layout
    return np.stack([layout.kx, layout.ky, layout.kz], axis=1).astype(int)


def by_the_reference(padded, packed, count, n, R_box2t, R_p2t, shift):
    """(cross, power, gd, gw, H) of the six parameters, from the slow sums in box axes."""
    s = reference.normal_equations(
        padded, len(padded) / n, R_box2t.T @ R_p2t, R_box2t.T @ shift, packed.dre, packed.dim,
        packed.w, frequencies(packed), count[0], n)
    J = np.zeros((6, 6))
    J[:3, :3], J[3:, 3:] = np.eye(3), R_box2t.T
    H = np.zeros((6, 6))
    H[np.triu_indices(6)] = s[11:]
    H = H + np.triu(H, 1).T
    return s[0], s[1], J.T @ s[2:8], J.T @ np.r_[s[8:11], 0, 0, 0], J.T @ H @ J


def worst(found, expected) -> float:
    """Largest difference of the sums, each relative to the largest of its kind."""
    return max(float(np.abs(np.subtract(a, b)).max() / max(np.abs(b).max(), 1e-30))
               for a, b in ((found[p], expected[p]) for p in expected))


def parts(cross, power, gd, gw, H) -> dict:
    """Sums by kind: turns and shifts have different units."""
    return {"cross": cross, "power": power, "turn": gd[:3], "move": gd[3:], "gw": gw[:3],
            "turn turn": H[:3, :3], "turn move": H[:3, 3:], "move move": H[3:, 3:]}


def parity_error(device: str, case) -> float:
    """Largest difference from the reference, of sums and of scores."""
    padded, packed, count = noise_case(*case)
    n = case[0]
    problem = VoxelProblem(pack_volume(padded, n), packed, R_BOX, n, device)
    found = problem.sums(R_POSE, SHIFT, count)
    cross, power = problem.score(R_POSE, SHIFT, count)
    if count[0] == 0:
        assert (found.cross, found.power, cross, power) == (0, 0, 0, 0)
        return 0.0
    expected = by_the_reference(padded, packed, count, n, R_BOX, R_POSE, SHIFT)
    # a sum of noise may cancel: cross is measured against the size of the data
    size = np.sqrt(expected[1] * packed.norm)
    sums = parts(0.0, found.power, found.gd, found.gw, found.H)
    return max(worst(sums, parts(0.0, *expected[1:])), abs(found.cross - expected[0]) / size,
               abs(cross - expected[0]) / size, abs(power / expected[1] - 1))


def half_difference(device: str) -> float:
    """Difference of sums of a box stored in half precision from those on the CPU."""
    padded, shape, rng = noise_case(*PARITY[-1])[0], (16, 16, 9), np.random.default_rng(2)
    packed = pack_voxels(complex_noise(rng, shape) * np.float32(1e-4),
                         np.full(shape, 1e6, np.float32), make_voxel_layout(16, [5]), np.float16)
    found, expected = (
        VoxelProblem(pack_volume(padded, 16), packed, R_BOX, 16, d).sums(
            R_POSE, SHIFT, np.array([packed.layout.n_samples])) for d in (device, "cpu"))
    found, expected = (parts(x.cross, x.power, x.gd, x.gw, x.H) for x in (found, expected))
    return worst(found, expected)


def run_cases(device: str) -> str:
    assert half_difference(device) < TOLERANCE
    for case in PARITY:
        found = parity_error(device, case)
        assert found < TOLERANCE, f"{case} on {device}: {found}"
    return f"{len(PARITY)} cases agree"


def run_in_process_with(variable: str, device: str) -> str:
    env = {**os.environ, variable: "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, device], env=env, timeout=300,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("case", PARITY)
def test_cpu_voxels_equal_reference(case):
    assert parity_error("cpu", case) < TOLERANCE


def test_parity_error_of_voxels_is_not_trivially_zero():
    assert parity_error("cpu", PARITY[-1]) > 1e-9


def test_cuda_voxels_equal_reference():
    from numba import cuda

    if cuda.is_available():
        assert run_cases("gpu") == f"{len(PARITY)} cases agree"
    else:
        found = run_in_process_with("NUMBA_ENABLE_CUDASIM", "gpu")
        assert found == f"{len(PARITY)} cases agree"


def test_cpu_voxels_without_jit_equal_reference():
    assert run_in_process_with("NUMBA_DISABLE_JIT", "cpu") == f"{len(PARITY)} cases agree"


def test_half_space_holds_each_pair_of_mates_once():
    layout = make_voxel_layout(24, [3.5, 7], r_min=2)
    k = {(int(x), int(y), int(z)) for x, y, z in zip(layout.kx, layout.ky, layout.kz, strict=True)}
    assert len(k) == layout.n_samples
    assert not any((-x, -y, -z) in k for x, y, z in k)
    both = k | {(-x, -y, -z) for x, y, z in k}
    span = range(-8, 9)
    wanted = {(x, y, z) for x in span for y in span for z in span
              if 4 <= x * x + y * y + z * z <= 49}
    assert both == wanted


def test_bands_of_voxels_hold_their_radii():
    layout = make_voxel_layout(32, [3.5, 8, 15])
    r = np.sqrt(sum(k.astype(float) ** 2 for k in (layout.kx, layout.ky, layout.kz)))
    limits = [0, 3.5, 8, 15]
    for i in range(3):
        band = r[layout.band_start[i] : layout.band_start[i + 1]]
        assert (band > limits[i]).all()
        assert (band <= limits[i + 1]).all()
    assert layout.band_start[-1] == layout.n_samples


def test_voxels_without_weight_and_data_are_left_out_and_the_others_stay_in_their_bands():
    rng, layout, shape = np.random.default_rng(0), make_voxel_layout(16, [3, 6]), (16, 16, 9)
    weight = rng.random(shape).astype(np.float32) + np.float32(0.1)
    data = complex_noise(rng, shape)
    weight[3], data[3] = 0, 0  # kz = 3
    weight[2] = 0  # a mask has spread data there
    packed = pack_voxels(data, weight, layout)
    kept = packed.layout
    assert not (kept.kz == 3).any()
    assert (kept.kz == 2).sum() == (layout.kz == 2).sum()
    assert kept.n_samples == (layout.kz != 3).sum()
    r = np.sqrt(sum(k.astype(float) ** 2 for k in (kept.kx, kept.ky, kept.kz)))
    assert (r[: kept.band_start[1]] <= 3).all()
    assert (r[kept.band_start[1] :] > 3).all()
    np.testing.assert_array_equal(packed.w, weight[kept.kz, kept.ky, kept.kx])


@pytest.mark.parametrize("bands", [[], [4, 4], [8, 4], [0, 4], [16]])
def test_impossible_bands_of_voxels_are_refused(bands):
    with pytest.raises(ValueError):
        make_voxel_layout(32, bands)


@pytest.mark.parametrize("wrong", ["shape", "grid", "radius", "rotation", "dtype"])
def test_boxes_that_do_not_fit_are_refused(wrong):
    padded, packed, _ = noise_case(*PARITY[-1])
    data, weight = np.zeros((16, 16, 9), np.complex64), np.ones((16, 16, 9), np.float32)
    layout = make_voxel_layout(16, [7])
    calls = {
        "shape": lambda: pack_voxels(data, weight[:8], layout),
        "grid": lambda: pack_voxels(data[:14, :14, :8], weight[:14, :14, :8], layout),
        "dtype": lambda: pack_voxels(data, weight, layout, np.float64),
        "radius": lambda: VoxelProblem(pack_volume(padded, 16, 5), packed, np.eye(3), 16),
        "rotation": lambda: VoxelProblem(pack_volume(padded, 16), packed, np.eye(2), 16)}
    with pytest.raises(ValueError, match=r"expected|allows|reaches"):
        calls[wrong]()


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e7])
def test_half_precision_voxels_round_at_their_eleven_bits_whatever_the_grey_scale(scale):
    padded, _, _ = noise_case(*PARITY[-1])
    volume, rng, shape = pack_volume(padded, 16), np.random.default_rng(1), (16, 16, 9)
    data = complex_noise(rng, shape) * np.float32(scale)
    weight = rng.random(shape).astype(np.float32) * np.float32(scale)
    layout, found = make_voxel_layout(16, [7]), []
    for dtype in (np.float32, np.float16):
        packed = pack_voxels(data, weight, layout, dtype)
        problem = VoxelProblem(volume, packed, R_BOX, 16)
        found.append(problem.sums(R_POSE, SHIFT, np.array([packed.layout.n_samples])))
        at = packed.layout.kz, packed.layout.ky, packed.layout.kx
        bottom = np.maximum(weight[at], 0.1 * weight[at].mean())
        assert packed.norm == pytest.approx(
            float((np.abs(data.astype(complex)[at]) ** 2 / bottom).sum()), rel=2e-3)
    full, half = (parts(x.cross, x.power, x.gd, x.gw, x.H) for x in found)
    # each value is off by at most 2^-12 of itself, and errors of a sum of noise add as it does
    assert 1e-8 < worst(half, full) < 2.0**-9


def test_sums_of_voxels_are_the_same_bits_twice():
    padded, packed, count = noise_case(*PARITY[-1])
    problem = VoxelProblem(pack_volume(padded, 16), packed, R_BOX, 16)
    first, again = (problem.sums(R_POSE, SHIFT, count) for _ in range(2))
    assert first.cross == again.cross
    np.testing.assert_array_equal(first.H, again.H)


def test_a_plane_of_voxels_and_a_tilt_image_give_the_same_sums():
    """A box whose weight is one central slice holds what that tilt image holds."""
    n, rng = 16, np.random.default_rng(4)
    padded = np.fft.rfftn(rng.normal(size=(24,) * 3)).astype(np.complex64)
    volume, shape = pack_volume(padded, n), (n, n, n // 2 + 1)
    image = complex_noise(rng, (1, n, n // 2 + 1))
    weight = rng.random((1, n, n // 2 + 1)).astype(np.float32) + np.float32(0.1)
    box, box_weight = np.zeros(shape, np.complex64), np.zeros(shape, np.float32)
    box[0], box_weight[0] = image[0], weight[0]  # kz = 0
    flat = make_layout(n, [7])
    tilt = PoseProblem(volume, pack_samples(image, weight, flat), flat, R_BOX.T[None], n)
    packed = pack_voxels(box, box_weight, make_voxel_layout(n, [7]))
    boxed = VoxelProblem(volume, packed, R_BOX, n)
    assert packed.layout.n_samples == flat.n_samples
    count = np.array([flat.n_samples])
    a, b = tilt.sums(R_POSE, SHIFT, count), boxed.sums(R_POSE, SHIFT, count)
    assert worst(parts(b.cross, b.power, b.gd, b.gw, b.H),
                 parts(a.cross, a.power, a.gd, a.gw, a.H)) < 1e-4
    assert boxed.score(R_POSE, SHIFT, count) == pytest.approx(
        tilt.score(R_POSE, SHIFT, count), rel=1e-4)
    assert boxed.radius(flat.n_samples) == tilt.radius(flat.n_samples) == 7


class TestDerivatives:
    """A transform that is multilinear in (x, y, z): trilinear interpolation is exact for it.

    So the interpolant has no kinks and finite differences are good to the step squared.
    """

    n, r = 16, 7

    def volume(self):
        n, n_pad = self.n, 2 * self.n
        at = np.fft.fftfreq(n_pad, 1 / n_pad)
        z, y, x = np.meshgrid(at / 10, at / 10, np.arange(n + 1) / 10, indexing="ij")
        # even real part and odd imaginary part, as the transform of a real map has
        even = 1 + 0.5 * x * y - 0.7 * x * z + 0.6 * y * z
        odd = 0.3 * x - 0.4 * y + 0.5 * z + 0.8 * x * y * z
        return pack_volume((even + 1j * odd).astype(np.complex64), n, self.r)

    def problem(self, data=None):
        rng, shape = np.random.default_rng(8), (self.n, self.n, self.n // 2 + 1)
        weight = rng.random(shape).astype(np.float32) + np.float32(0.1)
        data = complex_noise(rng, shape) if data is None else (weight * data).astype(np.complex64)
        packed = pack_voxels(data, weight, make_voxel_layout(self.n, [self.r]))
        return VoxelProblem(self.volume(), packed, R_BOX, self.n)

    def values(self, problem, move):
        turned = R_POSE @ Rotation.from_rotvec(move[:3]).as_matrix()
        return problem.sums(turned, SHIFT + move[3:], np.array([problem.layout.n_samples]))

    @pytest.mark.parametrize("j", range(6))
    def test_gradients_of_boxes_equal_finite_differences(self, j):
        problem, step = self.problem(), np.zeros(6)
        # the third derivative gives (2 pi r / n x step)^2 / 6 = 1e-5, rounding 1e-7 / step
        step[j] = 3e-3
        here, above, below = (self.values(problem, s * step) for s in (0.0, 1.0, -1.0))
        cross = (above.cross - below.cross) / (2 * step[j])
        power = (above.power - below.power) / (2 * step[j])
        size = np.abs(here.gd[:3] if j < 3 else here.gd[3:]).max()
        assert here.gd[j] != cross
        assert abs(here.gd[j] - cross) < 2e-3 * size
        assert abs(2 * here.gw[j] - power) < 2e-3 * np.abs(here.gw).max()

    def test_information_of_a_box_is_curvature_of_misfit_when_the_model_is_the_data(self):
        n = self.n
        V = gather_box(self.volume(), (R_BOX.T @ R_POSE).T, n, self.r)
        k = np.fft.fftfreq(n, 1 / n)
        x, y, z = R_BOX.T @ SHIFT
        turn = np.arange(n // 2 + 1) * x + k[:, None] * y + k[:, None, None] * z
        problem = self.problem(V * np.exp(-2j * np.pi / n * turn))
        here = self.values(problem, np.zeros(6))
        assert here.cross == pytest.approx(here.power, rel=1e-5)
        np.testing.assert_allclose(here.gd[:3], here.gw[:3], atol=1e-5 * here.power)
        unit = 0.03 * np.sqrt(here.power / np.diag(here.H))
        for i in range(6):
            for j in range(i):
                for sign in (1, -1):
                    move = np.zeros(6)
                    move[i], move[j] = unit[i], sign * unit[j]
                    # squared residual of both signs of the move, whose odd orders cancel
                    plus, minus = self.values(problem, move), self.values(problem, -move)
                    found = sum(here.power - 2 * x.cross + x.power for x in (plus, minus)) / 2
                    expected = move @ here.H @ move
                    assert found == pytest.approx(expected, rel=2e-2, abs=1e-6 * here.power)


if __name__ == "__main__":
    print(run_cases(sys.argv[1]))


@pytest.mark.parametrize(("n_empty", "n_left_out"), [(1, 0), (40, 40)])
def test_empty_voxels_are_left_out_where_they_are_more_than_a_few(n_empty, n_left_out):
    layout = make_voxel_layout(16, [3, 6])
    rng = np.random.default_rng(5)
    data, weight = rng.normal(size=(16, 16, 9)).astype(np.complex64), np.ones((16, 16, 9), "f4")
    empty = layout.kz[-n_empty:], layout.ky[-n_empty:], layout.kx[-n_empty:]
    data[empty], weight[empty] = 0, 0
    packed = pack_voxels(data, weight, layout)
    assert layout.n_samples - packed.layout.n_samples == n_left_out
    assert (packed.w == 0).sum() == n_empty - n_left_out
