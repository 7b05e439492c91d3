"""Half maps from reduced Fourier sums, shared by average and align.

Every rank holds a slab of the sums; division and inversion are done on slabs. The finished
maps (unpadded float32) go to rank 0, which takes the FSC and writes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.reconstruct import (
    divide_plane,
    inverse_tau2_from_fsc,
    inverse_tau2_of_half,
    plane_radius,
    plane_shell_sums,
    shell_mean,
    stretch_shells,
)
from sta_mpi.align.symmetrise import Helix, symmetrise_sums
from sta_mpi.data import HalfMaps, Volume
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_fsc import Postprocess, write_postprocess
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.parallel.fourier import DistributedFft
from sta_mpi.parallel.job import SumSpec
from sta_mpi.parallel.reduce import ordered_plane_sum
from sta_mpi.signal.fsc import FscResult, corrected_fsc, unavailable_fsc
from sta_mpi.signal.masks import soft_sphere

Floats = NDArray[np.float64]

SAMPLE_BOUND = 2.0**20
"""No weighted sample |a X| / sigma^2 of images scaled to their noise comes near this."""


@dataclass(frozen=True)
class MapSizes:
    """Sizes of the maps of a job and of the sums they are made from.

    Parameters
    ----------
    box_px : int      edge of the maps
    grid_px : int     edge of the padded sums
    voxel_A : float
    """

    box_px: int
    grid_px: int
    voxel_A: float

    @property
    def sum_shape(self) -> tuple[int, int, int, int]:
        """Shape of one half's sums: re, im, weight, multiplicity."""
        return (self.grid_px, self.grid_px, self.grid_px // 2 + 1, 4)

    @property
    def pad(self) -> float:
        """Padding of the sums."""
        return self.grid_px / self.box_px


def padded_grid_px(box_px: int, pad: float) -> int:
    """Even edge of the padded sums."""
    return max(box_px, 2 * round(box_px * pad / 2))


def half_name(half: int, i_class: int = 0, n_classes: int = 1) -> str:
    """Name of a sum: half1, or half1_class2 where there are several classes."""
    return f"half{half}" if n_classes == 1 else f"half{half}_class{i_class + 1}"


def half_sum_specs(sizes: MapSizes, n_samples: int, n_classes: int = 1) -> dict[str, SumSpec]:
    """Exact sums of both halves of every class for `n_samples` slices in all."""
    bound = SAMPLE_BOUND * 4.0 * max(n_samples, 1)
    return {half_name(h, k, n_classes): SumSpec(sizes.sum_shape, bound)
            for k in range(n_classes) for h in (1, 2)}


@dataclass(frozen=True)
class Maps:
    """What a reconstruction gives on rank 0.

    Parameters
    ----------
    halves : HalfMaps     divided by their own weights alone, unfiltered
    merged : Volume       Wiener-filtered with the FSC-derived signal-to-noise ratio
    fsc : FscResult       NaN where a half-set is empty
    mask : (n, n, n)      soft sphere of the masked FSC
    weights : (3, n//2+1) mean weight a shell of half 1, half 2, both
    references : (2, n, n, n) or None   half maps divided with the prior of their FSC, joined at
                          low resolution: for the next round of a refinement, not for an FSC
    """

    halves: HalfMaps
    merged: Volume
    fsc: FscResult
    mask: NDArray[np.float32]
    weights: Floats
    references: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class MapOptions:
    """What a reconstruction does beyond inverting sums.

    Parameters
    ----------
    symmetry : str
    mask : (n, n, n) float32          of the masked FSC
    seed : int                        of its phase randomisation
    join_A : float or None            make references, joined at and below this resolution
    helix : Helix or None             helical symmetry
    """

    symmetry: str
    mask: NDArray[np.float32]
    seed: int
    join_A: float | None = None
    helix: Helix | None = None


def reconstruct(reduced: Any, runtime: Any, sizes: MapSizes, options: MapOptions,
                gain: Callable[[int], float], of_class: tuple[int, int] = (0, 1)
                ) -> Maps | None:
    """Turn the sums of both halves into maps; collective, maps on rank 0 alone.

    `gain(half)` is what the half-set's images were multiplied by; it is undone here.
    `of_class` is (class, number of classes). Where a half-set is empty its map is 0, there is
    no FSC (NaN), and the merged map is not filtered.
    """
    sums = [HalfSums(reduced, half_name(h, *of_class), sizes, options, runtime, gain(h))
            for h in (1, 2)]
    both = sums[0].add(sums[1])
    is_whole = all(s.mean_den.any() for s in sums)
    fft = DistributedFft(runtime, sizes.grid_px)
    half1, half2 = (_invert(s.divide(None), sizes, fft, runtime) for s in sums)
    fsc: FscResult | None = None
    if half1 is not None and half2 is not None:
        fsc = unavailable_fsc(sizes.box_px, sizes.voxel_A) if not is_whole else corrected_fsc(
            half1, half2, options.mask, sizes.voxel_A, np.random.default_rng(options.seed))
    curve = runtime.bcast(None if fsc is None else fsc.corrected)
    padded = stretch_shells(curve, sizes.grid_px // 2 + 1)
    merged = _invert(both.divide(inverse_tau2_from_fsc(both.mean_den, padded) if is_whole
                                 else None), sizes, fft, runtime)
    weights = np.stack([stretch_shells(s.mean_den, sizes.box_px // 2 + 1)
                        for s in (*sums, both)])
    references: list[NDArray[np.float32] | None] = []
    if options.join_A is not None:
        resolution_A = runtime.bcast(None if fsc is None else fsc.resolution_A())
        joined = max(options.join_A, np.nan_to_num(resolution_A, nan=np.inf))
        for half in sums:
            prior = inverse_tau2_of_half(half.mean_den, padded) if is_whole else None
            half.join(both, sizes.grid_px * sizes.voxel_A / joined)
            references.append(_invert(half.divide(prior), sizes, fft, runtime))
    if half1 is None or half2 is None or merged is None or fsc is None:
        return None
    voxel_A = sizes.voxel_A
    halves = HalfMaps(Volume(half1, voxel_A), Volume(half2, voxel_A))
    return Maps(halves, Volume(merged, voxel_A), fsc, options.mask, weights,
                np.stack([r for r in references if r is not None]) if references else None)


def map_options(parameters: Any, sizes: MapSizes, mask: NDArray[np.float32] | None = None,
                join_A: float | None = None) -> MapOptions:
    """Options of a job from its parameters; the FSC mask is a soft sphere unless given."""
    if mask is None:
        mask = fsc_mask(sizes, parameters.mask_diameter_A)
    return MapOptions(parameters.symmetry, mask, parameters.seed, join_A)


def fsc_mask(sizes: MapSizes, diameter_A: float | None) -> NDArray[np.float32]:
    """Soft sphere for the masked FSC; 0.8 of the box without a diameter."""
    radius = 0.4 * sizes.box_px if diameter_A is None else diameter_A / (2 * sizes.voxel_A)
    edge = max(3.0, 0.05 * sizes.box_px)
    return soft_sphere(sizes.box_px, min(radius, sizes.box_px / 2 - edge), edge)


class HalfSums:
    """This rank's planes of one half's symmetrised sums."""

    def __init__(self, reduced: Any, name: str, sizes: MapSizes, options: MapOptions,
                 runtime: Any, gain: float) -> None:
        self.z0, self.z1, planes = _own_planes(reduced, name, options, runtime)
        # data were X / sigma^2 with both on the scale of gain: undo it in each
        self.num = np.empty(planes.shape[:-1], np.complex128)
        np.multiply(planes[..., 0], gain, out=self.num.real)
        np.multiply(planes[..., 1], gain, out=self.num.imag)
        self.den = planes[..., 2] * gain**2
        self._set(sizes, runtime)

    def _set(self, sizes: MapSizes, runtime: Any) -> None:
        self.sizes, self.runtime = sizes, runtime
        n = sizes.grid_px
        own = [plane_shell_sums(self.den[z - self.z0], n, z) for z in range(self.z0, self.z1)]
        shells = np.array(own).reshape(-1, 2, n // 2 + 1)
        self.mean_den = shell_mean(ordered_plane_sum(runtime, shells))

    def add(self, other: "HalfSums") -> "HalfSums":
        """The sums of both halves."""
        both = object.__new__(HalfSums)
        both.z0, both.z1 = self.z0, self.z1
        both.num, both.den = self.num + other.num, self.den + other.den
        both._set(self.sizes, self.runtime)
        return both

    def join(self, both: "HalfSums", r_join: float) -> None:
        """Take the mean of both halves within a radius [index of the sums], for good."""
        for z in range(self.z0, self.z1):
            i, inside = z - self.z0, plane_radius(self.sizes.grid_px, z) <= r_join
            self.num[i][inside] = both.num[i][inside] / 2
            self.den[i][inside] = both.den[i][inside] / 2
        self._set(self.sizes, self.runtime)

    def divide(self, inverse_tau2: Floats | None) -> NDArray[np.complex64]:
        """This rank's planes of the map's transform."""
        n = self.sizes.grid_px
        out = np.empty((self.z1 - self.z0, n, n // 2 + 1), np.complex64)
        for z in range(self.z0, self.z1):
            i = z - self.z0
            out[i] = divide_plane(self.num[i], self.den[i], n, z, self.mean_den, inverse_tau2)
        return out


def _own_planes(reduced: Any, name: str, options: MapOptions, runtime: Any
                ) -> tuple[int, int, Floats]:
    """(z0, z1, symmetrised planes z0 .. z1-1) of a sum, which is let go; collective."""
    z0, z1, planes = reduced.slab(name)
    if options.symmetry.upper() == "C1" and options.helix is None:
        reduced.release(name)
        return z0, z1, planes
    full = reduced.shared(name, np.float32)    # turned in single precision
    del planes
    reduced.release(name)
    turned = symmetrise_sums(full, options.symmetry, slice(z0, z1), options.helix)
    runtime.barrier()
    runtime.release_shared(full)
    return z0, z1, turned


def _invert(slab: NDArray[np.complex64], sizes: MapSizes, fft: DistributedFft, runtime: Any
            ) -> NDArray[np.float32] | None:
    """Inverse transform of slabs; the cropped, gridding-corrected map on rank 0."""
    whole = runtime.gather_rows(fft.inverse(slab, kept_px=sizes.box_px))
    return None if whole is None else correct_gridding(whole, sizes.pad)


def write_maps(folder: Path, maps: Maps, prefix: str = "") -> dict[str, str]:
    """Write half maps, merged map, mask and FSC; returns name -> file name."""
    voxel_A = maps.merged.voxel_A
    volumes = {"half1": maps.halves.half1.data, "half2": maps.halves.half2.data,
               "merged": maps.merged.data, "mask_fsc": maps.mask}
    outputs = {}
    for name, data in volumes.items():
        outputs[name] = f"{prefix}{name}.mrc"
        write_mrc(folder / outputs[name], data, voxel_A)
    outputs["fsc"] = f"{prefix}fsc.star"
    write_fsc_table(folder / outputs["fsc"], maps.fsc)
    return outputs

def write_fsc_table(path: Path, fsc: FscResult) -> None:
    """All curves in RELION's table `fsc`."""
    shells = np.arange(len(fsc.corrected)) / (fsc.box_px * fsc.voxel_A)
    curves = {"corrected": fsc.corrected, "unmasked": fsc.unmasked, "masked": fsc.masked,
              "randomised": fsc.randomised}
    write_postprocess(path, Postprocess(shells, curves, {"final_resolution_A": fsc.resolution_A()}))
