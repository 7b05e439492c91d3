"""A fair first reference: particles aligned in pairs, and the pairs in pairs, up to one average.

2^k particles are drawn by a pseudo-random rule. The nodes of a level, sums D and W in axes of their
own, are aligned two by two and added; after k levels one average is left, in which every
particle stands at a pose that came from the pairs, and no single one was the reference. (PEET's
flgFairReference: 2^k particles, aligned pairwise, averaged, k levels.)

For two nodes A and B of the same object V, with the prior V ~ N(0, tau^2), the likelihood of B
turned and shifted against A, relative to B alone, is over the voxels K of B

    |D_B e + m / v|^2 / (W_B + 1 / v) - |m|^2 / v - log(1 + W_B v)
    m = D_A v,    v = 1 / (W_A + 1 / tau^2)        (mean and variance of V given A, turned)

Where A has no data (its missing wedge) m = 0 and v = tau^2: such voxels prefer no pose by their
phase, and count by their power alone. Nothing has to be divided by the overlap of wedges.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_em import Sums, filled
from sta_mpi.align.band_set import BandSet, PoseLists, Rows
from sta_mpi.align.denovo import StartSettings, reference_of
from sta_mpi.align.first_maps import map_of_values, signal_power
from sta_mpi.align.voxel_band import shift_phases_of_band
from sta_mpi.kernels.gather import gather_box, pack_volume
from sta_mpi.kernels.insert import insert_box
from sta_mpi.signal.fft import FftPlans

Floats = NDArray[np.float64]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Node:
    """Aligned particles as one.

    Parameters
    ----------
    rows : (m,) int             particles of the set
    R : (m, 3, 3)               axes of the node to those of each particle's frame
    shift_px : (m, 3)           of each particle in its frame
    data, weight : (k,)         sums over them in the axes of the node
    """

    rows: Rows
    R: Floats
    shift_px: Floats
    data: NDArray[np.complex64]
    weight: NDArray[np.float32]


@dataclass(frozen=True)
class Tree:
    """What `fair_reference` found.

    Parameters
    ----------
    root : Node                 all particles
    maps : list of (g, g, g)    the first node of each level, and the root last
    gains : list of (pairs,)    log-likelihood ratio of the best pose of each pair, by level
    """

    root: Node
    maps: list[Map]
    gains: list[Floats]


def fair_reference(bands: BandSet, rows: Rows, settings: StartSettings, order: int,
                   plans: FftPlans) -> Tree:
    """Align particles in pairs, level by level, and average them.

    Parameters
    ----------
    bands : BandSet          in the band that pairs are compared in
    rows : (2^k,) int        particles, in the order in which they meet
    settings : StartSettings    its lists say which relative poses are tried
    order : int              HEALPix order of the list of rotations

    Raises
    ------
    ValueError    a number of particles that is no power of two
    """
    if len(rows) < 2 or len(rows) & (len(rows) - 1):
        raise ValueError(f"a tree of pairs needs 2, 4, 8, ... particles, got {len(rows)}")
    tau2 = signal_power(bands)[
        np.rint(np.linalg.norm(bands.band.K_xyz, axis=1)).astype(np.intp)]
    nodes = [Node(np.array([row]), np.eye(3)[None], np.zeros((1, 3)), bands.data[row],
                  bands.weight[row]) for row in rows]
    maps, gains = [node_map(nodes[0], bands, tau2, settings, plans)], []
    while len(nodes) > 1:
        joined, level = [], []
        for a, b in zip(nodes[::2], nodes[1::2], strict=True):
            R, shift_px, gain = best_pair(a, b, bands, tau2, settings, order, plans)
            joined.append(join(a, b, R, shift_px, bands))
            level.append(gain)
        nodes = joined
        maps.append(node_map(nodes[0], bands, tau2, settings, plans))
        gains.append(np.array(level))
    return Tree(nodes[0], maps, gains)


def node_map(node: Node, bands: BandSet, tau2: Floats, settings: StartSettings, plans: FftPlans
             ) -> Map:
    """The average of a node, D / (W + 1 / tau^2), under a soft sphere."""
    value = node.data / (node.weight + 1.0 / tau2)
    return map_of_values(value.astype(np.complex64), bands, settings, plans)


def best_pair(a: Node, b: Node, bands: BandSet, tau2: Floats, settings: StartSettings, order: int,
              plans: FftPlans) -> tuple[Floats, Floats, float]:
    """(R, shift, gain): a point x of A lies at R x + shift in the axes of B."""
    band = bands.band
    rotations, shifts_px = pair_lists(settings.lists, order, band.box_px, band.r_max)
    mean = reference_of(node_map(a, bands, tau2, settings, plans), band.r_max, plans).volume
    spread = 1.0 / (a.weight + 1.0 / tau2)
    boxed, _ = filled(spread.astype(np.complex64), a.weight, band)
    variance = pack_volume(boxed, band.grid_px, band.r_max)
    moved = b.data[:, None] * shift_phases_of_band(band, shifts_px)
    columns = np.concatenate([moved.real, moved.imag]).astype(np.float32)
    own_power = np.abs(b.data.astype(np.complex128)) ** 2
    k = len(band.index)
    rows = np.empty((len(rotations), 2 * k), np.float32)
    still = np.empty(len(rotations))
    for i, R in enumerate(rotations):
        turn = np.ascontiguousarray(R.T)
        m = gather_box(mean, turn, band.grid_px, band.r_max).reshape(-1)[band.index]
        v = gather_box(variance, turn, band.grid_px, band.r_max).reshape(-1)[band.index].real
        v = np.maximum(v, 1e-12 * tau2)
        damped = 1.0 + b.weight * v
        rows[i, :k], rows[i, k:] = 2 * m.real / damped, 2 * m.imag / damped
        still[i] = np.sum(own_power * v / damped - np.abs(m) ** 2 * b.weight / damped
                          - np.log(damped))
    surface = rows @ columns + still[:, None]
    best, at = np.unravel_index(int(surface.argmax()), surface.shape)
    return rotations[best], shifts_px[at], float(surface[best, at] - surface.mean())


def pair_lists(lists: PoseLists, order: int, box_px: int, r_max: float) -> tuple[Floats, Floats]:
    """Rotations and shifts of one particle against another: both tilt, both are shifted."""
    cone = None if lists.cone_deg is None else min(180.0, np.sqrt(2.0) * lists.cone_deg)
    pair = PoseLists(cone, float(np.sqrt(2.0)) * lists.shift_range_px)
    return pair.rotations(order, None), pair.shifts_px(box_px, r_max)


def join(a: Node, b: Node, R: Floats, shift_px: Floats, bands: BandSet) -> Node:
    """Both nodes in the axes of A, where A's point x lies at R x + shift in those of B."""
    band, g = bands.band, bands.band.grid_px
    moved = b.data * shift_phases_of_band(band, np.asarray(shift_px)[None])[:, 0]
    sums: Sums = np.zeros((g, g, g // 2 + 1, 4), np.float32)
    insert_box(sums, *filled(moved, b.weight, band), np.ascontiguousarray(R.T), band.r_max)
    flat = sums.reshape(-1, 4)[band.index]
    return Node(
        np.concatenate([a.rows, b.rows]), np.concatenate([a.R, b.R @ R]),
        np.concatenate([a.shift_px, b.shift_px + b.R @ shift_px]),
        (a.data + flat[:, 0] + 1j * flat[:, 1]).astype(np.complex64), a.weight + flat[:, 2])
