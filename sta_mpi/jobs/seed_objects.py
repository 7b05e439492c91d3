"""From marked shapes and masks to seeds with orientations, tomogram by tomogram."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.reconstructed_tomograms import binned_size_px
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.jobs.parameters.seed import SeedParameters
from sta_mpi.jobs.seed_input import MarkedObject, tomogram_of_file
from sta_mpi.pick.level_sets import BLUR_VOXELS, seed_mask
from sta_mpi.pick.seed_poses import seed_orientations, twisted
from sta_mpi.pick.surfaces import Ellipsoid, Seeds, fit_ellipsoid, fit_sphere, seed_ellipsoid
from sta_mpi.pick.tubes import sample_curve, seed_axis, seed_helix, seed_stalk, seed_tube

Floats = NDArray[np.float64]

MOST_SEEDS = 20_000_000
"""Seeds on one object that fit into memory."""


@dataclass(frozen=True)
class SeededObject:
    """Seeds of one object, after those outside the tomogram were left out."""

    tomo_name: str
    what: str
    shape: str
    seeds: Seeds
    R_p2t: Floats
    n_outside: int


def seed_stream(p: SeedParameters, number: int) -> np.random.Generator:
    """Random numbers of one object, or of one purpose."""
    return np.random.default_rng([p.seed, 0x5EED, number])


def _lattice(p: SeedParameters) -> tuple[float, float]:
    """Lattice constant [Å] and seeds per unit of it."""
    if p.spacing_A is not None:
        return p.spacing_A, 1.0
    return float(p.lattice_A or 0.0), p.density


def seed_mark(p: SeedParameters, mark: MarkedObject, number: int) -> SeededObject:
    """Seeds and orientations of one marked object."""
    rng = seed_stream(p, number)
    if p.shape == "stalk":
        seeds = seed_stalk(mark.points_A, p.stalk_at, p.stalk_first == "head", mark.what)
        return _oriented(p, mark, "stalk", seeds, rng)
    if p.shape == "tube":
        return _seed_curve(p, mark, rng)
    shape = _closed_shape(p, mark)
    text = f"sphere of {shape.half_axes_A[0]:.0f} Å" if shape.is_sphere else \
        "ellipsoid of {:.0f}, {:.0f}, {:.0f} Å".format(*shape.half_axes_A)
    return _oriented(p, mark, text, _seed_closed(shape, *_lattice(p), rng), rng)


def _seed_closed(shape: Ellipsoid, lattice_A: float, density: float,
                 rng: np.random.Generator) -> Seeds:
    """Seeds of a closed shape; refused where they would not fit into memory."""
    expected = density * shape.area_A2() / (0.5 * np.sqrt(3.0) * lattice_A**2)
    if expected > MOST_SEEDS:
        raise UsageError(f"{expected:.2g} seeds on one object, expected at most {MOST_SEEDS}. "
                         "Check --lattice-A, --spacing-A and the radii.")
    return seed_ellipsoid(shape, lattice_A, density, rng)


def _closed_shape(p: SeedParameters, mark: MarkedObject) -> Ellipsoid:
    if p.fit:
        fit = fit_sphere if p.shape == "sphere" else fit_ellipsoid
        return fit(mark.points_A, mark.what)
    if p.shape == "ellipsoid":
        if mark.half_axes_A is None or not (mark.half_axes_A > 0).all():
            raise InputError(f"{mark.what}: no half axes (columns half_axis_1_A to half_axis_3_A "
                             "of a CSV file). Add them, or mark surface points and pass --fit.")
        return Ellipsoid(mark.points_A[0], mark.half_axes_A, mark.R)
    radius_A = mark.radius_A if mark.radius_A is not None else p.radius_A
    if radius_A is None:
        raise InputError(f"{mark.what}: no radius. Give sizes in the file (SIZE of a model, "
                         "rlnSphereRadius, column radius) or --radius-A.")
    return Ellipsoid.sphere(mark.points_A[0], radius_A)


def _seed_curve(p: SeedParameters, mark: MarkedObject, rng: np.random.Generator) -> SeededObject:
    on_surface = p.tube_points == "surface"
    if on_surface and p.radius_A is None:
        raise UsageError("--tube-points surface needs --radius-A.")
    if p.rise_A is not None:
        curve = sample_curve(mark.points_A, p.rise_A, mark.what)
        if on_surface:
            seeds = seed_helix(curve, float(p.radius_A or 0), p.twist_per_rise_deg, p.phase_deg)
            return _oriented(p, mark, f"helix of {curve.length_A:.0f} Å", seeds, rng)
        turn: Floats = p.phase_deg + p.twist_per_rise_deg * np.arange(
            len(curve.xyz_A), dtype=np.float64)
        return SeededObject(mark.tomo_name, mark.what, f"filament of {curve.length_A:.0f} Å",
                            seed_axis(curve), twisted(curve.frames, turn), 0)
    lattice_A, density = _lattice(p)
    constant_A = lattice_A / np.sqrt(density)
    if on_surface:
        curve = sample_curve(mark.points_A, 0.5 * np.sqrt(3.0) * constant_A, mark.what)
        seeds = seed_tube(curve, float(p.radius_A or 0), constant_A, p.phase_deg)
        return _oriented(p, mark, f"tube of {curve.length_A:.0f} Å", seeds, rng)
    curve = sample_curve(mark.points_A, lattice_A / density, mark.what)
    one = _oriented(p, mark, f"filament of {curve.length_A:.0f} Å", seed_axis(curve), rng)
    if p.twist == "zero":
        one = replace(one, R_p2t=twisted(
            curve.frames, np.full(len(curve.xyz_A), p.phase_deg, np.float64)))
    return one


def _oriented(p: SeedParameters, mark: MarkedObject, shape: str, seeds: Seeds,
              rng: np.random.Generator) -> SeededObject:
    return SeededObject(mark.tomo_name, mark.what, shape, seeds,
                        seed_orientations(seeds.normal, p.twist, rng), 0)


def seed_masks(p: SeedParameters, tomograms: TomogramSet) -> list[SeededObject]:
    """Seeds on the surface of each mask."""
    objects = []
    for number, path in enumerate(p.mask):
        name = tomogram_of_file(path, tomograms)
        mask = read_mrc(path, permissive=True)
        data = mask.data if p.label is None else (mask.data == p.label)
        ts, rng = tomograms.tilt_series(name), seed_stream(p, number)
        size_px = tomograms.size_px(name)
        binning = mask.voxel_A / ts.pixel_A
        expected = binned_size_px(size_px, binning)
        found = data.shape[::-1]
        if max(abs(a - b) for a, b in zip(expected, found, strict=True)) > 1:
            raise InputError(
                f"{path}: {found[0]} x {found[1]} x {found[2]} voxels of {mask.voxel_A:.4g} Å, "
                f"tomogram {name} has {expected[0]} x {expected[1]} x {expected[2]} of that size. "
                "Give a mask of the whole tomogram.")
        blur = BLUR_VOXELS if p.blur_A is None else p.blur_A / mask.voxel_A
        seeds, index = seed_mask(data, mask.voxel_A, *_lattice(p), rng, blur, str(path))
        centred = index * mask.voxel_A - 0.5 * np.array(size_px) * ts.pixel_A
        mark = MarkedObject(name, path.name, centred)
        objects.append(_oriented(p, mark, "surface", replace(seeds, xyz_A=centred), rng))
    return objects


def within_tomogram(p: SeedParameters, one: SeededObject, tomograms: TomogramSet) -> SeededObject:
    """The object moved outward and without the seeds beyond the faces of its tomogram."""
    xyz_A = one.seeds.xyz_A + p.offset_A * one.seeds.normal
    pixel_A = tomograms.tilt_series(one.tomo_name).pixel_A
    reach_A = 0.5 * np.array(tomograms.size_px(one.tomo_name)) * pixel_A - p.edge_A
    keep = (np.abs(xyz_A) <= reach_A).all(axis=1)
    seeds = replace(one.seeds, xyz_A=xyz_A[keep], normal=one.seeds.normal[keep])
    return replace(one, seeds=seeds, R_p2t=one.R_p2t[keep], n_outside=int((~keep).sum()))
