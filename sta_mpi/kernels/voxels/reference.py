"""What the polish of a box computes, in plain numpy and double precision."""

import numpy as np

from sta_mpi.kernels.gather.reference import full_transform
from sta_mpi.kernels.polish.reference import value_and_gradient


def normal_equations(padded_rft, scale, axes, shift_px, dre, dim, w, k, count, n):
    """(32,): cross, power, gd[6], gw[3], H[21] of the first `count` voxels, k (p, 3) xyz."""
    used = slice(0, count)
    k, weight = k[used].astype(float), w[used].astype(float)
    data = dre[used].astype(float) + 1j * dim[used].astype(float)
    data = data * np.exp(2j * np.pi * (k @ shift_px) / n)
    xyz = (k @ axes) * scale
    V, gradient = value_and_gradient(full_transform(padded_rft.astype(np.complex128)), xyz)
    dV = np.concatenate([np.cross(gradient, xyz).T, -2j * np.pi / n * k.T * V])
    H = (weight * dV.conj()) @ dV.T
    return np.concatenate([
        [np.vdot(V, data).real, (weight * np.abs(V) ** 2).sum()],
        (dV.conj() @ data).real, (dV[:3].conj() @ (weight * V)).real, H.real[np.triu_indices(6)]])
