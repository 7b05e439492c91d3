"""Sizes, rotations and weights of a search: what `match` derives from its parameters."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.rotation_list import normal_rotations
from sta_mpi.align.transfer import TransferModel, Weighting
from sta_mpi.align.volume_observe import StaticWedge, TiltWedge, Wedge
from sta_mpi.align.volume_weights import SEEN
from sta_mpi.errors import InputError
from sta_mpi.geometry.sampling import healpix_rotations, healpix_step_deg
from sta_mpi.jobs.match_input import FEWEST_VOXELS, MatchInput, MatchSource
from sta_mpi.jobs.parameters.match import MatchParameters
from sta_mpi.jobs.source_volumes import WedgeSpec, static_region
from sta_mpi.pick.match_template import REACH_PX, Template, make_template
from sta_mpi.pick.match_tiles import Tiling, plan_tiles
from sta_mpi.pick.match_volume import SAMPLING, MatchFilter, search_shape
from sta_mpi.pick.match_weights import on_grid
from sta_mpi.signal.fft import FftPlans

Real = NDArray[np.float32]
Floats = NDArray[np.float64]

LEAST_SAMPLING = 2.25
"""Voxels a low-pass cutoff that a tomogram must have."""

MASK_PER_DETAIL = 5.0
MARGIN_MOVES = 2
"""Voxels that a candidate may move and still lie in its tile."""

STEP_TOLERANCE = 1.5


@dataclass(frozen=True)
class TomogramPlan:
    """How one tomogram is searched; small, the same on every rank."""

    source: MatchSource
    rule: MatchFilter
    shape: tuple[int, int, int]
    voxel_zyx_A: Floats
    tiling: Tiling
    template: Template

    @property
    def voxel_A(self) -> float:
        """Mean voxel edge of the search."""
        return float(self.voxel_zyx_A.mean())

    def xyz_A(self, zyx: NDArray[Any]) -> Floats:
        """Positions (m, 3) from the tomogram centre of voxels (m, 3) of the search."""
        index = np.asarray(zyx, np.float64) * self.voxel_zyx_A / self.source.volume.pixel_A
        return self.source.volume.xyz_A(index[:, ::-1])

    def zyx(self, xyz_A: Floats) -> Floats:
        """Voxels of the search (m, 3) at positions: the inverse."""
        index = self.source.volume.index_xyz(xyz_A)[:, ::-1]
        return np.asarray(index * self.source.volume.pixel_A / self.voxel_zyx_A)


def lowpass_A(p: MatchParameters, inputs: MatchInput) -> float:
    """The cutoff asked for, or the default; InputError where a tomogram does not hold it."""
    coarsest = max(s.volume.pixel_A for s in inputs.sources)
    if p.lowpass_A is None:
        return max(p.mask_diameter_A / MASK_PER_DETAIL, SAMPLING * coarsest)
    if p.lowpass_A < LEAST_SAMPLING * coarsest:
        raise InputError(
            f"--lowpass-A {p.lowpass_A:g}: the tomograms have voxels of {coarsest:g} Å, expected "
            f"at least {LEAST_SAMPLING * coarsest:.3g} Å. Use a coarser low-pass or finer "
            "tomograms.")
    return p.lowpass_A


def healpix_order(p: MatchParameters, cutoff_A: float) -> int:
    """The order asked for, or the one whose step turns the rim of the mask by about a detail."""
    if p.healpix_order is not None:
        return p.healpix_order
    wanted = STEP_TOLERANCE * float(np.degrees(cutoff_A / p.mask_diameter_A))
    return min((o for o in range(5) if healpix_step_deg(o) <= wanted), default=5)


def rotations_of(p: MatchParameters, order: int) -> Floats:
    """R_p2t (m, 3, 3) of the list of an order, one asymmetric unit.

    With seeds and limited normals the list holds all normals: a mate may be the one allowed.
    """
    if p.particles is not None and p.max_tilt_deg < 180:
        return normal_rotations(order, p.symmetry)
    return healpix_rotations(order, p.symmetry)


def plan_tomogram(p: MatchParameters, inputs: MatchInput, source: MatchSource) -> TomogramPlan:
    """Sizes of the search of one tomogram and the template on its grid."""
    cutoff = lowpass_A(p, inputs)
    radius_A = 0.5 * p.mask_diameter_A
    rule = MatchFilter(
        cutoff, p.highpass_A or 2.0 * p.mask_diameter_A, p.mask_diameter_A,
        radius_A if p.edge_A is None else p.edge_A, p.bead_sigmas, p.whiten)
    if rule.highpass_A <= cutoff:
        raise InputError(f"--highpass-A {rule.highpass_A:g} has to be more than the low-pass "
                         f"({cutoff:.3g} Å).")
    size = np.array(source.volume.size_px[::-1])
    shape = search_shape((int(size[0]), int(size[1]), int(size[2])), source.volume.pixel_A, cutoff)
    if min(shape) < FEWEST_VOXELS or (2 * rule.edge_A >= size * source.volume.pixel_A).any():
        raise InputError(
            f"tomogram {source.name} is {size[2]} x {size[1]} x {size[0]} voxels of "
            f"{source.volume.pixel_A:g} Å: too thin for a template of {p.mask_diameter_A:g} Å and "
            f"edges of {rule.edge_A:g} Å. Use a smaller mask or --edge-A.")
    voxels = size * source.volume.pixel_A / np.array(shape)
    voxel_A = float(voxels.mean())
    margin = int(np.ceil(radius_A / voxel_A)) + REACH_PX + MARGIN_MOVES
    if p.tile_px is not None and p.tile_px < 2 * margin + 8:
        raise InputError(f"--tile-px {p.tile_px}: the template needs margins of {margin} voxels, "
                         f"expected at least {2 * margin + 8}. Use larger tiles, or leave the "
                         "option out.")
    # scores that wrap around a whole axis stay within the template's reach of the border
    is_border_free = rule.edge_A >= radius_A - 1e-6
    tiling = plan_tiles(shape, margin, p.tile_px, is_border_free)
    template = make_template(
        inputs.template, inputs.template_voxel_A, voxels, p.mask_diameter_A, cutoff,
        FftPlans(effort="estimate"), p.reference_b_factor_A2)
    return TomogramPlan(source, rule, shape, voxels, tiling, template)


def make_wedge(p: MatchParameters, plan: TomogramPlan) -> Wedge:
    """What the tilts of a tomogram measured."""
    kind = p.wedge
    if kind == "auto":
        kind = "binary" if p.tomogram else "tilts"
    if kind != "tilts":
        n = plan.template.box_px
        spec = WedgeSpec(kind, (p.tilt_min_deg, p.tilt_max_deg), None, 0.5)
        return StaticWedge({n: static_region(spec, n)})
    series, made = plan.source.series, plan.source.made
    flat = np.ones((series.n_tilts, 2))
    return TiltWedge(
        TransferModel(series, flat, plan.voxel_A, Weighting(p.ctf, p.dose_weighting,
                                                            p.tilt_scale)),
        TransferModel(series, flat, plan.voxel_A,
                      Weighting(False, made.is_dose_weighted, made.is_scaled)),
        made.ctf if p.ctf else "none")


def transfer_of_tile(wedge: Wedge, plan: TomogramPlan, i_tile: int) -> Real:
    """H on the box of the template (b, b, b//2+1), at the centre of a tile's core."""
    tiling = plan.tiling
    first = tiling.starts[i_tile]
    last = np.minimum(first + np.array(tiling.core), tiling.shape)
    seen = wedge.seen(plan.template.box_px, plan.xyz_A(0.5 * (first + last)[None])[0])
    return np.divide(seen.signal, seen.count, out=np.zeros_like(seen.signal),
                     where=seen.count > SEEN)


def on_tile_grid(H: Real, plan: TomogramPlan) -> Real:
    """H of a box on the finer grid of a tile."""
    return on_grid(H, plan.voxel_A, plan.tiling.tile, plan.voxel_zyx_A)
