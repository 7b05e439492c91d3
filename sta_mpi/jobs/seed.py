"""`seed`: points with outward normals on marked shapes, as RELION 5 particles with priors."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.reconstructed_tomograms import binned_size_px
from sta_mpi.formats.relion_particle_table import RelionParticles, new_names
from sta_mpi.formats.relion_priors import BOX_OF_PRIORS, PRIOR_COLUMNS
from sta_mpi.formats.relion_sets import OptimisationSet, read_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.formats.star_table import text_column
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.foreign_tomograms import ForeignTomogram, foreign_tomogram_set
from sta_mpi.jobs.parameters.seed import SeedParameters
from sta_mpi.jobs.seed_input import MarkedObject, read_objects, tomogram_of_file
from sta_mpi.jobs.seed_report import seed_sections
from sta_mpi.jobs.set_output import write_particle_set
from sta_mpi.pick.level_sets import BLUR_VOXELS, seed_mask
from sta_mpi.pick.seed_poses import seed_orientations, twisted
from sta_mpi.pick.surfaces import Ellipsoid, Seeds, fit_ellipsoid, fit_sphere, seed_ellipsoid
from sta_mpi.pick.tubes import sample_curve, seed_axis, seed_helix, seed_stalk, seed_tube

Floats = NDArray[np.float64]

MOST_SEEDS = 20_000_000


@dataclass(frozen=True)
class SeededObject:
    """Seeds of one object, after those outside the tomogram were left out."""

    tomo_name: str
    what: str
    shape: str
    seeds: Seeds
    R_p2t: Floats
    n_outside: int


def input_files(parameters: SeedParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = [*parameters.points, *parameters.mask]
    missing = [path for path in (*files, *parameters.tomogram) if not path.is_file()]
    if missing:
        raise InputError(f"no file {missing[0]}. Correct the path.")
    if not parameters.tomogram:
        path = _tomogram_table(parameters)
        files += [path, *read_tomograms(path).table_files()]
    return files


def run(parameters: SeedParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Seed all objects; write particles and set."""
    if not runtime.is_root:
        return JobOutcome()
    tomograms = _tomograms(parameters)
    objects = _seed_masks(parameters, tomograms) if parameters.mask else \
        [_seed_object(parameters, mark, k) for k, mark in
         enumerate(read_objects(parameters, tomograms))]
    objects = [_within(parameters, one, tomograms) for one in objects]
    particles = make_particles(parameters, objects, tomograms)
    if not len(particles):
        raise InputError("all seeds lie outside their tomograms: the coordinates are probably in "
                         "other units. Pass --coordinate-pixel-A.")
    outputs = write_particle_set(folder, particles, tomograms, _members(parameters))
    if parameters.tomogram:
        (folder.path / outputs.pop("optimisation_set")).unlink()
    n_outside = sum(one.n_outside for one in objects)
    results = {"objects": len(objects), "seeds": len(particles),
               "tomograms": len({one.tomo_name for one in objects}), "left_out": n_outside}
    warnings = [f"{n_outside} seeds lie outside their tomograms or at an edge and are left out."] \
        if n_outside else []
    return JobOutcome(results, outputs, seed_sections(parameters, objects, tomograms, particles),
                      warnings)


def _tomogram_table(p: SeedParameters) -> Path:
    path = p.tomograms
    if path is None and p.optimisation_set is not None:
        path = read_optimisation_set(p.optimisation_set).require("tomograms")[0]
    if path is None or not path.is_file():
        raise InputError(f"no file {path}. Give --tomograms, the tomogram STAR file.")
    return path


def _tomograms(p: SeedParameters) -> TomogramSet:
    if not p.tomogram:
        return read_tomograms(_tomogram_table(p))
    return foreign_tomogram_set([
        ForeignTomogram(path, path.name.removesuffix(".gz").rsplit(".", 1)[0])
        for path in p.tomogram])


def _members(p: SeedParameters) -> OptimisationSet:
    """The given set without what belongs to other particles."""
    given = OptimisationSet() if p.optimisation_set is None else \
        read_optimisation_set(p.optimisation_set)
    return replace(given, tomograms=None if p.tomogram else _tomogram_table(p), manifolds=None)


def _lattice(p: SeedParameters) -> tuple[float, float]:
    """Lattice constant [Å] and seeds per unit of it."""
    if p.spacing_A is not None:
        return p.spacing_A, 1.0
    return float(p.lattice_A or 0.0), p.density


def _rng(p: SeedParameters, number: int) -> np.random.Generator:
    return np.random.default_rng([p.seed, 0x5EED, number])


def _seed_object(p: SeedParameters, mark: MarkedObject, number: int) -> SeededObject:
    """Seeds and orientations of one marked object."""
    rng = _rng(p, number)
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


def _seed_masks(p: SeedParameters, tomograms: TomogramSet) -> list[SeededObject]:
    """Seeds on the surface of each mask."""
    objects = []
    for number, path in enumerate(p.mask):
        name = tomogram_of_file(path, tomograms)
        mask = read_mrc(path, permissive=True)
        data = mask.data if p.label is None else (mask.data == p.label)
        ts, rng = tomograms.tilt_series(name), _rng(p, number)
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


def _within(p: SeedParameters, one: SeededObject, tomograms: TomogramSet) -> SeededObject:
    """The object moved outward and without the seeds beyond the faces of its tomogram."""
    xyz_A = one.seeds.xyz_A + p.offset_A * one.seeds.normal
    pixel_A = tomograms.tilt_series(one.tomo_name).pixel_A
    reach_A = 0.5 * np.array(tomograms.size_px(one.tomo_name)) * pixel_A - p.edge_A
    keep = (np.abs(xyz_A) <= reach_A).all(axis=1)
    seeds = replace(one.seeds, xyz_A=xyz_A[keep], normal=one.seeds.normal[keep])
    return replace(one, seeds=seeds, R_p2t=one.R_p2t[keep], n_outside=int((~keep).sum()))


def make_particles(p: SeedParameters, objects: list[SeededObject], tomograms: TomogramSet
                   ) -> RelionParticles:
    """The seeds as particles; object numbers from 1 in rlnTomoManifoldIndex, or
    rlnHelicalTubeID for tubes and stalks."""
    counts = [len(one.seeds.xyz_A) for one in objects]
    n = sum(counts)
    number = np.repeat(np.arange(len(objects)), counts)
    i_tomo = np.array([tomograms.names.index(objects[k].tomo_name) for k in number], np.int32)
    R_p2t = np.concatenate([np.zeros((0, 3, 3)), *(one.R_p2t for one in objects)])
    is_line = p.shape in ("tube", "stalk") and not p.mask
    columns = {"rlnTomoName": text_column(tomograms.names)[i_tomo]}
    columns |= {label: text_column([text] * n) for label, text in PRIOR_COLUMNS.items()}
    columns["rlnHelicalTubeID" if is_line else "rlnTomoManifoldIndex"] = number + 1
    return RelionParticles(
        tomo_names=list(tomograms.names), i_tomo=i_tomo,
        names=new_names(list(tomograms.names), i_tomo),
        xyz_A=np.concatenate([np.zeros((0, 3)), *(one.seeds.xyz_A for one in objects)]),
        offset_A=np.zeros((n, 3)), R_p2t=R_p2t, R_box2t=R_p2t @ BOX_OF_PRIORS.T,
        half=_halves(p, number), optics_group=np.ones(n, np.int32), columns=columns)


def _halves(p: SeedParameters, number: NDArray[np.intp]) -> NDArray[np.int8]:
    """Half-set of every seed: 0, random of equal size, or that of its object."""
    n = len(number)
    if p.halves == "none" or not n:
        return np.zeros(n, np.int8)
    rng = _rng(p, 1 << 31)
    if p.halves == "random":
        half = (np.arange(n) % 2 + 1).astype(np.int8)
        rng.shuffle(half)
        return half
    counts = np.bincount(number)
    of_object, sums = np.zeros(len(counts), np.int8), [0, 0]
    # large objects first, each to the smaller half; equal ones in random order
    for k in sorted(rng.permutation(len(counts)), key=lambda k: -counts[k]):
        side = int(sums[1] < sums[0])
        of_object[k] = side + 1
        sums[side] += int(counts[k])
    return of_object[number]
