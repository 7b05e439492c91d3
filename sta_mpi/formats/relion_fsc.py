"""FSC tables and postprocess.star, with RELION's own (irregular) label spellings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import StarTable, make_list

Floats = NDArray[np.float64]

FINAL_FSC = "rlnFourierShellCorrelationCorrected"
FSC_LABELS = {
    "corrected": FINAL_FSC,
    "particle_mask_fraction": "rlnFourierShellCorrelationParticleMaskFraction",
    "particle_mol_weight": "rlnFourierShellCorrelationParticleMolWeight",
    "unmasked": "rlnFourierShellCorrelationUnmaskedMaps",
    "masked": "rlnFourierShellCorrelationMaskedMaps",
    "randomised": "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
}
GUINIER_LABELS = {
    "original": "rlnLogAmplitudesOriginal",
    "mtf_corrected": "rlnLogAmplitudesMTFCorrected",
    "weighted": "rlnLogAmplitudesWeighted",
    "sharpened": "rlnLogAmplitudesSharpened",
    "intercept": "rlnLogAmplitudesIntercept",
}
GENERAL_LABELS = {
    "final_resolution_A": "rlnFinalResolution",
    "b_factor_A2": "rlnBfactorUsedForSharpening",
    "half1": "rlnUnfilteredMapHalf1",
    "half2": "rlnUnfilteredMapHalf2",
    "map": "rlnPostprocessedMap",
    "molecular_weight": "rlnMolecularWeight",
    "fraction_molecular_weight": "rlnParticleBoxFractionMolecularWeight",
    "fraction_solvent_mask": "rlnParticleBoxFractionSolventMask",
    "mask": "rlnMaskName",
    "randomise_from_A": "rlnRandomiseFrom",
    "map_masked": "rlnPostprocessedMapMasked",
    "guinier_slope": "rlnFittedSlopeGuinierPlot",
    "guinier_intercept": "rlnFittedInterceptGuinierPlot",
    "guinier_correlation": "rlnCorrelationFitGuinierPlot",
}
_TEXTS = {"half1", "half2", "map", "mask", "map_masked"}
_INDEX, _SHELL, _ANGSTROM = "rlnSpectralIndex", "rlnResolution", "rlnAngstromResolution"
_ZERO_SHELL_A = 999.0
"""What RELION writes as the resolution of shell 0."""


@dataclass(frozen=True)
class Postprocess:
    """Contents of postprocess.star.

    Parameters
    ----------
    s_per_A : (n,) float64          spatial frequency of each shell
    curves : dict of (n,) float64   FSC curves by the keys of FSC_LABELS; "corrected" is the final
    general : dict                  numbers and names by the keys of GENERAL_LABELS
    guinier_s2_per_A2 : (m,) float64
    guinier : dict of (m,) float64  ln amplitudes by the keys of GUINIER_LABELS
    """

    s_per_A: Floats
    curves: dict[str, Floats]
    general: dict[str, Any] = field(default_factory=dict)
    guinier_s2_per_A2: Floats = field(default_factory=lambda: np.zeros(0))
    guinier: dict[str, Floats] = field(default_factory=dict)


def read_fsc(path: str | os.PathLike[str]) -> Floats:
    """The final FSC of a file for `--fsc`: shell 0, 1, 2, ... as (n,) float64.

    Any table with rlnSpectralIndex and rlnFourierShellCorrelationCorrected will do, also that of
    a postprocess.star; a model.star's rlnGoldStandardFsc is used where there is no other.

    Raises
    ------
    InputError      no such table, or shells that are not 0, 1, 2, ...
    """
    star = read_star(path)
    for label in (FINAL_FSC, "rlnGoldStandardFsc"):
        for table in star:
            if label in table and _INDEX in table:
                index = table.integers(_INDEX)
                if not np.array_equal(index, np.arange(len(index))):
                    raise InputError(f"{table.where}: {_INDEX} is not 0, 1, 2, ... Sort the rows "
                                     "and complete them.")
                return table.finite(label)
    raise InputError(f"{star.source}: no table with {_INDEX} and {FINAL_FSC}. Give a "
                     "postprocess.star or an FSC table.")


def write_fsc(path: str | os.PathLike[str], curve: Floats, s_per_A: Floats | None = None) -> None:
    """Write a plain FSC table (`fsc`) that RELION's --fsc reads."""
    columns: dict[str, Any] = {_INDEX: np.arange(len(curve))}
    if s_per_A is not None:
        columns |= _shells(s_per_A)
    write_star(path, [StarTable("fsc", {**columns, FINAL_FSC: np.asarray(curve, np.float64)})])


def read_postprocess(path: str | os.PathLike[str]) -> Postprocess:
    """Read a postprocess.star; curves and numbers that are absent are left out."""
    star = read_star(path)
    fsc = star["fsc"]
    general: dict[str, Any] = {}
    if "general" in star:
        table = star["general"]
        for key, label in GENERAL_LABELS.items():
            if label in table:
                general[key] = table.value(label) if key in _TEXTS else table.number(label)
    guinier = star["guinier"] if "guinier" in star else StarTable("guinier", {})
    return Postprocess(
        s_per_A=_frequencies(fsc), curves=_curves(fsc, FSC_LABELS), general=general,
        guinier_s2_per_A2=guinier.floats("rlnResolutionSquared") if len(guinier) else np.zeros(0),
        guinier=_curves(guinier, GUINIER_LABELS))


def write_postprocess(path: str | os.PathLike[str], result: Postprocess) -> None:
    """Write a postprocess.star in RELION's order of tables and columns."""
    tables = []
    if result.general:
        tables.append(make_list("general", _in_order(result.general, GENERAL_LABELS)))
    tables.append(StarTable("fsc", {
        _INDEX: np.arange(len(result.s_per_A)), **_shells(result.s_per_A),
        **_in_order(result.curves, FSC_LABELS)}))
    if result.guinier:
        tables.append(StarTable("guinier", {
            "rlnResolutionSquared": result.guinier_s2_per_A2,
            **_in_order(result.guinier, GUINIER_LABELS)}))
    write_star(path, tables)


def _shells(s_per_A: Floats) -> dict[str, Floats]:
    s = np.array(s_per_A, np.float64)
    angstrom = np.where(s > 0, 1.0 / np.where(s > 0, s, 1.0), _ZERO_SHELL_A)
    return {_SHELL: 1.0 / angstrom, _ANGSTROM: angstrom}


def _frequencies(fsc: StarTable) -> Floats:
    """Shell frequencies; RELION's 1/999 of shell 0 is 0."""
    s = fsc.finite(_SHELL)
    return np.where(fsc.integers(_INDEX) == 0, 0.0, s)


def _curves(table: StarTable, labels: Mapping[str, str]) -> dict[str, Floats]:
    return {key: table.floats(label) for key, label in labels.items() if label in table}


def _in_order(values: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    unknown = set(values) - set(labels)
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}; known: {', '.join(labels)}")
    return {label: values[key] for key, label in labels.items() if key in values}
