"""Shell sums over the full transform, in plain numpy."""

import numpy as np

from sta_mpi.kernels.gather.reference import full_transform


def shell_sums(a_rft, b_rft):
    """(n//2+1, 4) sums of |a|^2, |b|^2, Re(a conj b) and counts of 3D half transforms."""
    a = full_transform(a_rft.astype(np.complex128))
    b = full_transform(b_rft.astype(np.complex128))
    n = len(a)
    k2 = np.fft.fftfreq(n, 1 / n) ** 2
    shell = np.rint(np.sqrt(k2[:, None, None] + k2[:, None] + k2)).astype(int)
    columns = (np.abs(a) ** 2, np.abs(b) ** 2, (a * b.conj()).real, np.ones(a.shape))
    return np.array([[c[shell == s].sum() for c in columns] for s in range(n // 2 + 1)])
