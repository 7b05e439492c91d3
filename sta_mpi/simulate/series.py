"""Geometry of whole simulated series: from a plan, or a real one binned and cropped."""

from dataclasses import dataclass, replace

import numpy as np

from sta_mpi.data import Optics
from sta_mpi.simulate.placement import rotation_about
from sta_mpi.simulate.tilts import (
    Floats,
    SeriesGeometry,
    acquisition_order,
    pre_doses,
    tilt_angles,
    tilt_matrix,
    tilt_scales,
)


@dataclass(frozen=True)
class SeriesPlan:
    """How the tilt series of a simulation are taken; angles in degrees.

    Parameters
    ----------
    tilt_range_deg : (lowest, highest, step)
    scheme, group : see `tilts.acquisition_order`
    shift_sd_A : float              standard deviation of the image shifts
    defocus_A, defocus_sd_A, defocus_tilt_sd_A : float   mean; spread of series and of tilts
    astigmatism_A, astig_deg : float    defocus U - V and the angle of U
    scale_model, mean_free_path_A : see `tilts.tilt_scales`; thickness from the tomogram
    """

    pixel_A: float
    optics: Optics
    tomogram_size_px: tuple[int, int, int]
    image_size_px: tuple[int, int]
    tilt_range_deg: tuple[float, float, float]
    scheme: str
    group: int
    axis_deg: float
    x_tilt_deg: float
    shift_sd_A: float
    dose_per_tilt_e_per_A2: float
    defocus_A: float
    defocus_sd_A: float
    defocus_tilt_sd_A: float
    astigmatism_A: float
    astig_deg: float
    phase_shift_deg: float
    hand: int
    scale_model: str
    mean_free_path_A: float


def planned_series(name: str, plan: SeriesPlan, rng: np.random.Generator) -> SeriesGeometry:
    """Draw one series of a plan, rows by ascending tilt."""
    tilts = tilt_angles(*plan.tilt_range_deg)
    n = len(tilts)
    mean = plan.defocus_A + plan.defocus_sd_A * rng.standard_normal()
    defocus = mean + plan.defocus_tilt_sd_A * rng.standard_normal(n)
    x_tilt = np.full(n, plan.x_tilt_deg)
    order = acquisition_order(tilts, plan.scheme, plan.group)
    thickness_A = plan.tomogram_size_px[2] * plan.pixel_A
    return SeriesGeometry(
        name=name, pixel_A=plan.pixel_A, optics=plan.optics, x_tilt_deg=x_tilt, tilt_deg=tilts,
        axis_deg=np.full(n, plan.axis_deg),
        shift_A=plan.shift_sd_A * rng.standard_normal((n, 2)),
        pre_dose_e_per_A2=pre_doses(order, plan.dose_per_tilt_e_per_A2),
        defocus_u_A=defocus + 0.5 * plan.astigmatism_A,
        defocus_v_A=defocus - 0.5 * plan.astigmatism_A,
        astig_deg=np.full(n, plan.astig_deg), phase_shift_deg=np.full(n, plan.phase_shift_deg),
        scale=tilt_scales(x_tilt, tilts, plan.scale_model, thickness_A, plan.mean_free_path_A),
        b_factor_A2=np.zeros(n), hand=plan.hand, tomogram_size_px=plan.tomogram_size_px,
        image_size_px=plan.image_size_px)


def binned_series(geometry: SeriesGeometry, binning: int) -> SeriesGeometry:
    """The same series with larger pixels; sizes are rounded up to even numbers.

    Everything else is in Å from the tomogram centre and from the image's centre pixel, and
    stays.
    """
    def even(size: int) -> int:
        return 2 * int(np.ceil(size / (2 * binning)))

    x, y, z = map(even, geometry.tomogram_size_px)
    width, height = map(even, geometry.image_size_px)
    return replace(geometry, pixel_A=geometry.pixel_A * binning, tomogram_size_px=(x, y, z),
                   image_size_px=(width, height))


def cropped_series(geometry: SeriesGeometry, centre_A: Floats, tomogram_size_px: tuple[int, ...],
                   image_size_px: tuple[int, int]) -> SeriesGeometry:
    """The part of a series about `centre_A`, which becomes the new tomogram centre.

    Each image is cut at the whole pixel nearest to where the new centre lands; what is left is
    its new shift. The defocus becomes that at the depth of the new centre.
    """
    shift_A = np.empty_like(geometry.shift_A)
    added_A = np.empty(geometry.n_tilts)
    for i in range(geometry.n_tilts):
        image_A = tilt_matrix(geometry.x_tilt_deg[i], geometry.tilt_deg[i],
                              geometry.axis_deg[i]) @ centre_A
        at_A = image_A[:2] + geometry.shift_A[i]
        shift_A[i] = at_A - geometry.pixel_A * np.round(at_A / geometry.pixel_A)
        added_A[i] = geometry.depth_defocus_A(image_A[2])
    x, y, z = (int(size) for size in tomogram_size_px)
    return replace(geometry, shift_A=shift_A, defocus_u_A=geometry.defocus_u_A + added_A,
                   defocus_v_A=geometry.defocus_v_A + added_A, tomogram_size_px=(x, y, z),
                   image_size_px=image_size_px)


def crop_about(geometry: SeriesGeometry, xyz_A: Floats, margin_A: float
               ) -> tuple[SeriesGeometry, Floats]:
    """Crop a series to the particles at `xyz_A` (n, 3) with a margin; the new origin [Å].

    Images are wide enough for every particle in every tilt, but no wider than they were.
    """
    low, high = xyz_A.min(axis=0), xyz_A.max(axis=0)
    centre_A = 0.5 * (low + high)
    half_A = np.full(2, 0.0)
    for view in geometry.views():
        image_A = (xyz_A - centre_A) @ view.M.T
        half_A = np.maximum(half_A, np.abs(image_A[:, :2]).max(axis=0))
    size = 2 * np.ceil((half_A + margin_A) / geometry.pixel_A).astype(int)
    width, height = np.minimum(size, geometry.image_size_px)
    depth = 2 * np.ceil((0.5 * (high - low) + margin_A) / geometry.pixel_A).astype(int)
    return cropped_series(geometry, centre_A, tuple(depth), (int(width), int(height))), centre_A


def nearest_particles(xyz_A: Floats, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows (sorted) of the n particles nearest to one that is drawn at random, itself included."""
    if n >= len(xyz_A):
        return np.arange(len(xyz_A))
    first = xyz_A[rng.integers(len(xyz_A))]
    return np.sort(np.argsort(np.linalg.norm(xyz_A - first, axis=1), kind="stable")[:n])


def perturbed_poses(R_p2t: Floats, xyz_A: Floats, angle_deg: float, shift_A: float,
                    rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Poses turned and moved by vectors that are uniform in balls of these radii.

    Rotation vectors act in tomogram axes, R' = R(vector) R.
    """
    n = len(R_p2t)

    def ball() -> tuple[Floats, Floats]:
        direction = rng.standard_normal((n, 3))
        return direction / np.linalg.norm(direction, axis=1, keepdims=True), np.cbrt(rng.random(n))

    axis, share = ball()
    turned = rotation_about(axis, angle_deg * share) @ R_p2t
    direction, share = ball()
    return turned, xyz_A + shift_A * share[:, None] * direction
