"""What a start of the competition begins with: particles at random poses, or one particle."""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_em import filled, insert_at
from sta_mpi.align.band_set import BandSet, Rows
from sta_mpi.align.denovo import StartSettings, map_of_sums
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.masks import soft_sphere

Floats = NDArray[np.float64]
Map = NDArray[np.float32]


def random_map(bands: BandSet, half: NDArray[np.int8], train: Rows, settings: StartSettings,
               rng: np.random.Generator, plans: FftPlans) -> Map:
    """The average of a random subset at random poses: random twists where normals are known."""
    stage = settings.stages[0]
    own = bands.within(stage.r_max)
    n = min(len(train), stage.subset or len(train))
    rows = np.sort(rng.choice(train, n, replace=False))
    rotations = settings.lists.rotations(stage.order, rng)
    drawn = rotations[rng.integers(0, len(rotations), n)]
    sums = insert_at(own.select(rows), drawn, np.zeros((n, 3)), half[rows])
    return map_of_sums(sums, stage.r_max, settings, own.band.box_px, plans)[0]


def particle_map(bands: BandSet, row: int, settings: StartSettings, plans: FftPlans) -> Map:
    """One particle as a map: D / (W + 1 / tau^2).

    Voxels of its missing wedge have W = 0 and stay empty. The likelihood of a pose,
    2 Re[conj(V) D'] - |V|^2 W', then has nothing to say where V or W' is empty: only the overlap of
    both wedges counts, and no division by it is needed.
    """
    tau2 = signal_power(bands)[_shell_of(bands)]
    value = bands.data[row] / (bands.weight[row] + 1.0 / np.maximum(tau2, 1e-30))
    return map_of_values(value.astype(np.complex64), bands, settings, plans)


def map_of_values(values: NDArray[np.complex64], bands: BandSet, settings: StartSettings,
                  plans: FftPlans) -> Map:
    """The map (g, g, g) under a soft sphere whose transform is `values` (k,) on the band.

    Without the gridding correction, which would smear signal into voxels without data.
    """
    g, band = bands.band.grid_px, bands.band
    spectrum, _ = filled(values, np.zeros(len(values), np.float32), band)
    data = plans.irfft3(spectrum)
    return data * soft_sphere(g, settings.mask_radius_px * g / band.box_px, 2.0)


def signal_power(bands: BandSet) -> Floats:
    """Power tau^2 of the particles' transforms by rounded shell, (shells,).

    E |D|^2 = W^2 tau^2 + f W: the noise share f, below 1 since merging averages noise, is taken
    from the shell where it is lowest. At least a hundredth of the largest shell's.
    """
    shell = _shell_of(bands)
    n = int(shell.max()) + 1
    power = np.abs(bands.data.astype(np.complex128)) ** 2
    weight = bands.weight.astype(np.float64)

    def total(values: Floats) -> Floats:
        return np.asarray(np.bincount(shell, values.sum(axis=0), n))

    first, second, squares = total(power), total(weight), total(weight**2)
    noise = float(np.min((first / np.maximum(second, 1e-30))[second > 0], initial=1.0))
    tau2 = (first - noise * second) / np.maximum(squares, 1e-30)
    return np.maximum(tau2, 0.01 * max(float(tau2.max()), 1e-30))


def _shell_of(bands: BandSet) -> Rows:
    return np.asarray(np.rint(np.linalg.norm(bands.band.K_xyz, axis=1)).astype(np.intp))
