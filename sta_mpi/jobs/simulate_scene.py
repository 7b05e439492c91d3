"""From the parameters of `simulate` to what is to be imaged: particles, neighbours, geometry.

Every random choice comes from a stream named after the seed, the series and its purpose, so
every rank builds the same scene.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Optics, Particles
from sta_mpi.errors import InputError, UsageError
from sta_mpi.jobs.parameters.simulate import SimulateParameters
from sta_mpi.jobs.simulate_like import load_project
from sta_mpi.jobs.simulate_particle import make_phantom, truth_box_px
from sta_mpi.simulate.builtin_phantoms import crowder_phantom, gold_bead
from sta_mpi.simulate.image import Objects, signal_power
from sta_mpi.simulate.motion import particle_motion
from sta_mpi.simulate.noise import stream
from sta_mpi.simulate.phantom import Phantom
from sta_mpi.simulate.placement import (
    random_orientations,
    random_positions,
    sphere_lattice,
)
from sta_mpi.simulate.series import (
    SeriesPlan,
    binned_series,
    crop_about,
    nearest_particles,
    perturbed_poses,
    planned_series,
)
from sta_mpi.simulate.tilts import SeriesGeometry

Floats = NDArray[np.float64]

SNR_ORIENTATIONS = 12
"""Random orientations over which a particle's signal power is averaged."""
DEFAULT_PARTICLES = 40


@dataclass
class SeriesScene:
    """One tilt series and all that is in it.

    Parameters
    ----------
    written : SeriesGeometry          what the project will say
    true : SeriesGeometry             what the microscope did
    targets : Objects                 the particles of the list, at their true poses
    others : list of Objects          neighbours and beads
    half : (n,) int8
    surface : (n,) int32              sphere of each particle, 0 where there is none
    written_R_p2t, written_xyz_A      poses of the particle file
    noise_sd : (t,) float64           white noise per pixel of each tilt
    """

    written: SeriesGeometry
    true: SeriesGeometry
    targets: Objects
    others: list[Objects]
    half: NDArray[np.int8]
    surface: NDArray[np.int32]
    written_R_p2t: Floats
    written_xyz_A: Floats
    noise_sd: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def name(self) -> str:
        """Name of the series."""
        return self.written.name

    @property
    def objects(self) -> list[Objects]:
        """All that is imaged."""
        return [self.targets, *self.others]


@dataclass(frozen=True)
class Placed:
    """Particles before they are imaged: geometry, poses, half-sets, surfaces."""

    geometry: SeriesGeometry
    R_p2t: Floats
    xyz_A: Floats
    half: NDArray[np.int8]
    surface: NDArray[np.int32]


@dataclass(frozen=True)
class Scene:
    """All series of a simulation."""

    phantom: Phantom
    truth_box_px: int
    series: list[SeriesScene]


def build_scene(parameters: SimulateParameters) -> Scene:
    """Make everything that is to be imaged."""
    placed = place_particles(parameters)
    pixel_A = placed[0].geometry.pixel_A
    phantom = make_phantom(parameters, pixel_A)
    placed = [_with_random_poses(p, phantom, parameters) for p in placed]
    if parameters.crop:
        placed = [_cropped(p, phantom) for p in placed]
    series = [_complete(p, phantom, parameters) for p in placed]
    return Scene(phantom, truth_box_px(parameters, phantom, pixel_A), series)


def place_particles(parameters: SimulateParameters) -> list[Placed]:
    """Geometry and poses, of a real project or planned; random poses are still missing."""
    if parameters.is_twin:
        return _placed_like(parameters)
    plan = _plan(parameters)
    digits = max(2, len(str(parameters.n_series)))
    placed = []
    for i in range(parameters.n_series):
        name = f"TS_{i + 1:0{digits}d}"
        geometry = planned_series(name, plan, stream(parameters.seed, name, "geometry"))
        empty = np.zeros(0, np.int8)
        placed.append(Placed(geometry, np.zeros((0, 3, 3)), np.zeros((0, 3)), empty,
                             empty.astype(np.int32)))
    return placed


def _plan(p: SimulateParameters) -> SeriesPlan:
    width, height = p.image_width_px, p.image_height_px
    depth = 2 * int(np.ceil(p.thickness_A / p.pixel_A / 2))
    return SeriesPlan(
        p.pixel_A, Optics(p.voltage_kV, p.cs_mm, p.amp_contrast),
        (width + width % 2, height + height % 2, depth), (width, height),
        (p.tilt_min_deg, p.tilt_max_deg, p.tilt_step_deg),
        p.tilt_scheme, p.tilt_group, p.tilt_axis_deg, p.x_tilt_deg, p.tilt_shift_A,
        p.dose_per_tilt_e_per_A2, p.defocus_A, p.defocus_spread_A, p.defocus_tilt_spread_A,
        p.astigmatism_A, p.astig_deg, p.phase_shift_deg, p.hand, p.tilt_scale,
        p.ice_mean_free_path_A)


def _placed_like(parameters: SimulateParameters) -> list[Placed]:
    """Poses and geometry of a real project, binned, with the particles chosen."""
    geometries, particles = load_project(parameters)
    placed = []
    for geometry in geometries:
        rows = np.flatnonzero(_names(particles) == geometry.name)
        if parameters.n_particles is not None and len(rows):
            rng = stream(parameters.seed, geometry.name, "choice")
            rows = rows[nearest_particles(particles.position_A[rows], parameters.n_particles, rng)]
        if len(rows) == 0:
            raise InputError(f"tilt series {geometry.name} has no particles in the project. "
                             "Choose others with --series.")
        surface = particles.columns.get("rlnTomoManifoldIndex", np.zeros(len(particles)))
        placed.append(Placed(
            binned_series(geometry, parameters.binning), particles.R_p2t[rows],
            particles.position_A[rows], particles.half[rows],
            np.asarray(surface)[rows].astype(float).astype(np.int32)))
    return placed


def _names(particles: Particles) -> NDArray:
    return np.array(particles.tomo_names, object)[particles.i_tomo]


def _with_random_poses(placed: Placed, phantom: Phantom, parameters: SimulateParameters) -> Placed:
    """Add positions and orientations to a planned series; a real one has them."""
    if len(placed.xyz_A):
        return placed
    geometry = placed.geometry
    rng = stream(parameters.seed, geometry.name, "poses")
    if parameters.placement == "spheres":
        R, xyz_A, surface = _on_spheres(geometry, phantom, parameters, rng)
    else:
        n = parameters.n_particles or DEFAULT_PARTICLES
        distance_A = parameters.min_distance_A
        distance_A = 2 * phantom.radius_A if distance_A is None else distance_A
        room = room_A(geometry, phantom.radius_A, 2.0 * phantom.radius_A)
        xyz_A = random_positions(n, room, distance_A, rng)
        R, surface = random_orientations(n, rng), np.zeros(n, np.int32)
    return replace(placed, R_p2t=R, xyz_A=xyz_A, surface=surface,
                   half=np.zeros(len(xyz_A), np.int8))


def _on_spheres(geometry: SeriesGeometry, phantom: Phantom, parameters: SimulateParameters,
                rng: np.random.Generator) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Poses on lattices of randomly placed and turned spheres, and the sphere of each."""
    reach_A = parameters.sphere_radius_A + phantom.radius_A
    room = np.maximum(room_A(geometry, reach_A), 1.0)
    centres = random_positions(parameters.n_spheres, room, 2 * reach_A, rng)
    lattice_A, frames = sphere_lattice(parameters.sphere_radius_A, parameters.lattice_spacing_A)
    R, xyz_A, surface = [], [], []
    for i, (centre, turn) in enumerate(
            zip(centres, random_orientations(len(centres), rng), strict=True)):
        chosen = np.arange(len(lattice_A))
        if parameters.n_particles is not None:
            share = int(np.ceil(parameters.n_particles / parameters.n_spheres))
            chosen = nearest_particles(lattice_A, share, rng)
        R.append(turn @ frames[chosen])
        xyz_A.append(centre + lattice_A[chosen] @ turn.T)
        surface.append(np.full(len(chosen), i + 1, np.int32))
    return np.concatenate(R), np.concatenate(xyz_A), np.concatenate(surface)


def room_A(geometry: SeriesGeometry, radius_A: float, margin_A: float | None = None) -> Floats:
    """Edges of the box in which objects of a radius stay inside slab and untilted image.

    `margin_A` is kept from the image's edges instead of the radius, so that boxes fit.
    """
    margin_A = radius_A if margin_A is None else margin_A
    across = min(geometry.image_size_px) * geometry.pixel_A
    shift_A = float(np.abs(geometry.shift_A).max(initial=0.0))
    depth = geometry.tomogram_size_px[2] * geometry.pixel_A
    edges = np.array([across - 2 * shift_A - 2 * margin_A] * 2 + [depth - 2 * radius_A])
    if edges.min() <= 0:
        raise UsageError(
            f"objects of radius {radius_A:.0f} Å do not fit: images are {across:.0f} Å wide with "
            f"shifts up to {shift_A:.0f} Å, the tomogram {depth:.0f} Å thick. Enlarge "
            "--image-width-px, --image-height-px or --thickness-A.")
    return edges


def _cropped(placed: Placed, phantom: Phantom) -> Placed:
    geometry, centre_A = crop_about(placed.geometry, placed.xyz_A, 2.0 * phantom.radius_A)
    return replace(placed, geometry=geometry, xyz_A=placed.xyz_A - centre_A)


def _complete(placed: Placed, phantom: Phantom, p: SimulateParameters) -> SeriesScene:
    """Add what is unknown to the project: errors, motion, neighbours, noise, perturbation."""
    written, name = placed.geometry, placed.geometry.name
    true = written.with_alignment_errors(
        stream(p.seed, name, "alignment"), p.alignment_shift_error_A, p.alignment_tilt_error_deg,
        p.alignment_axis_error_deg)
    motion_A = None
    if p.motion_A > 0:
        motion_A = particle_motion(placed.xyz_A, true.pre_dose_e_per_A2, p.motion_A,
                                   p.motion_correlation_A, stream(p.seed, name, "motion"))
    targets = Objects(phantom, placed.R_p2t, placed.xyz_A, motion_A)
    R, xyz_A = perturbed_poses(placed.R_p2t, placed.xyz_A, p.perturb_angle_deg,
                               p.perturb_shift_A, stream(p.seed, name, "perturbation"))
    if p.perturb_angle_deg == 0:
        R = placed.R_p2t
    scene = SeriesScene(written, true, targets, _others(targets, true, p),
                        _halves(placed.half, p.seed, name), placed.surface, R, xyz_A)
    scene.noise_sd = _noise_sd(scene, p)
    return scene


def _others(targets: Objects, geometry: SeriesGeometry, p: SimulateParameters) -> list[Objects]:
    """Crowding neighbours and gold beads that keep clear of the particles."""
    rng = stream(p.seed, geometry.name, "others")
    taken_A, taken_radius_A = targets.xyz_A, targets.phantom.radius_A
    groups = []
    for n, phantom in ((p.n_crowders, crowder_phantom(p.crowder_radius_A)),
                       (p.n_gold, gold_bead(p.gold_diameter_A))):
        if n == 0:
            continue
        xyz_A = random_positions(n, room_A(geometry, phantom.radius_A), 2 * phantom.radius_A, rng,
                                 taken_A, taken_radius_A + phantom.radius_A)
        groups.append(Objects(phantom, random_orientations(n, rng), xyz_A))
        taken_A = np.concatenate([taken_A, xyz_A])
        taken_radius_A = max(taken_radius_A, phantom.radius_A)
    return groups


def _halves(half: NDArray[np.int8], seed: int, name: str) -> NDArray[np.int8]:
    """The half-sets there are, or balanced random ones."""
    if len(half) and (half > 0).all():
        return half
    assigned = (np.arange(len(half)) % 2 + 1).astype(np.int8)
    stream(seed, name, "halves").shuffle(assigned)
    return assigned


def _noise_sd(scene: SeriesScene, p: SimulateParameters) -> Floats:
    """White noise of each tilt: asked for, or from the signal-to-noise ratio."""
    n_tilts = scene.true.n_tilts
    spread = np.exp(p.noise_tilt_spread
                    * stream(p.seed, scene.name, "noise level").standard_normal(n_tilts))
    if p.noise_sd is not None:
        return p.noise_sd * spread
    turns = random_orientations(SNR_ORIENTATIONS, stream(p.seed, "signal power"))
    power = signal_power(scene.targets.phantom, scene.true, turns, p.mtf_at_nyquist)
    return np.sqrt(power / p.snr) * spread
