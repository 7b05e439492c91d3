"""A PEET project of simulated particles, for tests: volumes, models, motive lists, a .prm."""

from pathlib import Path

import numpy as np
from plain_tomogram import back_project, write_volume
from scipy.spatial.transform import Rotation

from sta_mpi.formats.imod_model import model_from_points, write_imod_model
from sta_mpi.formats.mrc import read_image, read_mrc
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms

HEADER = ("CCC,reserved,reserved,pIndex,wedgeWT,NA,NA,NA,NA,NA,xOffset,yOffset,zOffset,NA,NA,"
          "reserved,EulerZ(1),EulerZ(3),EulerX(2),reserved")


def peet_rotation(R_p2t):
    """PEET's matrix of one of ours, written out: our z axis is its y axis."""
    x, y, z = np.moveaxis(R_p2t, -1, 0)
    return np.stack([x, z, -y], axis=-1)


def write_motl(path, R_peet, offset_px, classes=None):
    """A motive list by text alone."""
    z3, x2, z1 = Rotation.from_matrix(R_peet).as_euler("ZXZ", degrees=True).T
    classes = np.zeros(len(z1), int) if classes is None else classes
    lines = [HEADER]
    for i, (o, a, b, c, k) in enumerate(zip(offset_px, z1, z3, x2, classes, strict=True), 1):
        cells = [0, 0, 0, i, 0, 0, 0, 0, 0, 0, *o, 0, 0, 0, a, b, c, k]
        lines.append(",".join(f"{v:.6f}" if isinstance(v, float) else str(v) for v in cells))
    Path(path).write_text("\n".join(lines) + "\n")


def read_motl(path):
    """Columns of a motive list by text alone: (n, 20)."""
    rows = [line.split(",") for line in Path(path).read_text().splitlines()[1:]]
    return np.array([[float(v) if v != "NA" else np.nan for v in row] for row in rows])


def to_peet(volume):
    """A cube of ours in PEET's axes, voxel by voxel: P[uz, uy, ux] = O[z=uy, y=-uz, x=ux]."""
    n = len(volume)
    out = np.empty_like(volume)
    for uz in range(n):
        y = (n // 2 - (uz - n // 2)) % n
        out[uz] = volume[:, y, :]
    return out


def make_project(folder, project, tomograms, particles, truth_path, box, name="run"):
    """Write volumes, models, motive lists and a reference; returns (entries of the .prm, names).

    Parameters
    ----------
    project : Path             folder of the simulated project
    tomograms : TomogramSet    of the project
    particles : Particles      whose poses go into the lists
    """
    folder.mkdir(parents=True, exist_ok=True)
    volumes, models, lists = [], [], []
    for k, tomo in enumerate(tomograms.names, 1):
        ts = tomograms.tilt_series(tomo)
        volumes.append(f"{tomo}.rec")
        if not (folder / volumes[-1]).exists():
            images = np.stack([read_image(image) for image in ts.image_names])
            volume = back_project(images, ts.P, ts.pixel_A, ts.tomogram_size_px, ts.pixel_A)
            write_volume(folder / volumes[-1], volume, ts.pixel_A)
        rows = np.flatnonzero(particles.i_tomo == k - 1)
        size = np.array(ts.tomogram_size_px)
        index = particles.xyz_A[rows] / ts.pixel_A + size / 2
        whole = np.rint(index)
        models.append(f"{tomo}.mod")
        write_imod_model(folder / models[-1], model_from_points(whole, size, ts.pixel_A))
        lists.append(f"{name}_initMOTL_Tom{k}.csv")
        offset = index - whole + particles.offset_A[rows] / ts.pixel_A
        write_motl(folder / lists[-1], peet_rotation(particles.R_p2t[rows]), offset)
    truth = read_mrc(truth_path)
    n, half = len(truth.data), box // 2
    start = n // 2 - half
    inner = (truth.data[(slice(start, start + box),) * 3] if n >= box
             else np.pad(truth.data, (half - n // 2, box - half + n // 2 - n)))
    write_volume(folder / "reference.mrc", -to_peet(np.ascontiguousarray(inner)), truth.voxel_A)
    return volumes, models, lists


def cell(names):
    """A cell array of strings."""
    return "{" + ", ".join(f"'{name}'" for name in names) + "}"


PRM = """# a project of two tomograms, two iterations
fnVolume = {volumes}
fnModParticle = {models}
initMOTL = {lists}
tiltRange = {{[-60, 60], [-60, 60]}}
dPhi = {{-9:3:9, -4:2:4}}
dTheta = {{-9:3:9, -4:2:4}}
dPsi = {{-9:3:9, -4:2:4}}
searchRadius = {{[3], [2]}}
lowCutoff = {{[0, 0.05], [0, 0.05]}}
hiCutoff = {{[0.2, 0.05], [0.25, 0.05]}}
refThreshold = {{20, 20}}
duplicateShiftTolerance = [NaN, 2]
reference = 'reference.mrc'
fnOutput = 'run'
szVol = [28, 26, 28]
CCMode = 1
flgAbsValue = 1
lstThresholds = [8:8:16, 30]
lstFlagAllTom = 0
nWeightGroup = 2
maskType = 'sphere'
outsideMaskRadius = 11
maskBlurStdDev = 1.5
flgRemoveDuplicates = 1
"""


def write_project(folder, small_set, box=28):
    """The whole project of the simulated small set in a folder, with `run.prm`."""
    source = small_set.parent
    tomograms = read_tomograms(small_set.with_name("tomograms.star"))
    particles = read_particles(small_set.with_name("particles.star"), tomograms)
    names = make_project(folder, source, tomograms, particles, source / "truth.mrc", box)
    volumes, models, lists = map(cell, names)
    (folder / "run.prm").write_text(PRM.format(volumes=volumes, models=models, lists=lists))
    return folder


def changed(project, name, **values):
    """A copy of the parameter file with other lines; None removes one."""
    lines = [line for line in (project / "run.prm").read_text().splitlines()
             if line.split("=")[0].strip() not in values]
    lines += [f"{key} = {value}" for key, value in values.items() if value is not None]
    path = project / name
    path.write_text("\n".join(lines) + "\n")
    return path
