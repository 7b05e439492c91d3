"""What a round of `align` searches, and what a search of one particle gives.

A searcher is made on every rank; `align` finds the poses of particles of one unit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import Band
from sta_mpi.align.pose import Pose
from sta_mpi.align.reference import Reference
from sta_mpi.align.scores import (
    Samples,
    flat_gain,
    wiener_from_half_fsc,
    with_gain,
    without_wedge,
)
from sta_mpi.geometry.peet import peet_from_rp2t
from sta_mpi.geometry.rotations import angular_distance_deg, rotation_from_vector
from sta_mpi.jobs.averaging import Setup
from sta_mpi.jobs.parameters.align import SearchParameters
from sta_mpi.jobs.reference_shelf import ReferenceShelf
from sta_mpi.signal.fft import FftPlans

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Search:
    """What a round searches.

    Parameters
    ----------
    R_p2t, offset_A : (n, 3, 3), (n, 3)   current poses
    anchor_A : (n, 3)                     offsets at which images are cut
    references : (2, K, b, b, b) float32  of each half-set; those from n_classes on are decoys
    fsc : (K, n_shells)                   of the half maps that the references are; 1 where they
                                          are no half maps, or have a prior of their own
    mask : (b, b, b) float32 or None
    kind : "grid", "local", "global"; "still" scores at the current poses, "given" puts
        particles into the classes of `labels` there
    rotations : (R, 3, 3)                 absolute when is_global, else turns of the particle's
                                          own axes away from the current pose
    shifts_px : (S, 3)                    tomogram axes, binned pixels
    shift_step_A : float                  spacing of `shifts_px`
    prior_R : (n, 3, 3)                   centres of priors on orientations
    max_angle_deg, max_shift_A : float    how far from the current pose a search may go
    rotation_step_deg : float             spacing of `rotations`
    i_round : int                         0 for the first
    log_share : (n_classes,) or None      log prior of each class; None: all alike
    is_kept : (n,) bool or None           particles whose poses stay as they are
    labels : (n,) int or None             classes of the particles, for "given"; -1: none
    limits : Limits or None               what goes beyond the above, for a PEET project
    noise_gain : (2, n_shells) or None    factors of data and weights by half-set; None: the
                                          noise is as measured in the images
    shelf : ReferenceShelf                where the stages of the round find its references
    """

    R_p2t: Floats
    offset_A: Floats
    anchor_A: Floats
    references: NDArray[np.float32]
    n_classes: int
    fsc: Floats
    mask: NDArray[np.float32] | None
    kind: str
    rotations: Floats
    is_global: bool
    shifts_px: Floats
    shift_step_A: float
    prior_R: Floats
    max_angle_deg: float
    max_shift_A: float
    rotation_step_deg: float
    band: Band
    i_round: int
    parameters: SearchParameters
    log_share: Floats | None = None
    labels: NDArray[np.intp] | None = None
    is_kept: NDArray[np.bool_] | None = None
    limits: "Limits | None" = None
    noise_gain: Floats | None = None
    shelf: ReferenceShelf = field(default_factory=ReferenceShelf)

    @property
    def is_first(self) -> bool:
        """No pose was searched before."""
        return self.i_round == 0

    def keeps(self, row: int) -> bool:
        """Whether the pose of a particle stays as it is."""
        return self.kind == "still" or (self.is_kept is not None and bool(self.is_kept[row]))

    def candidates(self, row: int) -> Floats:
        """Candidate orientations of a particle, (R, 3, 3), the current one first."""
        current = self.R_p2t[row]
        if self.is_global:
            return np.concatenate([current[None], self.rotations])
        return np.asarray(current @ self.rotations)

    def shifts_of(self, row: int) -> Floats:
        """Candidate shifts of a particle, (S, 3), tomogram axes [binned pixels]."""
        if self.limits is None or not self.limits.along_peet_axes:
            return self.shifts_px
        return np.asarray(self.shifts_px @ peet_from_rp2t(self.R_p2t[row]).T)


@dataclass(frozen=True)
class Limits:
    """What a search of a PEET project has beyond the options of a command.

    Parameters
    ----------
    starts : (k, 3, 3)                turns of the particle's own axes at which a local search
                                      begins, none first
    max_tilt_deg : float or None      largest angle of the particle's Z axis to its current one
    sample_gain : (n//2+1,)           factors of the shells of data and weights
    reference_gain : (n//2+1,)        factors of the shells of references
    centre : (R, offset_A) or None    (n, 3, 3), (n, 3): where limits are centred instead of the
                                      current poses
    along_peet_axes : bool            the shifts of a grid count along the axes that PEET gives a
                                      particle
    has_wedge : bool                  searches know what a particle has not measured
    """

    starts: Floats
    max_tilt_deg: float | None
    sample_gain: Floats
    reference_gain: Floats
    centre: tuple[Floats, Floats] | None = None
    along_peet_axes: bool = False
    has_wedge: bool = True


@dataclass(frozen=True)
class Mode:
    """One likely pose of a particle; shifts are from where its images were cut."""

    i_reference: int
    R_p2t: Floats
    shift_xyz_px: Floats
    weight: float


@dataclass(frozen=True)
class Found:
    """What a search says of one particle.

    Parameters
    ----------
    columns : dict         the row of `column_specs`, n_slices excepted
    observation : object   its images, cut at the anchor; None where no tilt sees it
    modes : list of Mode   poses at which it enters the averages
    fault : str            why its data are bad; empty: they are not
    """

    columns: dict[str, Any]
    observation: Any
    modes: list[Mode]
    fault: str = ""


class Searcher(Protocol):
    """Finds the poses of the particles of a unit."""

    def align(self, rows: NDArray[np.intp], half: int) -> Iterator[Found]:
        """What is found of each particle, in the order of `rows`."""


def column_specs(n: int, n_references: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name -> (shape, dtype) of the results of n particles."""
    scalars = ("ncc", "loglik", "gain", "sigma_angle_deg", "sigma_shift_A", "grey_scale", "p_max")
    counts = ("at_edge", "i_reference", "n_modes", "is_settled", "n_slices")
    return {"R_p2t": ((n, 9), "float64"), "offset_A": ((n, 3), "float64"),
            "reference_scores": ((n, n_references), "float64"),
            **dict.fromkeys(scalars, ((n,), "float64")),
            **dict.fromkeys(counts, ((n,), "int32"))}


def unseen(search: Search, row: int, fault: str = "") -> Found:
    """A particle that no tilt sees, or whose data are bad: its pose as it was."""
    n_references = search.references.shape[1]
    columns: dict[str, Any] = {name: np.nan if kind == "float64" else 0
               for name, (_, kind) in column_specs(1, n_references).items()}
    columns |= {"R_p2t": search.R_p2t[row].ravel(), "offset_A": search.offset_A[row],
                "reference_scores": np.full(n_references, np.nan)}
    return Found(columns, None, [], fault)


def reference_shapes(setup: Setup) -> list[tuple[int, ...]]:
    """Real-space shapes of the transforms that references need."""
    box = setup.sizes.box_px
    return [(box,) * 3, (2 * box,) * 3]


def make_references(search: Search, plans: FftPlans, runtime: Any) -> list[list[Reference]]:
    """References of both half-sets, ready for gathering: [half][reference]; collective."""
    def filtered(k: int) -> Floats | None:
        gain = None if search.limits is None else search.limits.reference_gain
        if search.parameters.score not in ("loglik", "fsc"):
            return gain
        # a decoy is treated as the first class, of which it is a copy
        wiener = wiener_from_half_fsc(search.fsc[k if k < search.n_classes else 0])
        return wiener if gain is None else wiener * gain

    return search.shelf.take(search.references, search.mask, search.band.r_max,
                             [filtered(k) for k in range(search.references.shape[1])], plans,
                             runtime)


def weighted_samples(search: Search, samples: Samples, shell_power: Floats, half: int) -> Samples:
    """Samples of a particle of a half-set as the score of the search wants them.

    `shell_power` is that of the first reference: one gain for all, so that their scores compare.
    """
    if search.parameters.score == "cc":
        samples = with_gain(samples, flat_gain(samples, shell_power))
    if search.limits is not None:
        samples = with_gain(samples, search.limits.sample_gain)
        if not search.limits.has_wedge:
            samples = without_wedge(samples)
    if search.noise_gain is not None:
        samples = with_gain(samples, search.noise_gain[half - 1])
    return samples


def moved_px(setup: Setup, search: Search, row: int) -> Floats:
    """(3,) from where a particle's images are cut to its current position [binned px]."""
    moved: Floats = (search.offset_A[row] - search.anchor_A[row]) / setup.sizes.voxel_A
    return moved


def search_centre(setup: Setup, search: Search, row: int) -> Pose:
    """Where priors and limits of a particle are centred; shifts are from its anchor.

    The current pose, but the prior's where there is a prior: its orientation, its normal with
    the current in-plane angle (tilt prior, cone), or the input position.
    """
    p, given = search.parameters, setup.inputs.particles
    if search.limits is not None and search.limits.centre is not None:
        R, offset_A = (values[row] for values in search.limits.centre)
        return Pose(R, (offset_A - search.anchor_A[row]) / setup.sizes.voxel_A)
    R, shift = search.R_p2t[row], moved_px(setup, search, row)
    if p.angle_prior_deg is not None:
        R = search.prior_R[row]
    elif p.tilt_prior_deg is not None or (search.is_global and p.cone_deg is not None):
        R = swing_to(R, search.prior_R[row, :, 2])
    if p.shift_prior_A is not None:
        shift = (given.offset_A[row] - search.anchor_A[row]) / setup.sizes.voxel_A
    return Pose(R, shift)


def has_priors(parameters: SearchParameters) -> tuple[bool, bool]:
    """Whether limits of (turns, shifts) are about a prior's centre, not about the current pose."""
    return (parameters.angle_prior_deg is not None or parameters.tilt_prior_deg is not None,
            parameters.shift_prior_A is not None)


def swing_to(R: Floats, normal: Floats) -> Floats:
    """R (3, 3) after the shortest turn of the tomogram that brings its Z axis to `normal`."""
    axis = np.cross(R[:, 2], normal)
    sine, cosine = np.linalg.norm(axis), float(R[:, 2] @ normal)
    if sine < 1e-12:
        # opposite normals: half a turn about the particle's own X axis
        return R.copy() if cosine > 0 else R @ np.diag([1.0, -1.0, -1.0])
    return np.asarray(rotation_from_vector(axis / sine * np.arctan2(sine, cosine)) @ R)


def is_at_edge(search: Search, turn_deg: float, shift_px: float) -> bool:
    """Whether a grid pose lies on the outermost ring of its lists."""
    radius = np.linalg.norm(search.shifts_px, axis=1)
    if len(radius) > 1 and shift_px >= radius.max() - 1e-6:
        return True
    if search.is_global or len(search.rotations) == 1:
        return False
    turns = angular_distance_deg(np.eye(3), search.rotations)
    return bool(turn_deg >= turns.max() - 1e-6)
