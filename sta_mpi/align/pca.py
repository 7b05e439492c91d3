"""Principal components of particles with missing wedges: low-rank maps with exact weights.

Particle i has d = a X / sigma^2 and w = a^2 / sigma^2 on the voxels of a low band in its own
axes (see `observation`). Its map is a mean and a few components, with coordinates of unit
variance in the population:

    V_i = mu + sum_q z_iq U_q,        z_i ~ N(0, 1)
    log L = 2 Re sum conj(V_i) d_i - sum w_i |V_i|^2        over independent voxels

Expectation maximisation of factor analysis with known noise (Rubin and Thayer 1982): voxels
that a particle does not see have w = 0, so the wedge is neither filled nor compared.

    E:  A_i = 1 + 2 Re <U_q, w_i U_r>,  b_i = 2 Re <U_q, d_i - w_i mu>
        E z = A^-1 b,  E z z^T = A^-1 + E z E z^T
    M:  sum_i w_i E[y y^T] (mu, U) = sum_i E[y] d_i,  y = (1, z), voxel by voxel

After each step the coordinates are scaled to unit variance again (parameter expansion, Liu,
Rubin and Wu 1998), which converges in a few rounds where plain EM needs many.

The power of a component has no natural scale from shell to shell, so each is estimated as in the
regularised average of a map (`shrink`).

Maps are vectors over the voxels of a half space: <a, b> counts each Friedel pair once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

RIDGE = 1e-3
"""Least prior of an M step, as a share of the mean weight of a voxel."""

SPREAD = (2 / 3) ** 3
"""Noise power of merged voxels times their weight: the mean of t^2 over that of t for trilinear
shares t of samples between voxels."""

LEAST_SHRINK = 0.02
"""Factor that is left of a shell of noise."""


@dataclass(frozen=True)
class Coordinates:
    """What is known of one particle: mean (q,) and covariance (q, q) of z, log L gain of z."""

    mean: Floats
    covariance: Floats
    gain: float


def coordinates(data: Complexes, weight: Floats, mean: Complexes, components: Complexes
                ) -> Coordinates:
    """E step of one particle.

    Parameters
    ----------
    data : (v,) complex          a X / sigma^2
    weight : (v,)                a^2 / sigma^2
    mean : (v,) complex
    components : (q, v) complex
    """
    weighted = components * weight
    A = np.eye(len(components)) + 2.0 * (components.conj() @ weighted.T).real
    b = 2.0 * (components.conj() @ (data - weight * mean)).real
    covariance = np.asarray(np.linalg.inv(A), np.float64)
    z = covariance @ b
    _, log_det = np.linalg.slogdet(A)
    return Coordinates(z, covariance, 0.5 * float(b @ z - log_det))


def moment_products(z: Coordinates) -> tuple[Floats, Floats]:
    """(E y (q+1,), upper triangle of E y y^T ((q+1)(q+2)/2,)) of y = (1, z)."""
    first = np.concatenate([[1.0], z.mean])
    second = np.outer(first, first)
    second[1:, 1:] += z.covariance
    return first, second[np.triu_indices(len(first))]


def maximise(numerators: Complexes, products: Floats) -> tuple[Complexes, Complexes]:
    """M step: mean (v,) and components (q, v) from sums over particles.

    Parameters
    ----------
    numerators : (q+1, v) complex        sum of E y times data
    products : ((q+1)(q+2)/2, v)         sum of E y y^T times weight, upper triangle
    """
    n, v = numerators.shape
    matrices = np.zeros((v, n, n))
    rows, columns = np.triu_indices(n)
    matrices[:, rows, columns] = products.T
    matrices[:, columns, rows] = products.T
    matrices += RIDGE * max(float(products[0].mean()), 1e-30) * np.eye(n)
    solved: Complexes = np.linalg.solve(matrices, numerators.T[:, :, None])[:, :, 0].T.astype(
        np.complex128)
    return solved[0], solved[1:]


def shrink(components: Complexes, products: Floats, radius: Floats, left: float = 1.0
           ) -> Complexes:
    """Components (q, v) with each shell scaled by signal / (signal + noise).

    The noise of a voxel is `SPREAD` over its sum of weights, the signal of a shell is what its
    mean power has above that. Factors are relative to that of the best shell.

    Parameters
    ----------
    products : as for `maximise`
    radius : (v,)     |K| of the voxels
    left : float      share of the noise power that a mask left in the components
    """
    shells = np.rint(radius).astype(np.intp)
    count = np.maximum(np.bincount(shells), 1)
    n = len(components) + 1
    diagonal = [i for i, (a, b) in enumerate(zip(*np.triu_indices(n), strict=True)) if a == b][1:]
    out = np.empty_like(components)
    floor = RIDGE * max(float(products[0].mean()), 1e-30)
    for q, (component, weight) in enumerate(zip(components, products[diagonal], strict=True)):
        noise = np.bincount(shells, left * SPREAD / (weight + floor)) / count
        power = np.bincount(shells, np.abs(component) ** 2) / count
        factor = np.maximum(1.0 - noise / np.maximum(power, 1e-300), 0.0)
        # the best shell stays: a component that is scaled down as a whole never comes back
        factor = np.maximum(factor / factor.max(), LEAST_SHRINK) if factor.any() else factor + 1.0
        out[q] = component * factor[shells]
    return out


def unit_variance(components: Complexes, mean_square: Floats) -> Complexes:
    """Components for coordinates of unit variance, where their mean square was (q, q)."""
    return np.asarray(np.linalg.cholesky(_symmetric(mean_square)).T @ components)


def principal_axes(components: Complexes) -> tuple[Complexes, Floats]:
    """Orthogonal components of falling power that span the same maps, and their power (q,)."""
    gram = (components.conj() @ components.T).real
    power, axes = np.linalg.eigh(_symmetric(gram))
    order = np.argsort(-power)
    turned = axes[:, order].T @ components
    # of the two signs the one whose largest voxel has a positive real part
    at = np.argmax(np.abs(turned.real), axis=1)
    signs = np.where(np.take_along_axis(turned.real, at[:, None], 1) < 0, -1.0, 1.0)
    return np.asarray(signs * turned), np.asarray(power[order])


def _symmetric(matrix: Floats) -> Floats:
    """Symmetric part, with a diagonal that keeps it positive definite."""
    even = 0.5 * (matrix + matrix.T)
    return np.asarray(even + 1e-9 * max(np.trace(even), 1e-30) * np.eye(len(even)))
