"""`run_model.star` of a refinement: what other programs read of it (FSC, resolution, maps)."""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_table import StarTable, make_list

Floats = NDArray[np.float64]

_ZERO_SHELL_A = 999.0
"""What RELION writes as the resolution of shell 0."""


@dataclass(frozen=True)
class ModelClass:
    """One reference of a refinement.

    Parameters
    ----------
    map_name : str               file of the map
    share : float                part of the particles
    fsc : (n_shells,)            gold-standard FSC
    tau2, sigma2 : (n_shells,)   power of the signal, and of the noise in the map
    resolution_A : float
    """

    map_name: str
    share: float
    fsc: Floats
    tau2: Floats
    sigma2: Floats
    resolution_A: float


def write_model(path: str | os.PathLike[str], classes: list[ModelClass], box_px: int,
                voxel_A: float, pad: float, mean_p_max: float, sigma_offset_A: float) -> None:
    """Write tables model_general, model_classes and model_class_<n>."""
    best_A = min(c.resolution_A for c in classes)
    general = make_list("model_general", {
        "rlnReferenceDimensionality": 3, "rlnDataDimensionality": 2,
        "rlnOriginalImageSize": box_px, "rlnCurrentResolution": best_A,
        "rlnCurrentImageSize": box_px, "rlnPaddingFactor": pad, "rlnIsHelix": 0,
        "rlnFourierSpaceInterpolator": 1, "rlnMinRadiusNnInterpolation": 10,
        "rlnPixelSize": voxel_A, "rlnNrClasses": len(classes), "rlnNrBodies": 1,
        "rlnNrGroups": 1, "rlnNrOpticsGroups": 1, "rlnTau2FudgeFactor": 1.0,
        "rlnNormCorrectionAverage": 1.0, "rlnSigmaOffsetsAngst": sigma_offset_A,
        "rlnOrientationalPriorMode": 0, "rlnSigmaPriorRotAngle": 0.0,
        "rlnSigmaPriorTiltAngle": 0.0, "rlnSigmaPriorPsiAngle": 0.0, "rlnLogLikelihood": 0.0,
        "rlnAveragePmax": mean_p_max})
    table = StarTable("model_classes", {
        "rlnReferenceImage": [c.map_name for c in classes],
        "rlnClassDistribution": np.array([c.share for c in classes]),
        "rlnEstimatedResolution": np.array([c.resolution_A for c in classes])})
    write_star(path, [general, table, *(
        _class_table(i, c, box_px * voxel_A) for i, c in enumerate(classes, 1))])


def _class_table(number: int, c: ModelClass, span_A: float) -> StarTable:
    shells = np.arange(len(c.fsc))
    per_A = shells / span_A
    half = np.clip(c.fsc, 0.001, 0.999)
    return StarTable(f"model_class_{number}", {
        "rlnSpectralIndex": shells, "rlnResolution": per_A,
        "rlnAngstromResolution": np.r_[_ZERO_SHELL_A, 1 / per_A[1:]],
        "rlnSsnrMap": half / (1 - half), "rlnGoldStandardFsc": c.fsc,
        "rlnReferenceSigma2": c.sigma2, "rlnReferenceTau2": c.tau2})
