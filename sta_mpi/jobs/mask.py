"""`mask`: a mask from a map, a shape, a model or other masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.structures import read_structure
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.map_model import first_voxel_A
from sta_mpi.jobs.parameters.mask import MaskParameters
from sta_mpi.jobs.reference_files import refuse_flat
from sta_mpi.post.automask import MapMask, MaskSettings, mask_mass_kDa, mask_of_map
from sta_mpi.post.mask_shapes import (
    body,
    central_stretch,
    combine,
    shape_of_atoms,
    touches_border,
)
from sta_mpi.report.content import Figure, Section
from sta_mpi.report.figures.masks import mask_outline
from sta_mpi.signal.filters import lowpass_map
from sta_mpi.signal.masks import extend, soft_cylinder, soft_edge, soft_shell, soft_sphere

Map = NDArray[np.float32]
Shape = NDArray[np.bool_]

LARGE_SHARE = 0.5
"""A mask of more than this share of the box leaves little solvent to judge it by."""


@dataclass(frozen=True)
class Frame:
    """The box of the mask: its map (None for a bare shape), shape [z, y, x] and voxel."""

    map: Map | None
    shape: tuple[int, int, int]
    voxel_A: float


def input_files(parameters: MaskParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    p = parameters
    own = [path for path in (p.map, p.model) if path is not None]
    return own + [*p.or_mask, *p.and_mask, *p.minus_mask]


def run(parameters: MaskParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Make the mask and its report; rank 0 alone works."""
    if not runtime.is_root:
        return JobOutcome()
    p = parameters
    others = {name: [_read(path, p.voxel_A) for path in getattr(p, f"{name}_mask")]
              for name in ("or", "and", "minus")}
    frame = _frame(p, others)
    shape, made = _own_shape(p, frame)
    for name, masks in others.items():
        for path, (mask, voxel_A) in zip(getattr(p, f"{name}_mask"), masks, strict=True):
            _check_fits(path, mask, voxel_A, frame)
    bodies = {name: [body(mask) for mask, _ in masks] for name, masks in others.items()}
    whole = combine(shape, and_=bodies["and"], or_=bodies["or"], minus=bodies["minus"],
                    invert=p.invert)
    if p.central_z_share is not None:
        whole = central_stretch(whole, p.central_z_share)
    if not whole.any() or whole.all():
        what = "nothing is" if not whole.any() else "everything is"
        raise InputError(f"{what} left inside the mask after combining. Look at the masks that "
                         "were combined.")
    mask = soft_edge(whole, p.edge_px)
    write_mrc(folder.file("mask.mrc"), mask, frame.voxel_A)
    results = _results(p, frame, whole, mask, made)
    return JobOutcome(results, {"mask": "mask.mrc"}, [_section(frame, mask)],
                      _warnings(p, frame, whole, mask, made))


def _frame(p: MaskParameters, others: dict[str, list[tuple[Map, float]]]) -> Frame:
    if p.map is not None:
        volume = read_mrc(p.map, pixel_A=p.voxel_A)
        refuse_flat(volume.data, p.map, "map")
        z, y, x = volume.data.shape
        return Frame(volume.data, (z, y, x), volume.voxel_A)
    first = next((m for group in others.values() for m in group), None)
    if first is not None:
        z, y, x = first[0].shape
        return Frame(None, (z, y, x), first[1])
    assert p.box_px is not None
    assert p.voxel_A is not None
    return Frame(None, (p.box_px,) * 3, p.voxel_A)


def _own_shape(p: MaskParameters, frame: Frame) -> tuple[Shape | None, MapMask | None]:
    """The shape before logic: of the geometry, the model or the map, extended."""
    if p.shape is not None:
        return _geometry(p, frame), None
    if p.model is not None:
        assert p.map is not None
        atoms = read_structure(p.model)
        near = shape_of_atoms(atoms.xyz_A, p.model_radius_A, frame.shape, frame.voxel_A,
                              first_voxel_A(p.map, frame.voxel_A))
        return extend(near, p.extend_px), None
    if frame.map is None:
        return None, None
    made = mask_of_map(_lowpassed(p, frame), frame.voxel_A, MaskSettings(
        p.threshold, p.molecular_weight_kDa, p.min_island_share, p.extend_px, p.edge_px))
    return extend(made.shape, p.extend_px), made


def _lowpassed(p: MaskParameters, frame: Frame) -> Map:
    assert frame.map is not None
    if p.lowpass_A <= 2.0 * frame.voxel_A:
        return frame.map
    if len(set(frame.shape)) != 1:
        raise InputError(f"{p.map}: {frame.shape[::-1]} voxels, expected a cube for the low-pass. "
                         "Pad the map, or pass a --lowpass-A below Nyquist to leave it out.")
    return lowpass_map(frame.map, frame.voxel_A, p.lowpass_A)


def _geometry(p: MaskParameters, frame: Frame) -> Shape:
    if len(set(frame.shape)) != 1:
        raise InputError(f"{p.map}: {frame.shape[::-1]} voxels, expected a cube for --shape.")
    n, voxel_A = frame.shape[0], frame.voxel_A
    assert p.radius_A is not None
    radius = p.radius_A / voxel_A
    if radius > n:
        raise UsageError(f"--radius-A {p.radius_A:g} is larger than the box of {n * voxel_A:g} Å. "
                         "Give the radius in Å.")
    if p.shape == "sphere":
        centre = [n // 2 + c / voxel_A for c in p.centre_xyz_A] if p.centre_xyz_A else None
        return body(soft_sphere(n, radius, 0.0, centre))
    if p.shape == "shell":
        return body(soft_shell(n, (p.inner_radius_A or 0.0) / voxel_A, radius, 0.0))
    height = n if p.height_A is None else p.height_A / voxel_A
    return body(soft_cylinder(n, radius, height, 0.0, p.axis))


def _read(path: Path, voxel_A: float | None) -> tuple[Map, float]:
    volume = read_mrc(path, pixel_A=voxel_A)
    refuse_flat(volume.data, path, "mask")
    low, high = float(volume.data.min()), float(volume.data.max())
    if low < -1e-4 or high > 1 + 1e-4:
        raise InputError(f"mask {path}: values from {low:.3g} to {high:.3g}, expected 0 to 1. Make "
                         "it a mask first (--map).")
    return volume.data, volume.voxel_A


def _check_fits(path: Path, mask: Map, voxel_A: float, frame: Frame) -> None:
    if mask.shape != frame.shape:
        raise InputError(f"mask {path}: {mask.shape[::-1]} voxels, the others have "
                         f"{frame.shape[::-1]}. Resample it.")
    if abs(voxel_A - frame.voxel_A) > 0.01 * frame.voxel_A:
        raise InputError(f"mask {path}: voxel {voxel_A:.4f} Å, the others have "
                         f"{frame.voxel_A:.4f} Å. Rescale it, or mend its header.")


def _results(p: MaskParameters, frame: Frame, whole: Shape, mask: Map, made: MapMask | None
             ) -> dict[str, Any]:
    results: dict[str, Any] = {"box_px": max(frame.shape), "voxel_A": frame.voxel_A}
    if made is not None:
        results |= {"threshold": made.threshold, "islands": made.n_islands,
                    "specks_removed": made.n_removed,
                    "mass_in_threshold_kDa": mask_mass_kDa(made.shape, frame.voxel_A)}
    return results | {
        "box_share": float(mask.mean(dtype=np.float64)),
        "volume_A3": float(whole.sum()) * frame.voxel_A**3}


def _warnings(p: MaskParameters, frame: Frame, whole: Shape, mask: Map, made: MapMask | None
              ) -> list[str]:
    texts = []
    if touches_border(np.asarray(mask > 0.01)) and not p.invert and p.central_z_share is None:
        texts.append("the mask reaches the border of the box, where its edge is cut off: the FSC "
                     "under it is corrupted. Use a larger box, a higher threshold or less "
                     "--extend-px.")
    if float(mask.mean(dtype=np.float64)) > LARGE_SHARE and not p.invert:
        texts.append(f"the mask fills {100 * mask.mean():.0f} % of the box: it hardly masks "
                     "anything. Raise the threshold, or low-pass less.")
    if p.edge_px < 3:
        texts.append(f"a soft edge of {p.edge_px:g} px is sharp: it correlates the half maps by "
                     "itself. Use 3 px or more.")
    if made is not None and made.n_islands > 1:
        texts.append(f"the mask has {made.n_islands} islands: neighbours or noise may be among "
                     "them. Raise --threshold or --min-island-share, or cut with --and-mask.")
    if made is not None and p.threshold is None and p.molecular_weight_kDa is None \
            and int(made.shape.sum()) < 30:
        texts.append(f"only {int(made.shape.sum())} voxels reach the automatic threshold "
                     f"{made.threshold:.4g}. Give one (--threshold).")
    return texts


def _section(frame: Frame, mask: Map) -> Section:
    return Section("Mask", figures=[Figure(
        "Mask on the map" if frame.map is not None else "Mask",
        mask_outline.later(frame.map, mask, frame.voxel_A),
        "Full line: mask at 1/2; dots: end of its soft edge. It should hold all density that "
        "belongs to the particle, with a margin of a few voxels, and nothing else.")])
