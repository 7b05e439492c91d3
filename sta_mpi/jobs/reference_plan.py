"""What `reference` will do: sizes, bands, who competes, parameters of its rounds."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_set import PoseLists, Rows
from sta_mpi.align.denovo import StartSettings, default_stages
from sta_mpi.align.unseen import unseen_regions
from sta_mpi.align.voxel_band import VoxelBand, make_voxel_band
from sta_mpi.errors import InputError, InputWarning, UsageError
from sta_mpi.formats.relion_priors import prior_orientations
from sta_mpi.jobs.averaging import Setup, check_symmetry, make_setup
from sta_mpi.jobs.inputs import assign_halves, load_set
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.parameters.average import ReconstructionParameters
from sta_mpi.jobs.parameters.reference import ReferenceParameters
from sta_mpi.jobs.reference_starts import Drawn
from sta_mpi.jobs.search_options import check_band

PRIOR_CONE_DEG = 15.0
FREE_SHELL, CONE_SHELL = 6.0, 8.0
"""Default band of the competition: the list of twists about a known normal is short."""
LARGEST_SHELL = 12.0
LEAST_PARTICLES, LEAST_UNSEEN = 12, 4
OVERLAP_SHARE = 0.5
"""Boxes whose centres are this share of their edge apart hardly overlap within the mask."""
LEAST_MAKERS = 0.6
"""Share of the particles that would make maps which must be left by the gap around the judges."""
SHIFT_SHARE = 1 / 16
MASK_SHARE = 0.4
ANGLE_RANGE_DEG = 15.0
"""Of the first local round; 0.7 of the one before in each round."""
PRIOR_LABELS = ("rlnAngleTiltPrior", "rlnAnglePsiPrior")


@dataclass(frozen=True)
class ReferencePlan:
    """Everything that is fixed before the first unit.

    Parameters
    ----------
    setup : Setup                  its parameters are those of the rounds, in C1
    cone_deg : float or None       within which normals are known
    lowpass_A : float              finest detail of the competition
    shift_range_A : float
    align : AlignParameters        of the rounds of all particles
    """

    parameters: ReferenceParameters
    setup: Setup
    cone_deg: float | None
    lowpass_A: float
    shift_range_A: float
    align: AlignParameters

    @property
    def span_A(self) -> float:
        """Edge of the box [Å]."""
        return self.setup.sizes.box_px * self.setup.sizes.voxel_A

    @property
    def r_max(self) -> float:
        """Highest frequency index of the competition."""
        return self.span_A / self.lowpass_A

    @property
    def rounds(self) -> int:
        """Rounds of all particles before the reference is oriented: global, then local."""
        return 1 + self.parameters.iterations

    def band(self) -> VoxelBand:
        """Voxels of the competition."""
        return make_voxel_band(self.setup.sizes.box_px, self.r_max)

    def settings(self, n_train: int) -> StartSettings:
        """What all starts share."""
        sizes = self.setup.sizes
        diameter_A = self.parameters.mask_diameter_A
        radius_px = (MASK_SHARE * sizes.box_px if diameter_A is None
                     else diameter_A / (2 * sizes.voxel_A))
        lists = PoseLists(self.cone_deg, self.shift_range_A / sizes.voxel_A)
        return StartSettings(lists, default_stages(self.r_max, n_train, self.cone_deg is not None),
                             radius_px)


def make_plan(parameters: ReferenceParameters) -> ReferencePlan:
    """Read and check the input, choose sizes and bands."""
    if parameters.symmetry != "auto":
        check_symmetry(parameters.symmetry)
    inputs = load_set(parameters)
    half = assign_halves(inputs.particles, parameters.halves, parameters.seed,
                         parameters.cluster_distance_A)
    in_c1 = AlignParameters(**_shared(parameters))
    setup = make_setup(inputs, in_c1, half)
    if parameters.particle is not None and parameters.particle > len(half):
        raise UsageError(f"--particle {parameters.particle}: the file has {len(half)} particles. "
                         f"Give a row from 1 to {len(half)}.")
    if parameters.method != "average" and len(half) < LEAST_PARTICLES:
        raise InputError(f"{len(half)} particles are too few for --method {parameters.method}, "
                         f"expected at least {LEAST_PARTICLES}. Give more, or use --method "
                         "average.")
    cone_deg = _cone_deg(parameters, setup)
    sizes = setup.sizes
    span_A = sizes.box_px * sizes.voxel_A
    lowpass_A = parameters.lowpass_A or max(
        span_A / (FREE_SHELL if cone_deg is None else CONE_SHELL), 4 * sizes.voxel_A)
    check_band(lowpass_A, None, sizes)
    if span_A / lowpass_A > LARGEST_SHELL:
        raise UsageError(
            f"--lowpass-A {lowpass_A:g} is {span_A / lowpass_A:.1f} Fourier shells of the box of "
            f"{span_A:g} Å, expected at most {LARGEST_SHELL:g}: a first reference begins with the "
            f"outline. Use {span_A / LARGEST_SHELL:.4g} Å or more.")
    shift_A = SHIFT_SHARE * span_A if parameters.shift_range_A is None \
        else parameters.shift_range_A
    if shift_A > span_A / 4:
        raise UsageError(f"--shift-range-A {shift_A:g} is more than a quarter of the box "
                         f"({span_A:g} Å). Use a larger box.")
    align = round_parameters(parameters, lowpass_A, shift_A, cone_deg)
    return ReferencePlan(parameters, setup, cone_deg, lowpass_A, shift_A, align)


def round_parameters(p: ReferenceParameters, lowpass_A: float, shift_A: float,
                     cone_deg: float | None, symmetry: str = "C1") -> AlignParameters:
    """Parameters of the rounds of all particles: one global, then local ones."""
    return AlignParameters(**{
        **_shared(p), "symmetry": symmetry, "search": "global", "cone_deg": cone_deg,
        "lowpass_A": lowpass_A, "iterations": p.iterations + 2, "oracle_particles": 0,
        "angle_range_deg": ANGLE_RANGE_DEG, "angle_step_deg": ANGLE_RANGE_DEG / 3,
        "shift_range_A": shift_A, "shift_step_A": max(shift_A / 3, 1e-3), "refine_factor": 0.7})


def draw_particles(plan: ReferencePlan) -> Drawn:
    """Particles of the competition, and the frames of all particles."""
    n = len(plan.setup.half)
    rows = np.arange(n)
    if n > plan.parameters.subset:
        rng = np.random.default_rng([plan.parameters.seed, 0xD4A7])
        rows = rng.choice(n, plan.parameters.subset, replace=False)
    if plan.parameters.particle is not None:
        rows = np.append(rows, plan.parameters.particle - 1)
    particles = plan.setup.inputs.particles
    frames = (prior_orientations(particles) if plan.cone_deg is not None
              else np.tile(np.eye(3), (n, 1, 1)))
    return Drawn(np.unique(rows), frames)


def split_seen(plan: ReferencePlan, drawn: Drawn, is_seen: NDArray[np.bool_]
               ) -> tuple[Rows, Rows]:
    """(train, test): places of the particles that make maps, and of those that judge them.

    Regions apart, so that they share no pixels; at random, with a warning, where too few
    particles would be left.
    """
    seen = np.flatnonzero(is_seen)
    if len(seen) < LEAST_PARTICLES:
        raise InputError(
            f"{len(seen)} of {len(is_seen)} particles lie with their whole box on a tilt image, "
            f"expected at least {LEAST_PARTICLES}. Use a smaller box, and `sta-mpi check` to see "
            "where particles land.")
    rng = np.random.default_rng([plan.parameters.seed, 0x7E57])
    particles, share = plan.setup.inputs.particles, plan.parameters.unseen_share
    rows = drawn.rows[seen]
    train, test = unseen_regions(particles.position_A[rows], particles.i_tomo[rows], share,
                                 OVERLAP_SHARE * plan.span_A, rng)
    if len(train) >= max(LEAST_PARTICLES // 2, LEAST_MAKERS * (1 - share) * len(seen)) \
            and len(test) >= LEAST_UNSEEN:
        return seen[train], seen[test]
    warnings.warn(
        "the particles that judge the starts overlap with those that make them, so that both "
        "share noise: what supports the reference is overestimated. Give more tomograms, a smaller "
        "box, or fewer particles an area.", InputWarning)
    order = rng.permutation(seen)
    n_test = min(max(LEAST_UNSEEN, round(share * len(seen))), len(seen) - LEAST_UNSEEN)
    return np.sort(order[n_test:]), np.sort(order[:n_test])


def first_rows(plan: ReferencePlan, drawn: Drawn, train: Rows) -> Rows:
    """(K, ...) places of the particles that starts begin with."""
    p = plan.parameters
    rng = np.random.default_rng([p.seed, 0xF125])
    if p.method == "tree":
        n = min(2**p.tree_levels, 1 << (len(train).bit_length() - 1))
        return np.stack([rng.choice(train, n, replace=False) for _ in range(p.starts)])
    if p.method == "particle" and p.particle is not None:
        place = int(np.searchsorted(drawn.rows, p.particle - 1))
        return np.array([[place]])
    if p.method == "particle":
        return _best_scoring(plan, drawn, train, rng)[: p.starts, None]
    return np.zeros((p.starts, 0), np.intp)


def _best_scoring(plan: ReferencePlan, drawn: Drawn, train: Rows, rng: np.random.Generator
                  ) -> Rows:
    """Places of the candidates, the highest score first; at random without scores."""
    column = plan.setup.inputs.particles.columns.get("rlnAutopickFigureOfMerit")
    shuffled = rng.permutation(train)
    if column is None:
        return shuffled
    score = np.array([float(v) for v in column[drawn.rows[shuffled]]])
    return np.asarray(shuffled[np.argsort(-score, kind="stable")])


def _cone_deg(p: ReferenceParameters, setup: Setup) -> float | None:
    if p.cone_deg is not None:
        return p.cone_deg
    columns = setup.inputs.particles.columns
    return PRIOR_CONE_DEG if all(label in columns for label in PRIOR_LABELS) else None


def _shared(p: ReferenceParameters) -> dict[str, Any]:
    """The parameters that rounds of `align` have as well, in C1."""
    names = set(ReconstructionParameters.model_fields) | {"precision", "scratch_dir"}
    return {name: getattr(p, name) for name in names if name != "symmetry"} | {"symmetry": "C1"}
