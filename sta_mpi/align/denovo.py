"""A first reference from particles alone: one start of the competition of `reference`.

A start begins with some map (`first_maps`, `reference_tree`), in a very low band. Rounds of
expectation and maximisation over random subsets follow in rising bands (`band_em`); each round's
map is divided with the prior of the FSC of its two halves and put under a soft sphere. In the
end the map is judged by the evidence of particles that no round of it has seen. The competition
is between starts from different random numbers, or from different first maps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_em import Expectation, Sums, expect
from sta_mpi.align.band_set import BandSet, PoseLists, Rows
from sta_mpi.align.move_map import RigidMove, move_map, shift_move
from sta_mpi.align.reference import Reference, prepare_reference
from sta_mpi.geometry.rotations import turn_of_z_to
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.signal.fft import FftPlans, radius_rft
from sta_mpi.signal.masks import soft_sphere

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

MARCH = ((3.0, 10), (4.0, 8), (5.0, 8), (7.0, 6))
"""Bands and rounds that come before the last band: the outline first, where few maps are
possible."""
LEAST_WIDTH = 1.5
"""Shells of the first band."""
LAST_ROUNDS = 6
FINE_FROM = 6.5
"""Bands beyond this need rotations finer than 30 degrees (shell 6 of an object of 0.3 boxes
radius is one radian a turn of 30 degrees)."""
PAD = 2.0


@dataclass(frozen=True)
class Stage:
    """Some rounds of a start.

    Parameters
    ----------
    r_max : float     highest frequency index
    order : int       HEALPix order of the list of rotations
    rounds : int
    subset : int      particles of a round, drawn anew; 0: all
    """

    r_max: float
    order: int
    rounds: int
    subset: int


@dataclass(frozen=True)
class StartSettings:
    """What all starts of a competition share.

    Parameters
    ----------
    lists : PoseLists
    stages : tuple of Stage
    mask_radius_px : float    of the soft sphere about the map [px of the box]
    """

    lists: PoseLists
    stages: tuple[Stage, ...]
    mask_radius_px: float


@dataclass(frozen=True)
class StartResult:
    """Where a start ended.

    Parameters
    ----------
    map : (g, g, g) float32            on the grid of the band, as many Å wide as the box
    gain : (n_test,) float64           log evidence of unseen particles over no particle at all
    inverted : (n_test,) float64       the same for the inverted contrast
    blob : (n_test,) float64           the same for the map averaged over all directions, or,
                                       where normals are known, over all turns about z
    course : (rounds,) float64         mean log evidence of the particles of each round
    """

    map: Map
    gain: Floats
    inverted: Floats
    blob: Floats
    course: Floats


def default_stages(r_max: float, n_train: int, is_cone: bool, r_min: float = 0.0
                   ) -> tuple[Stage, ...]:
    """Rounds in rising bands up to `r_max`; the steps of rotations follow the band.

    The list about a known normal is short, so its steps are half as wide.
    """
    few = min(n_train, max(60, n_train // 2))
    finer = int(is_cone)
    stages = [Stage(r, 1 + finer, rounds, few) for r, rounds in MARCH
              if r_min + LEAST_WIDTH <= r < r_max]
    order = (1 if r_max <= FINE_FROM else 2) + finer
    return (*stages, Stage(r_max, order, LAST_ROUNDS, 0))


def run_start(bands: BandSet, first: Map, half: NDArray[np.int8], train: Rows, test: Rows,
              settings: StartSettings, rng: np.random.Generator, plans: FftPlans) -> StartResult:
    """One start, from its first map to its evidence.

    Parameters
    ----------
    bands : BandSet           all particles of the competition
    first : (g, g, g)         on the grid of the band
    half : (n,) of 1 and 2    for the FSC that weights a round's map
    train, test : rows        particles that make maps, and that judge them
    rng : Generator           of this start alone
    """
    data = first
    course = []
    for stage in settings.stages:
        own = bands.within(stage.r_max)
        for _ in range(stage.rounds):
            rows = train
            if 0 < stage.subset < len(train):
                rows = np.sort(rng.choice(train, stage.subset, replace=False))
            found = look(own.select(rows), data, stage, settings, rng, plans, half[rows])
            assert found.sums is not None
            data, _ = map_of_sums(found.sums, stage.r_max, settings, own.band.box_px, plans)
            data = centred(data, found, own.band.box_px, settings.lists.cone_deg is not None, plans)
            course.append(float(found.log_evidence.mean()))
    judged = judge(bands, data, test, settings, plans)
    flat = axial_average(data) if settings.lists.cone_deg is not None else radial_average(data)
    blob = judge(bands, flat, test, settings, plans)
    return StartResult(data, judged.log_evidence, judged.inverted, blob.log_evidence,
                       np.array(course))


def centred(data: Map, found: Expectation, box_px: int, is_cone: bool, plans: FftPlans) -> Map:
    """The map moved to where the particles are on average, and turned to their normals.

    Poses leave the place of the map free: moved map and moved particles explain the data as
    well. On a lattice it wanders off to a neighbour, and out of the mask, unless it is held where
    the mean shift is zero and the mean normal is z.
    """
    move = shift_move(found.mean_shift_px * len(data) / box_px)
    if is_cone:
        move = move.then(RigidMove(turn_of_z_to(found.mean_normal).T, np.zeros(3)))
    return move_map(data, move, plans)


def judge(bands: BandSet, data: Map, test: Rows, settings: StartSettings, plans: FftPlans
          ) -> Expectation:
    """Evidence of unseen particles for a map, in the last band, with the list as it is."""
    stage = settings.stages[-1]
    return look(bands.within(stage.r_max).select(test), data, stage, settings, None, plans, None)


def look(bands: BandSet, data: Map, stage: Stage, settings: StartSettings,
         rng: np.random.Generator | None, plans: FftPlans, half: NDArray[np.int8] | None
         ) -> Expectation:
    """Expectation of a stage."""
    return expect(bands, reference_of(data, stage.r_max, plans),
                  settings.lists.rotations(stage.order, rng),
                  settings.lists.shifts_px(bands.band.box_px, stage.r_max), half)


def reference_of(data: Map, r_max: float, plans: FftPlans) -> Reference:
    """A map on the grid of a band, ready to be gathered in all orientations."""
    return prepare_reference(data, None, min(r_max, len(data) // 2 - 2.0), plans, PAD)


def radial_average(data: Map) -> Map:
    """The map (g, g, g) with its mean at each distance from the centre, linear in between."""
    axis = np.arange(len(data)) - len(data) // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    return _mean_by_radius(data, radius)


def axial_average(data: Map) -> Map:
    """The map (g, g, g) with, plane by plane, its mean at each distance from the z axis."""
    axis = np.arange(len(data)) - len(data) // 2
    radius = np.sqrt(axis[:, None] ** 2 + axis**2)
    return np.stack([_mean_by_radius(plane, radius) for plane in data])


def _mean_by_radius(data: Map, radius: Floats) -> Map:
    low = radius.astype(np.intp).ravel()
    part, values = radius.ravel() - low, data.ravel()
    n = int(low.max()) + 2
    total = np.bincount(low, (1 - part) * values, n) + np.bincount(low + 1, part * values, n)
    count = np.bincount(low, 1 - part, n) + np.bincount(low + 1, part, n)
    profile = total / np.maximum(count, 1e-9)
    return np.interp(radius, np.arange(n), profile).astype(np.float32)


def map_of_sums(sums: Sums, r_max: float, settings: StartSettings, box_px: int, plans: FftPlans
                ) -> tuple[Map, Floats]:
    """(map, FSC of the halves) from the sums (2, g, g, g//2+1, 4) of both halves."""
    both = sums.astype(np.float64)
    fsc = shell_fsc(both)
    num = (both[..., 0] + 1j * both[..., 1]).sum(axis=0)
    den = both[..., 2].sum(axis=0)
    g = len(den)
    radius = radius_rft(den.shape)
    shells = np.minimum(np.rint(radius).astype(np.intp), g // 2)
    mean = np.bincount(shells.ravel(), den.ravel()) / np.maximum(np.bincount(shells.ravel()), 1)
    reliable = np.clip(fsc, 0.05, 0.999)
    prior = mean * (1 - reliable) / (2 * reliable)
    spectrum = num / np.maximum(den + prior[shells], 1e-12)
    spectrum[(radius > r_max) | (den <= 0)] = 0
    data = correct_gridding(plans.irfft3(spectrum.astype(np.complex64)), 1.0)
    radius_px = settings.mask_radius_px * g / box_px
    return data * soft_sphere(g, radius_px, 2.0), fsc


def shell_fsc(sums: Floats) -> Floats:
    """FSC (g//2+1,) of the maps of two halves, from their sums."""
    num = sums[..., 0] + 1j * sums[..., 1]
    a, b = num / np.maximum(sums[..., 2], 1e-12)
    g = sums.shape[1]
    shells = np.minimum(np.rint(radius_rft(a.shape)).astype(np.intp), g // 2).ravel()

    def total(values: Floats) -> Floats:
        return np.asarray(np.bincount(shells, values.ravel(), g // 2 + 1), np.float64)

    cross = total((a * b.conj()).real)
    power = total(np.abs(a) ** 2) * total(np.abs(b) ** 2)
    return np.asarray(cross / np.sqrt(np.maximum(power, 1e-60)))
