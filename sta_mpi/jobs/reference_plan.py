"""What `reference` will do: sizes, bands, who competes, parameters of its rounds."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_set import PoseLists, Rows
from sta_mpi.align.denovo import StartSettings, default_stages
from sta_mpi.align.unseen import unseen_regions
from sta_mpi.align.voxel_band import VoxelBand, make_voxel_band
from sta_mpi.data import Particles
from sta_mpi.errors import InputError, InputWarning, UsageError
from sta_mpi.formats.relion_priors import prior_orientations
from sta_mpi.jobs.averaging import Setup, check_symmetry, make_setup
from sta_mpi.jobs.inputs import assign_halves, load_set
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.parameters.average import ReconstructionParameters
from sta_mpi.jobs.parameters.reference import ReferenceParameters
from sta_mpi.jobs.reference_starts import Drawn
from sta_mpi.jobs.search_options import LEAST_SHELLS, check_band

PRIOR_CONE_DEG = 15.0
FREE_SHELL, CONE_SHELL = 6.0, 8.0
"""Default band of the competition: the list of twists about a known normal is short."""
LONGEST_OF_MASK, LONGEST_OF_LATTICE = 0.6, 1.3
"""Longest waves of searches on surfaces, over the mask's diameter, or over the lattice spacing. The
edge of a patch, and a surface that is bent, are stronger in longer ones than the lattice itself."""
LARGEST_SHELL = 12.0
LEAST_PARTICLES, LEAST_UNSEEN = 12, 4
OVERLAP_SHARE = 0.5
"""Boxes whose centres are this share of their edge apart hardly overlap within the mask."""
LEAST_MAKERS = 0.6
"""Share of the particles that would make maps which must be left by the gap around the judges."""
SHIFT_SHARE = 1 / 16
MASK_SHARE, LATTICE_MASK_SHARE = 0.4, 0.25
"""Radius of the mask about the map, over the box: of a particle alone, and of a part of a surface,
which goes on all around it: what is far from the centre differs from particle to particle."""
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
    def mask_diameter_A(self) -> float:
        """Diameter of the soft sphere about the map."""
        share = MASK_SHARE if self.cone_deg is None else LATTICE_MASK_SHARE
        return self.parameters.mask_diameter_A or 2 * share * self.span_A

    @property
    def r_min(self) -> float:
        """Lowest frequency index of searches; coarser waves of a surface are those of its edges."""
        if self.cone_deg is None:
            return 0.0
        spacing_A = self.parameters.lattice_spacing_A
        longest_A = (LONGEST_OF_MASK * self.mask_diameter_A if spacing_A is None
                     else LONGEST_OF_LATTICE * spacing_A)
        return self.span_A / longest_A

    @property
    def rounds(self) -> int:
        """Rounds of all particles before the reference is oriented: global, then local."""
        return 1 + self.parameters.iterations

    def band(self) -> VoxelBand:
        """Voxels of the competition."""
        return make_voxel_band(self.setup.sizes.box_px, self.r_max, self.r_min)

    def settings(self, n_train: int) -> StartSettings:
        """What all starts share."""
        sizes = self.setup.sizes
        radius_px = self.mask_diameter_A / (2 * sizes.voxel_A)
        lists = PoseLists(self.cone_deg, self.shift_range_A / sizes.voxel_A)
        stages = default_stages(self.r_max, n_train, self.cone_deg is not None, self.r_min)
        return StartSettings(lists, stages, radius_px)


def make_plan(parameters: ReferenceParameters) -> ReferencePlan:
    """Read and check the input, choose sizes and bands."""
    if parameters.symmetry != "auto":
        check_symmetry(parameters.symmetry)
    inputs = load_set(parameters)
    cone_deg = _cone_deg(parameters, inputs.particles)
    half = assign_halves(inputs.particles, _mode_of_halves(parameters, inputs.particles, cone_deg),
                         parameters.seed, parameters.cluster_distance_A)
    in_c1 = AlignParameters(**_shared(parameters))
    setup = make_setup(inputs, in_c1, half)
    if parameters.particle is not None and parameters.particle > len(half):
        raise UsageError(f"--particle {parameters.particle}: the file has {len(half)} particles. "
                         f"Give a row from 1 to {len(half)}.")
    if parameters.method != "average" and len(half) < LEAST_PARTICLES:
        raise InputError(f"{len(half)} particles are too few for --method {parameters.method}, "
                         f"expected at least {LEAST_PARTICLES}. Give more, or use --method "
                         "average.")
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
    plan = ReferencePlan(parameters, setup, cone_deg, lowpass_A, shift_A, in_c1)
    if plan.r_min > plan.r_max - LEAST_SHELLS:
        raise UsageError(
            f"--mask-diameter-A {plan.mask_diameter_A:g} and --lowpass-A {lowpass_A:g} leave "
            f"{plan.r_max - plan.r_min:.1f} Fourier shells between them, expected at least "
            f"{LEAST_SHELLS}. Use a larger mask or a finer limit.")
    return replace(plan, align=round_parameters(plan))


def round_parameters(plan: ReferencePlan, symmetry: str = "C1") -> AlignParameters:
    """Parameters of the rounds of all particles: one global, then local ones."""
    p, shift_A = plan.parameters, plan.shift_range_A
    highpass_A = None if plan.r_min == 0 else plan.span_A / plan.r_min
    return AlignParameters(**{
        **_shared(p), "symmetry": symmetry, "search": "global", "cone_deg": plan.cone_deg,
        "mask_diameter_A": plan.mask_diameter_A, "highpass_A": highpass_A,
        "lowpass_A": plan.lowpass_A, "iterations": p.iterations + 3, "oracle_particles": 0,
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


def _cone_deg(p: ReferenceParameters, particles: Particles) -> float | None:
    if p.cone_deg is not None:
        return p.cone_deg
    is_known = all(label in particles.columns for label in PRIOR_LABELS)
    return PRIOR_CONE_DEG if is_known else None


def _mode_of_halves(p: ReferenceParameters, particles: Particles, cone_deg: float | None) -> str:
    """Seeds on surfaces that have no half-sets get them by clusters.

    They are denser than what they stand for, and several go to one site: random halves would share
    its pixels, and agree in its noise.
    """
    if p.halves == "keep" and cone_deg is not None and not (particles.half > 0).any():
        return "clusters"
    return p.halves


def _shared(p: ReferenceParameters) -> dict[str, Any]:
    """The parameters that rounds of `align` have as well, in C1."""
    names = set(ReconstructionParameters.model_fields) | {"precision", "scratch_dir"}
    return {name: getattr(p, name) for name in names if name != "symmetry"} | {"symmetry": "C1"}
