"""Files of `simulate`: a RELION 5 project, the truth, and the truth map.

    tomograms.star, tilt_series/<name>.star   geometry as known to the project
    tilt_images/<name>.mrcs                   one stack a series, rows in table order
    frames/<name>_<tilt>.mrcs                 movies, where asked for
    particles.star, optimisation_set.star     poses (perturbed where asked for)
    particles_truth.star                      true poses, where they differ
    mtf.star                                  detector MTF, where it is not 1
    motion_truth.star                         particle motion, where there is any; not in the set
    truth.h5                                  everything that was drawn
    truth.mrc, truth_mask.mrc                 the particle at the pixel of the images

Paths inside are relative to the output folder, which is the RELION project folder.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from sta_mpi.data import Particles
from sta_mpi.formats.containers import write_h5
from sta_mpi.formats.mrc_sections import SectionWriter
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_motion import write_motion
from sta_mpi.formats.relion_particles_write import write_particles
from sta_mpi.formats.relion_sets import OptimisationSet, write_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_table import StarTable
from sta_mpi.jobs.parameters.simulate import SimulateParameters
from sta_mpi.jobs.simulate_scene import Scene, SeriesScene
from sta_mpi.simulate.phantom import Phantom
from sta_mpi.simulate.tilts import Floats, SeriesGeometry
from sta_mpi.simulate.wave import detector_mtf

MTF_NAME = "mtf.star"
MASK_LEVEL = 0.05
"""Density relative to the highest that belongs to the particle, for the truth mask."""
MASK_EXTEND_A, MASK_EDGE_A = 6.0, 15.0


def stack_name(name: str) -> str:
    """Tilt images of a series, relative to the output folder."""
    return f"tilt_images/{name}.mrcs"


def frames_name(name: str, i_tilt: int) -> str:
    """Movie of a tilt, relative to the output folder."""
    return f"frames/{name}_{i_tilt + 1:03d}.mrcs"


def stack_writer(folder: Path, geometry: SeriesGeometry, image_type: str) -> SectionWriter:
    """Writer of the tilt images of a series."""
    width, height = geometry.image_size_px
    return SectionWriter(folder / stack_name(geometry.name), (geometry.n_tilts, height, width),
                         geometry.pixel_A, 12 if image_type == "float16" else 2)


def write_project(folder: Path, scene: Scene, parameters: SimulateParameters) -> dict[str, str]:
    """Write STAR files; the names of what was written."""
    if parameters.mtf_at_nyquist < 1:
        write_star(folder / MTF_NAME, [_mtf_table(parameters.mtf_at_nyquist)])
    tomograms = TomogramSet(_tomogram_table(scene, parameters), {
        s.name: _tilt_table(s.written, parameters.n_frames) for s in scene.series})
    tomograms.write(folder / "tomograms.star", folder)
    tomograms = read_tomograms(folder / "tomograms.star", folder)
    write_particles(folder / "particles.star", _particles(scene, False), tomograms)
    outputs = {"tomograms": "tomograms.star", "particles": "particles.star",
               "optimisation_set": "optimisation_set.star"}
    if parameters.perturb_angle_deg > 0 or parameters.perturb_shift_A > 0:
        write_particles(folder / "particles_truth.star", _particles(scene, True), tomograms)
        outputs["particles_truth"] = "particles_truth.star"
    if parameters.motion_A > 0:
        write_motion(folder / "motion_truth.star", _motion(scene), _particles(scene, True),
                     tomograms)
        outputs["motion_truth"] = "motion_truth.star"
    write_optimisation_set(folder / "optimisation_set.star", OptimisationSet(
        particles=folder / "particles.star", tomograms=folder / "tomograms.star"), folder)
    return outputs


def _mtf_table(at_nyquist: float) -> StarTable:
    """The detector's MTF as RELION tabulates it, up to Nyquist of the images."""
    s_per_px = np.linspace(0.0, 0.5, 51)
    return StarTable("", {"rlnResolutionInversePixel": s_per_px,
                          "rlnMtfValue": detector_mtf(s_per_px, at_nyquist)})


def _tomogram_table(scene: Scene, parameters: SimulateParameters) -> StarTable:
    """The table `global`."""
    written = [s.written for s in scene.series]
    columns: dict[str, Any] = {
        "rlnTomoName": [g.name for g in written],
        "rlnTomoTiltSeriesStarFile": [f"tilt_series/{g.name}.star" for g in written],
        "rlnVoltage": [g.optics.voltage_kV for g in written],
        "rlnSphericalAberration": [g.optics.cs_mm for g in written],
        "rlnAmplitudeContrast": [g.optics.amp_contrast for g in written],
        "rlnMicrographOriginalPixelSize": [g.pixel_A for g in written],
        "rlnTomoTiltSeriesPixelSize": [g.pixel_A for g in written],
        "rlnTomoHand": [float(g.hand) for g in written],
        "rlnOpticsGroupName": [g.optics.name for g in written],
    }
    for axis, label in enumerate(("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")):
        columns[label] = [int(g.tomogram_size_px[axis]) for g in written]
    if any(g.defocus_slope != 1 for g in written):
        columns["rlnTomoDefocusSlope"] = [g.defocus_slope for g in written]
    if any(g.b_factor_per_dose_A2 > 0 for g in written):
        columns["rlnCtfBfactorPerElectronDose"] = [g.b_factor_per_dose_A2 for g in written]
    if parameters.mtf_at_nyquist < 1:
        columns["rlnMtfFileName"] = [MTF_NAME] * len(written)
    return StarTable("global", columns)


def _tilt_table(geometry: SeriesGeometry, n_frames: int) -> StarTable:
    """The table of tilts of a series."""
    rows = range(geometry.n_tilts)
    columns: dict[str, Any] = {}
    if n_frames:
        columns["rlnMicrographMovieName"] = [frames_name(geometry.name, i) for i in rows]
        columns["rlnTomoTiltMovieFrameCount"] = np.full(geometry.n_tilts, n_frames)
    columns |= {
        "rlnMicrographName": [f"{i + 1}@{stack_name(geometry.name)}" for i in rows],
        "rlnMicrographPreExposure": geometry.pre_dose_e_per_A2,
        "rlnTomoNominalStageTiltAngle": geometry.tilt_deg,
        "rlnTomoNominalTiltAxisAngle": geometry.axis_deg,
        "rlnTomoXTilt": geometry.x_tilt_deg,
        "rlnTomoYTilt": geometry.tilt_deg,
        "rlnTomoZRot": geometry.axis_deg,
        "rlnTomoXShiftAngst": geometry.shift_A[:, 0],
        "rlnTomoYShiftAngst": geometry.shift_A[:, 1],
        "rlnDefocusU": geometry.defocus_u_A,
        "rlnDefocusV": geometry.defocus_v_A,
        "rlnDefocusAngle": geometry.astig_deg,
        "rlnCtfScalefactor": geometry.scale,
    }
    if geometry.phase_shift_deg.any():
        columns["rlnPhaseShift"] = geometry.phase_shift_deg
    if geometry.b_factor_A2.any():
        columns["rlnCtfBfactor"] = geometry.b_factor_A2
    return StarTable(geometry.name, columns)


def _particles(scene: Scene, true: bool) -> Particles:
    """All particles of the list, at their true or written poses."""
    series = scene.series
    counts = [len(s.targets) for s in series]
    n = sum(counts)
    R = np.concatenate([s.targets.R_p2t if true else s.written_R_p2t for s in series])
    xyz_A = np.concatenate([s.targets.xyz_A if true else s.written_xyz_A for s in series])
    surface = np.concatenate([s.surface for s in series])
    columns = {"rlnTomoManifoldIndex": surface} if surface.any() else {}
    optics_names = list(dict.fromkeys(s.written.optics.name for s in series))
    group = [optics_names.index(s.written.optics.name) + 1 for s in series]
    return Particles(
        tomo_names=[s.name for s in series],
        i_tomo=np.repeat(np.arange(len(series)), counts).astype(np.int32),
        names=np.array([f"{s.name}/{i + 1}" for s in series for i in range(len(s.targets))],
                       object),
        xyz_A=xyz_A, offset_A=np.zeros((n, 3)), R_p2t=R,
        R_box2t=np.repeat(np.eye(3)[None], n, axis=0),
        half=np.concatenate([s.half for s in series]).astype(np.int8),
        optics_group=np.repeat(group, counts).astype(np.int32), columns=columns)


def _motion(scene: Scene) -> Floats:
    """Motion (n, most tilts, 3) [Å] of all particles of the list; NaN beyond a series' tilts."""
    most = max(s.true.n_tilts for s in scene.series)
    motions = []
    for s in scene.series:
        motion = np.full((len(s.targets), most, 3), np.nan)
        motion[:, :s.true.n_tilts] = 0.0 if s.targets.motion_A is None else s.targets.motion_A
        motions.append(motion)
    return np.concatenate(motions)


def write_truth(folder: Path, scene: Scene, parameters: SimulateParameters,
                drift_px: NDArray[np.float64] | None) -> dict[str, str]:
    """Write truth.h5 and the truth maps."""
    arrays: dict[str, Any] = {"series": np.array([s.name for s in scene.series], object)}
    first = 0
    for s in scene.series:
        truth_of_series = _series_truth(s)
        if drift_px is not None:
            truth_of_series["frame_drift_px"] = drift_px[first:first + s.true.n_tilts]
        arrays |= {f"{s.name}/{name}": values for name, values in truth_of_series.items()}
        first += s.true.n_tilts
    write_h5(folder / "truth.h5", arrays, {"what": "simulation truth", "seed": parameters.seed})
    pixel_A = scene.series[0].true.pixel_A
    outputs = {"truth": "truth.h5", "truth_map": "truth.mrc", "truth_mask": "truth_mask.mrc"}
    truth = scene.phantom.truth_map(scene.truth_box_px, pixel_A)
    write_mrc(folder / "truth.mrc", truth, pixel_A)
    write_mrc(folder / "truth_mask.mrc", truth_mask(truth, pixel_A), pixel_A)
    for binning in parameters.truth_binnings:
        name = f"truth_bin{binning}.mrc"
        write_mrc(folder / name, _binned_truth(scene.phantom, scene.truth_box_px, pixel_A, binning),
                  pixel_A * binning)
        outputs[f"truth_map_bin{binning}"] = name
    return outputs


def _binned_truth(phantom: Phantom, box_px: int, pixel_A: float, binning: int
                  ) -> NDArray[np.float32]:
    return phantom.truth_map(2 * int(np.ceil(box_px / binning / 2)), pixel_A * binning)


def truth_mask(truth: NDArray[np.float32], pixel_A: float) -> NDArray[np.float32]:
    """1 on the particle and a little around it, falling to 0 over a raised cosine."""
    outside = truth < MASK_LEVEL * float(truth.max())
    distance_A = distance_transform_edt(outside) * pixel_A - MASK_EXTEND_A
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.clip(distance_A / MASK_EDGE_A, 0, 1)),
                      np.float32)


def _series_truth(s: SeriesScene) -> dict[str, Any]:
    """Arrays of one series, named with their units; rows are particles, columns tilts."""
    true, written = s.true, s.written
    at_px, defocus_A = _per_tilt(s)
    content: dict[str, Any] = {
        "R_p2t": s.targets.R_p2t, "xyz_A": s.targets.xyz_A, "half": s.half,
        "written_R_p2t": s.written_R_p2t, "written_xyz_A": s.written_xyz_A,
        "position_px": at_px,
        "defocus_u_A": defocus_A + true.defocus_u_A, "defocus_v_A": defocus_A + true.defocus_v_A,
        "noise_sd": s.noise_sd, "pre_dose_e_per_A2": true.pre_dose_e_per_A2,
        "x_tilt_deg": true.x_tilt_deg, "tilt_deg": true.tilt_deg, "axis_deg": true.axis_deg,
        "shift_A": true.shift_A,
        "tilt_error_deg": true.tilt_deg - written.tilt_deg,
        "axis_error_deg": true.axis_deg - written.axis_deg,
        "shift_error_A": true.shift_A - written.shift_A,
    }
    if s.targets.motion_A is not None:
        content["motion_A"] = s.targets.motion_A
    for i, group in enumerate(s.others):
        content[f"other_{i + 1}_xyz_A"] = group.xyz_A
        content[f"other_{i + 1}_R_p2t"] = group.R_p2t
    return content


def _per_tilt(s: SeriesScene) -> tuple[Floats, Floats]:
    """Pixels (n, t, 2) and what depth adds to the defocus (n, t) of the particles."""
    at_px, defocus_A = [], []
    for i, view in enumerate(s.true.views()):
        position, depth_A = s.true.position_px(view, s.targets.position_at_A(i))
        at_px.append(position)
        defocus_A.append(s.true.depth_defocus_A(depth_A))
    return np.stack(at_px, axis=1), np.stack(defocus_A, axis=1)
