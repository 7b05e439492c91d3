"""Figures of the report: each function takes arrays and returns PNG bytes, now or `.later`."""

from sta_mpi.report.figures.classes import class_course, class_slices, component_scatter
from sta_mpi.report.figures.curves import ctf_weight, fsc_curves, noise_excess
from sta_mpi.report.figures.maps import map_comparison, map_slices
from sta_mpi.report.figures.poses import angular_coverage, pose_change, score_histogram
from sta_mpi.report.figures.tilts import particles_on_image, tilt_geometry, tilt_weights
from sta_mpi.report.figures.timing import memory_use, rank_load, unit_times

__all__ = [
    "angular_coverage",
    "class_course",
    "class_slices",
    "component_scatter",
    "ctf_weight",
    "fsc_curves",
    "map_comparison",
    "map_slices",
    "memory_use",
    "noise_excess",
    "particles_on_image",
    "pose_change",
    "rank_load",
    "score_histogram",
    "tilt_geometry",
    "tilt_weights",
    "unit_times",
]
