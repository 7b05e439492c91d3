"""What the pose polish computes, in plain numpy and double precision."""

import numpy as np

from sta_mpi.kernels.gather.reference import full_transform


def value_and_gradient(full, xyz):
    """Trilinear value (p,) and gradient (p, 3) of a periodic transform at xyz (p, 3).

    The gradient is that of the cell in which the point, or its mate if x < 0, lies.
    """
    folded = np.where(xyz[:, :1] < 0, -xyz, xyz)
    low = np.floor(folded).astype(int)
    value = np.zeros(len(xyz), np.complex128)
    gradient = np.zeros((len(xyz), 3), np.complex128)
    for corner in np.ndindex(2, 2, 2):
        x, y, z = ((low + corner) % len(full)).T
        side = 1 - np.abs(folded - (low + corner))
        slope = 2 * np.array(corner) - 1
        value += full[z, y, x] * side.prod(axis=1)
        for j in range(3):
            others = np.delete(side, j, axis=1).prod(axis=1)
            gradient[:, j] += full[z, y, x] * slope[j] * others
    mate = xyz[:, 0] < 0
    value[mate] = value[mate].conj()
    gradient[mate] = -gradient[mate].conj()
    return value, gradient


def normal_equations(padded_rft, scale, axes, shift_px, dre, dim, w, kx, ky, count, n):
    """(m, 25): cross, power, gd[5], gw[3], H[15] of every tilt."""
    full = full_transform(padded_rft.astype(np.complex128))
    out = np.zeros((len(axes), 25))
    for f in range(len(axes)):
        used = slice(0, count[f])
        k = np.stack([kx[used], ky[used]], axis=1).astype(float)
        data = dre[f, used].astype(float) + 1j * dim[f, used].astype(float)
        data = data * np.exp(2j * np.pi * (k @ shift_px[f]) / n)
        weight = w[f, used].astype(float)
        xyz = (k @ axes[f]) * scale
        V, gradient = value_and_gradient(full, xyz)
        dV = np.concatenate([np.cross(gradient, xyz).T, -2j * np.pi / n * k.T * V])
        H = (weight * dV.conj()) @ dV.T
        out[f] = np.concatenate([
            [np.vdot(V, data).real, (weight * np.abs(V) ** 2).sum()],
            (dV.conj() @ data).real, (dV[:3].conj() @ (weight * V)).real,
            H.real[np.triu_indices(5)]])
    return out
