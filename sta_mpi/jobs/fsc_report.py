"""Curves, numbers and report sections of an FSC, for `fsc` and `postprocess`."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_table import StarTable
from sta_mpi.post.directional import DirectionalFsc
from sta_mpi.post.particle_fsc import (
    particle_fsc,
    solvent_factor_of_mask,
    solvent_factor_of_mass,
)
from sta_mpi.report.content import Figure, Section
from sta_mpi.report.figures import fsc_curves
from sta_mpi.report.figures.resolution import directional_resolution
from sta_mpi.signal.fsc import FscResult

Floats = NDArray[np.float64]

_CAPTION = (
    "Corrected is the masked curve after subtracting what the mask itself correlates "
    "(randomised). It should fall to zero and stay there; a masked curve far above the "
    "unmasked one means a tight mask or much solvent. The particle curves are computed from the "
    "unmasked one and the share of the box that the particle fills: no mask can improve them.")


def particle_factors(mask: NDArray[np.float32], molecular_weight_kDa: float | None, box_A: float
                     ) -> dict[str, float]:
    """Solvent factors by the key of their curve."""
    factors = {"particle_mask_fraction": solvent_factor_of_mask(mask)}
    if molecular_weight_kDa is not None:
        factors["particle_mol_weight"] = solvent_factor_of_mass(molecular_weight_kDa, box_A)
    return factors


def all_curves(fsc: FscResult, factors: dict[str, float]) -> dict[str, Floats]:
    """Curves by the keys of `formats.relion_fsc.FSC_LABELS`."""
    return {"corrected": fsc.corrected,
            **{name: particle_fsc(fsc.unmasked, f) for name, f in factors.items()},
            "unmasked": fsc.unmasked, "masked": fsc.masked, "randomised": fsc.randomised}


def curves_section(fsc: FscResult, curves: dict[str, Floats]) -> Section:
    """All curves in one figure."""
    names = {"particle_mask_fraction": "particle (mask volume)",
             "particle_mol_weight": "particle (mass)"}
    # colours go by place: curves without a colour of their own come third and fourth
    order = ["corrected", "masked", *names, "unmasked", "randomised"]
    shown = {names.get(name, name): curves[name] for name in order if name in curves}
    marks = [(t, fsc.resolution_A(t)) for t in (0.143, 0.5) if np.isfinite(fsc.resolution_A(t))]
    return Section("Fourier shell correlation", figures=[Figure(
        "FSC of the half maps", fsc_curves.later(shown, fsc.voxel_A, fsc.box_px, marks), _CAPTION)])


def directional_results(cones: DirectionalFsc) -> dict[str, Any]:
    """Numbers for job.json."""
    worst = cones.axes_xyz[cones.worst]
    return {"resolution_best_direction_A": cones.best_A,
            "resolution_worst_direction_A": cones.worst_A,
            "worst_direction_xyz": [round(float(v), 3) for v in worst],
            "anisotropy": cones.anisotropy}


def directional_section(cones: DirectionalFsc, fsc: FscResult) -> Section:
    """Band of the cones and the half sphere."""
    worst = ", ".join(f"{v:.2f}" for v in cones.axes_xyz[cones.worst])
    return Section("Resolution by direction", figures=[Figure(
        "FSC in cones",
        directional_resolution.later(cones.axes_xyz, cones.curves, cones.resolution_A, fsc.voxel_A,
                                     fsc.box_px, fsc.corrected),
        f"Cones of {cones.cone_deg:g}° half angle around {len(cones.curves)} axes, corrected for "
        "the mask as whole shells are. Best and worst twentieth of the directions: "
        f"{cones.best_A:.3g} and {cones.worst_A:.3g} Å; worst along ({worst}). Axes are those of "
        "the map; the rim of the disc is the xy plane. Gaps "
        "in the angular coverage and the missing wedge show as a worse direction.")])


def write_directional(path: Path, cones: DirectionalFsc) -> None:
    """One row a cone: direction as rot and tilt, and its resolution."""
    x, y, z = cones.axes_xyz.T
    write_star(path, [StarTable("fsc_directional", {
        "rlnAngleRot": np.degrees(np.arctan2(y, x)),
        "rlnAngleTilt": np.degrees(np.arccos(np.clip(z, -1, 1))),
        "rlnAngstromResolution": np.minimum(cones.resolution_A, 999.0)})])
