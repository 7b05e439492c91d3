"""What a stage of a chain takes over from the stages before it, where its file says nothing.

The particle set, the average, its half maps, a mask of the same grid, the resolution reached (as
the first low-pass) and the symmetry found go on by themselves; the box follows the binning. What
the file gives always wins.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import scipy.fft

from sta_mpi.errors import InputError, StaMpiError
from sta_mpi.formats.mrc import read_header
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.jobs.chain import BOX_A, Chain, DoneStage, Stage, fill_in, shared_values

_POSES = ("optimisation_set", "particles")
_SEARCHES = frozenset({"align", "refine", "classify"})
"""Commands whose first low-pass is the resolution reached before."""

_OTHER_START = frozenset({"reference", "halves", "search", "particles"})
"""Parameters of `refine` by which it may not go on from the poses and half-sets of a stage."""

_ONE_MAP = {"mask": "map", "recenter": "reference", "symmetrize": "reference"}
"""Commands that take one map, and the parameter that names it."""

_AVERAGES = ("merged", "map")
"""Outputs that are the average of both half maps."""


def stage_values(chain: Chain, stage: Stage, done: Sequence[DoneStage]
                 ) -> tuple[dict[str, Any], list[str]]:
    """All parameters of a stage, and one line for each that was taken over.

    Parameters
    ----------
    done : sequence of DoneStage   the stages before, in order
    """
    by_name = {d.name: d for d in done}
    values = {key: fill_in(value, by_name)
              for key, value in {**shared_values(chain, stage), **stage.values}.items()}
    notes: list[str] = []
    for carry in (_set, _map, _halves, _mask, _lowpass, _symmetry):
        for key, (value, origin) in carry(stage, values, done).items():
            values[key] = value
            notes.append(f"{key} = {value} from stage {origin}")
    is_cut = stage.has("box_px") and stage.has("binning") and stage.has("optimisation_set")
    if BOX_A in chain.shared and is_cut and "box_px" not in values:
        values["box_px"] = box_px(float(chain.shared[BOX_A]), _pixel_A(stage, values))
        notes.append(f"box_px = {values['box_px']} for {chain.shared[BOX_A]:g} Å")
    return values, notes


Carried = dict[str, tuple[Any, str]]


def _set(stage: Stage, values: dict[str, Any], done: Sequence[DoneStage]) -> Carried:
    if not stage.has("optimisation_set") or any(key in values for key in _POSES):
        return {}
    for d in reversed(done):
        if "optimisation_set" in d.outputs:
            return {"optimisation_set": (str(d.output("optimisation_set")), d.name)}
    return {}


def _map(stage: Stage, values: dict[str, Any], done: Sequence[DoneStage]) -> Carried:
    """The newest average for the commands that work on one map."""
    key = _ONE_MAP.get(stage.command)
    if key is None or {key, "shape", "model"} & set(values):
        return {}
    for d in reversed(done):
        for name in _AVERAGES:
            if {name, "half1"} <= set(d.outputs):
                return {key: (str(d.output(name)), d.name)}
    return {}


def _halves(stage: Stage, values: dict[str, Any], done: Sequence[DoneStage]) -> Carried:
    """Half maps for the commands that judge maps."""
    if not stage.has("half1") or {"half1", "half2", "map"} & set(values):
        return {}
    for d in reversed(done):
        if {"half1", "half2"} <= set(d.outputs):
            return {name: (str(d.output(name)), d.name) for name in ("half1", "half2")}
    return {}


def _mask(stage: Stage, values: dict[str, Any], done: Sequence[DoneStage]) -> Carried:
    """The newest mask that lies on the grid of the half maps."""
    if not stage.has("mask") or not stage.has("half1") or "mask" in values:
        return {}
    if "half1" not in values:
        return {}
    for d in reversed(done):
        is_mask = d.command == "mask" and "mask" in d.outputs
        if is_mask and _same_grid(d.output("mask"), Path(str(values["half1"]))):
            return {"mask": (str(d.output("mask")), d.name)}
    return {}


def _same_grid(first: Path, second: Path) -> bool:
    try:
        a, b = read_header(first), read_header(second)
    except StaMpiError:
        return False
    return a.shape_zyx == b.shape_zyx and all(
        abs(x - y) < 1e-3 * y for x, y in zip(a.pixel_xyz_A, b.pixel_xyz_A, strict=True))


def _lowpass(stage: Stage, values: dict[str, Any], done: Sequence[DoneStage]) -> Carried:
    """Searches begin where the FSC of the last search ended.

    A refinement that goes on from another takes the FSC of its own average: at a finer pixel the
    poses reach farther than the Nyquist limit of the stage before.
    """
    if stage.command not in _SEARCHES or {"lowpass_A", "start_at_fsc"} & set(values):
        return {}
    if stage.command == "refine" and not _OTHER_START & set(values):
        newest = max((i for i, d in enumerate(done) if d.command in _SEARCHES), default=None)
        if newest is not None and done[newest].command == "refine" and all(
                d.values.get("halves", "keep") == "keep" for d in done[newest + 1:]):
            return {"start_at_fsc": (True, done[newest].name)}
    for d in reversed(done):
        resolution_A = d.results.get("resolution_A")
        if d.command in _SEARCHES and isinstance(resolution_A, int | float):
            return {"lowpass_A": (float(resolution_A), d.name)}
    return {}


def _symmetry(stage: Stage, values: dict[str, Any], done: Sequence[DoneStage]) -> Carried:
    if not stage.has("symmetry") or "symmetry" in values:
        return {}
    for d in reversed(done):
        found = d.results.get("symmetry")
        if isinstance(found, str):
            return {"symmetry": (found, d.name)}
    return {}


def _pixel_A(stage: Stage, values: dict[str, Any]) -> float:
    """Pixel of the images that a stage works at [Å]."""
    tomograms = values.get("tomograms")
    if tomograms is None and "optimisation_set" in values:
        tomograms = read_optimisation_set(Path(str(values["optimisation_set"]))).tomograms
    if tomograms is None:
        raise InputError(f"stage {stage.name}: its tilt series are not known, so {BOX_A} has no "
                         "pixel to go by. Give box_px in this stage.")
    table = read_tomograms(Path(str(tomograms)))
    return table.tilt_series(table.names[0]).pixel_A * float(values.get("binning", 1))


def box_px(box_A: float, pixel_A: float) -> int:
    """The smallest even box of at least `box_A` whose transform is quick."""
    n = max(8, int(-(-box_A // pixel_A)))
    n += n % 2
    while scipy.fft.next_fast_len(n, real=True) != n:
        n += 2
    return n
