"""A grid search in the manner of PEET, as a benchmark's opponent; our own code, PEET was not run.

For every orientation the reference is turned in real space (trilinear or tricubic), transformed,
multiplied by the particle's transform within its missing wedge, and transformed back: all
whole-voxel shifts at once. Three levels of 5 x 5 x 5 turns with steps of 3, 1.5 and 0.6
degrees about the best so far: 375 orientations. The peak of the last one is interpolated.

The particle is the best that a 3D program could be given: D = sum a X / s^2 and
W = sum a^2 / s^2 merged into one box, so the score sum conj(V) D / sqrt(sum W |V|^2) is the
likelihood's own, up to the interpolations. Voxels beyond the ball that fits the box are skipped.
"""

import numba
import numpy as np
import pyfftw
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]

LEVELS_DEG = (3.0, 1.5, 0.6)
PER_AXIS = 5


@numba.njit(fastmath={"contract", "nsz"}, error_model="numpy", cache=True)
def turn_trilinear(volume, R, out):
    """out(x) = volume(R^T x) about voxel n // 2, inside the ball of radius n / 2 - 2."""
    n = volume.shape[0]
    c = n // 2
    limit = (n / 2.0 - 2.0) ** 2
    for iz in range(n):
        z = float(iz - c)
        for iy in range(n):
            y = float(iy - c)
            left = limit - z * z - y * y
            reach = int(np.sqrt(left)) if left >= 0 else -1
            for ix in range(n):
                out[iz, iy, ix] = 0
            x0 = R[1, 0] * y + R[2, 0] * z + c
            y0 = R[1, 1] * y + R[2, 1] * z + c
            z0 = R[1, 2] * y + R[2, 2] * z + c
            for dx in range(-reach, reach + 1):
                fx, fy, fz = x0 + R[0, 0] * dx, y0 + R[0, 1] * dx, z0 + R[0, 2] * dx
                jx, jy, jz = int(fx), int(fy), int(fz)
                tx, ty, tz = (np.float32(fx - jx), np.float32(fy - jy), np.float32(fz - jz))
                a = volume[jz, jy, jx] + tx * (volume[jz, jy, jx + 1] - volume[jz, jy, jx])
                b = (volume[jz, jy + 1, jx]
                     + tx * (volume[jz, jy + 1, jx + 1] - volume[jz, jy + 1, jx]))
                d = (volume[jz + 1, jy, jx]
                     + tx * (volume[jz + 1, jy, jx + 1] - volume[jz + 1, jy, jx]))
                e = (volume[jz + 1, jy + 1, jx]
                     + tx * (volume[jz + 1, jy + 1, jx + 1] - volume[jz + 1, jy + 1, jx]))
                low, high = a + ty * (b - a), d + ty * (e - d)
                out[iz, iy, c + dx] = low + tz * (high - low)


@numba.njit(fastmath={"contract", "nsz"}, error_model="numpy", cache=True)
def turn_tricubic(volume, R, out):
    """As `turn_trilinear`, by cubic convolution (Keys, a = -1/2) of 4 x 4 x 4 voxels."""
    n = volume.shape[0]
    c = n // 2
    limit = (n / 2.0 - 3.0) ** 2
    w = np.empty((3, 4), np.float32)
    for iz in range(n):
        for iy in range(n):
            for ix in range(n):
                out[iz, iy, ix] = 0
                x, y, z = ix - c, iy - c, iz - c
                if x * x + y * y + z * z > limit:
                    continue
                fx = R[0, 0] * x + R[1, 0] * y + R[2, 0] * z + c
                fy = R[0, 1] * x + R[1, 1] * y + R[2, 1] * z + c
                fz = R[0, 2] * x + R[1, 2] * y + R[2, 2] * z + c
                jx, jy, jz = int(fx), int(fy), int(fz)
                for i, t in enumerate((fx - jx, fy - jy, fz - jz)):
                    t2, t3 = t * t, t * t * t
                    w[i, 0] = -0.5 * t3 + t2 - 0.5 * t
                    w[i, 1] = 1.5 * t3 - 2.5 * t2 + 1.0
                    w[i, 2] = -1.5 * t3 + 2.0 * t2 + 0.5 * t
                    w[i, 3] = 0.5 * t3 - 0.5 * t2
                total = np.float32(0)
                for k in range(4):
                    plane = np.float32(0)
                    for j in range(4):
                        line = np.float32(0)
                        for i in range(4):
                            line += w[0, i] * volume[jz + k - 1, jy + j - 1, jx + i - 1]
                        plane += w[1, j] * line
                    total += w[2, k] * plane
                out[iz, iy, ix] = total


@numba.njit(fastmath={"contract", "nsz"}, error_model="numpy", cache=True)
def correlate(V, D, W, r_max, out):
    """out = conj(V) D within the band, else 0; returns sum W |V|^2 over the full transform."""
    n, half = V.shape[0], V.shape[2]
    power = 0.0
    for iz in range(n):
        z = iz if 2 * iz < n else iz - n
        for iy in range(n):
            y = iy if 2 * iy < n else iy - n
            for x in range(half):
                if x * x + y * y + z * z > r_max * r_max:
                    out[iz, iy, x] = 0
                    continue
                v, d = V[iz, iy, x], D[iz, iy, x]
                share = 1.0 if x == 0 else 2.0
                power += share * W[iz, iy, x] * (v.real * v.real + v.imag * v.imag)
                out[iz, iy, x] = np.complex64(complex(v.real * d.real + v.imag * d.imag,
                                                      v.real * d.imag - v.imag * d.real))
    return power


class RealSpaceSearch:
    """The search against one reference (n, n, n), with FFTW plans made by measuring."""

    def __init__(self, volume: NDArray[np.float32], r_max: float, largest_shift_px: int = 4,
                 cubic: bool = False) -> None:
        n = len(volume)
        self.n, self.r_max, self._reach = n, float(r_max), largest_shift_px
        self._volume, self._turn = volume, turn_tricubic if cubic else turn_trilinear
        self._turned = pyfftw.empty_aligned((n, n, n), np.float32)
        self._V = pyfftw.empty_aligned((n, n, n // 2 + 1), np.complex64)
        self._product = pyfftw.empty_aligned((n, n, n // 2 + 1), np.complex64)
        self._cross = pyfftw.empty_aligned((n, n, n), np.float32)
        self._forward = pyfftw.FFTW(self._turned, self._V, (0, 1, 2), "FFTW_FORWARD",
                                    ("FFTW_MEASURE",), 1)
        self._backward = pyfftw.FFTW(self._product, self._cross, (0, 1, 2), "FFTW_BACKWARD",
                                     ("FFTW_MEASURE", "FFTW_DESTROY_INPUT"), 1)
        k = np.arange(n)
        sign = (-1.0) ** (k[:, None, None] + k[:, None] + k[: n // 2 + 1])
        self._to_corner = sign.astype(np.float32)

    def score(self, D: NDArray[np.complex64], W: NDArray[np.float32], R: Floats
              ) -> tuple[float, NDArray[np.intp]]:
        """(best score over shifts, the shift xyz) of an orientation; D from `prepare`."""
        self._turn(self._volume, R, self._turned)
        self._forward.execute()
        power = correlate(self._V, D, W, self.r_max, self._product)
        self._backward.execute()
        reach = self._reach
        near = np.roll(self._cross[np.ix_(*[np.r_[-reach : reach + 1]] * 3)], 0)
        at = np.array(np.unravel_index(int(near.argmax()), near.shape))
        return float(near.max()) / np.sqrt(power), at[::-1] - reach

    def prepare(self, D: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """A particle's transform for volumes whose origin is at the centre voxel."""
        return D * self._to_corner

    def search(self, D: NDArray[np.complex64], W: NDArray[np.float32], R: Floats
               ) -> tuple[Floats, Floats, int]:
        """(orientation, shift xyz [px], orientations tried) from a start."""
        D, tried = self.prepare(D), 0
        grid = np.arange(PER_AXIS) - PER_AXIS // 2
        steps = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)
        for level in LEVELS_DEG:
            turns = R @ Rotation.from_rotvec(np.radians(level) * steps).as_matrix()
            scores = [self.score(D, W, turn)[0] for turn in turns]
            R, tried = turns[int(np.argmax(scores))], tried + len(turns)
        at = self.score(D, W, R)[1]
        return R, at + self._peak_offset(at), tried

    def _peak_offset(self, at: NDArray[np.intp]) -> Floats:
        """Parabola through the neighbours along each axis, xyz."""
        offset = np.zeros(3)
        for axis in range(3):
            step = np.eye(3, dtype=int)[axis]
            below, here, above = (float(self._cross[tuple((at + s * step)[::-1])])
                                  for s in (-1, 0, 1))
            bend = below - 2 * here + above
            offset[axis] = 0.5 * (below - above) / bend if bend < 0 else 0.0
        return np.clip(offset, -0.5, 0.5)
