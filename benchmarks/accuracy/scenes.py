"""Crowded tilt series of known particles, and their metadata with errors.

Images come from `sta_mpi.simulate` (analytic blobs, scalar formulas of geometry and CTF), so
neighbours overlap every particle in projection; `SeriesObserver` cuts and weights them as in
a job. Objects: a chiral one, a C6 ring of units with one small extra domain (nearly
symmetric), and a D7 barrel whose two ends differ by a small domain on each unit of one
(pseudo-symmetric: C7, searched as C7).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.observe import Frame, SeriesObserver
from sta_mpi.align.transfer import Weighting
from sta_mpi.data import Optics, TiltSeries
from sta_mpi.geometry.projection import projection_from_angles
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.noise import noise_spectrum
from sta_mpi.simulate.builtin_phantoms import (
    chiral_phantom,
    crowder_phantom,
    cyclic_matrices,
    dihedral_matrices,
    symmetric_phantom,
)
from sta_mpi.simulate.image import Objects, render_tilt
from sta_mpi.simulate.noise import noise_image
from sta_mpi.simulate.phantom import GaussianPhantom
from sta_mpi.simulate.placement import random_orientations, random_positions
from sta_mpi.simulate.series import SeriesPlan, planned_series
from sta_mpi.simulate.tilts import SeriesGeometry

Floats = NDArray[np.float64]

PIXEL_A, BOX, GRID, CUT, IMAGE_PX = 4.0, 48, 72, 80, 400
SLAB_A = np.array([1000.0, 1000.0, 500.0])
DISTANCE_A = 135.0
"""Least distance of neighbours: particles of 120 Å nearly touch."""
START_PX = 2.0


@dataclass(frozen=True)
class Thing:
    """An object: its phantom, the rotations that leave it as it is, those that nearly do."""

    phantom: GaussianPhantom
    symmetry: str
    same: Floats
    nearly_same: Floats


def with_domain(phantom: GaussianPhantom, at_A: Floats, copies: Floats, width_A: float,
                share: float) -> GaussianPhantom:
    """A phantom with an extra domain at each copy of a point; its mass is a share of a unit's."""
    extra = np.concatenate([turn @ at_A[:, None] for turn in copies], axis=1).T
    mass = share * phantom.mass.sum()
    return GaussianPhantom(
        np.concatenate([phantom.centre_A, extra]),
        np.concatenate([phantom.sigma_A, np.full(len(extra), width_A)]),
        np.concatenate([phantom.mass, np.full(len(extra), mass / len(extra))]))


def make_thing(name: str) -> Thing:
    """The chiral, nearly-C6 or pseudo-D7 object."""
    one = np.eye(3)[None]
    if name == "chiral":
        return Thing(chiral_phantom(60.0, 3.0), "C1", one, one)
    at_A = np.array([28.0, 12.0, 46.0])
    if name == "near C6":
        turns = cyclic_matrices(6)
        ring = with_domain(symmetric_phantom(turns, 60.0, 3.0), at_A, one, 8.0, 0.04)
        return Thing(ring, "C1", one, turns)
    c7, d7 = cyclic_matrices(7), dihedral_matrices(7)
    barrel = with_domain(symmetric_phantom(d7, 60.0, 3.0), at_A, c7, 6.0, 0.06)
    return Thing(barrel, "C7", c7, d7[[0, 7]])


@dataclass(frozen=True)
class Scene:
    """One series: what is true, and its images."""

    geometry: SeriesGeometry
    R_p2t: Floats
    xyz_A: Floats
    images: list[NDArray[np.float32]]


def make_scene(thing: Thing, name: str, n_particles: int, noise_sd: float,
               rng: np.random.Generator) -> Scene:
    """A crowded slab: particles, half as many other globules, coloured noise."""
    plan = SeriesPlan(
        PIXEL_A, Optics(300.0, 2.7, 0.07), (300, 300, 150), (IMAGE_PX, IMAGE_PX),
        (-60, 60, 3.0), "dose-symmetric", 2, 85.0, 0.0, 8.0, 3.0, 30000.0, 2000.0, 200.0,
        500.0, 35.0, 0.0, -1, "cosine", 3000.0)
    geometry = planned_series(name, plan, rng)
    xyz_A = random_positions(n_particles, SLAB_A, DISTANCE_A, rng)
    others_A = random_positions(n_particles // 2, SLAB_A, 90.0, rng, xyz_A, 105.0)
    R_p2t = random_orientations(n_particles, rng)
    objects = [Objects(thing.phantom, R_p2t, xyz_A),
               Objects(crowder_phantom(40.0), random_orientations(len(others_A), rng), others_A)]
    images = []
    for tilt in range(geometry.n_tilts):
        signal = render_tilt(objects, geometry, tilt)
        images.append(np.asarray(
            signal + noise_image(signal.shape, noise_sd, rng, colour=2.0) + 100.0, np.float32))
    return Scene(geometry, R_p2t, xyz_A, images)


def spoiled(geometry: SeriesGeometry, rng: np.random.Generator, alignment_px: float = 0.0,
            defocus_A: float = 0.0) -> SeriesGeometry:
    """The geometry as a user would have it: shifts, angles and defoci with errors.

    Every tilt is off by `alignment_px` in x and y and 0.2 degrees in tilt and axis angle; its
    defocus by `defocus_A`, and that of the whole series by as much again (standard deviations).
    """
    if alignment_px:
        geometry = geometry.with_alignment_errors(rng, alignment_px * PIXEL_A, 0.2, 0.2)
    wrong_A = defocus_A * (rng.standard_normal(geometry.n_tilts) + rng.standard_normal())
    return replace(geometry, defocus_u_A=geometry.defocus_u_A + wrong_A,
                   defocus_v_A=geometry.defocus_v_A + wrong_A)


def as_tilt_series(g: SeriesGeometry) -> TiltSeries:
    """A geometry as the package reads it."""
    P = projection_from_angles(g.x_tilt_deg, g.tilt_deg, g.axis_deg, g.shift_A,
                               g.tomogram_size_px, g.pixel_A)
    return TiltSeries(
        g.name, g.pixel_A, g.optics, P, g.pre_dose_e_per_A2, g.defocus_u_A, g.defocus_v_A,
        g.astig_deg, g.phase_shift_deg, g.scale, g.b_factor_A2, g.hand, g.defocus_slope,
        g.b_factor_per_dose_A2, g.tomogram_size_px, g.image_size_px)


@dataclass(frozen=True)
class Particle:
    """Samples cut about a position that is up to START_PX off, and the true pose there.

    `wide` are the same on the grid that averages are made on.
    """

    samples: TiltSamples
    wide: TiltSamples
    R: Floats
    shift: Floats


def cut_particles(scene: Scene, spoil: Callable[[SeriesGeometry], SeriesGeometry],
                  rng: np.random.Generator, plans: FftPlans) -> list[Particle]:
    """All particles of a scene, cut with the metadata that `spoil` makes."""
    series = as_tilt_series(spoil(scene.geometry))
    mean = np.array([i.mean(dtype=float) for i in scene.images])
    sd = np.array([i.std(dtype=float) for i in scene.images])
    noise = np.stack([noise_spectrum(((i - m) / s).astype(np.float32), 96)
                      for i, m, s in zip(scene.images, mean, sd, strict=True)])
    observer = SeriesObserver(series, mean, sd, noise, Frame(BOX, CUT, 1, PIXEL_A), Weighting(),
                              plans)
    found = []
    for R, xyz in zip(scene.R_p2t, scene.xyz_A, strict=True):
        off_px = rng.uniform(-START_PX, START_PX, 3)
        at_A = xyz + PIXEL_A * off_px
        tilts = observer.visible_tilts(at_A)
        seen = observer.observe(scene.images, at_A, tilts, series.name)
        found.append(Particle(seen.samples(BOX), seen.samples(GRID), R, -off_px))
    return found
