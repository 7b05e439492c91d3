"""The image of one tilt: every object seen through its own CTF, added where it projects to.

For an object at p (Å) with axes R in a tilt with rotation M and shift h:

    image transform = - scale * damping(|s|) * mtf(|s|) * transfer(s; defocus of its depth)
                      * view(M R) * exp(-2 pi i s.(M p + motion + h - whole pixel))

computed in a patch wide enough for the delocalised contrast, then added at the whole pixel.
The minus makes protein dark, as on a detector.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from sta_mpi.simulate.phantom import ComplexImages, Phantom
from sta_mpi.simulate.tilts import Floats, SeriesGeometry, View
from sta_mpi.simulate.wave import (
    delocalisation_A,
    detector_mtf,
    dose_damping,
    phase_per_defocus,
    transfer_phase,
)

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Objects:
    """Copies of one phantom in a tomogram.

    Parameters
    ----------
    phantom : Phantom
    R_p2t : (n, 3, 3) float64            phantom axes to tomogram axes
    xyz_A : (n, 3) float64               from the tomogram centre
    motion_A : (n, t, 3) float64 or None displacement at each tilt, tomogram axes
    """

    phantom: Phantom
    R_p2t: Floats
    xyz_A: Floats
    motion_A: Floats | None = None

    def __len__(self) -> int:
        return len(self.xyz_A)

    def position_at_A(self, i_tilt: int) -> Floats:
        """(n, 3) positions at a tilt [Å]."""
        return self.xyz_A if self.motion_A is None else self.xyz_A + self.motion_A[:, i_tilt]


def patch_size_px(phantom: Phantom, geometry: SeriesGeometry, largest_px: int = 2048) -> int:
    """Edge of the patches that hold a phantom's delocalised image, a good size for an FFT.

    The phantom's diameter, and on either side the farthest that the largest defocus spreads
    any frequency up to Nyquist, so that the fastest oscillations of the CTF do not wrap around.
    """
    half_depth_A = 0.5 * geometry.pixel_A * max(geometry.tomogram_size_px)
    defocus_A = float(max(np.abs(geometry.defocus_u_A).max(), np.abs(geometry.defocus_v_A).max()))
    frequencies = np.linspace(0.0, 0.5 / geometry.pixel_A, 64)
    spread_A = float(delocalisation_A(frequencies, defocus_A + half_depth_A,
                                      geometry.optics.voltage_kV, geometry.optics.cs_mm).max())
    wanted = int(np.ceil(2.0 * (phantom.radius_A + spread_A) / geometry.pixel_A)) + 4
    size = next_fast_len(min(wanted, largest_px), real=True)
    return size + size % 2


@dataclass(frozen=True)
class PatchOptics:
    """What all patches of a tilt share, for n × n patches (n, n//2+1).

    float32: phases reach some hundred radians, known to 1e-5 then, and sines are four times as
    fast as those of float64.

    Parameters
    ----------
    damping : float32             scale × dose × MTF of the tilt
    phase : float32               `wave.transfer_phase` at the tilt's own defocus [rad]
    phase_per_A : float32         growth of the phase with the defocus [rad/Å]
    """

    damping: Image
    phase: Image
    phase_per_A: Image

    @classmethod
    def of_tilt(cls, n: int, geometry: SeriesGeometry, view: View,
                mtf_at_nyquist: float = 1.0) -> "PatchOptics":
        """Damping and wave aberration of a tilt."""
        sx: Floats = np.asarray(np.fft.rfftfreq(n, geometry.pixel_A)[None, :], np.float64)
        sy: Floats = np.asarray(np.fft.fftfreq(n, geometry.pixel_A)[:, None], np.float64)
        s, optics = np.hypot(sx, sy), geometry.optics
        damping = view.scale * dose_damping(s, view.pre_dose_e_per_A2,
                                            geometry.b_factor_per_dose_A2, view.b_factor_A2)
        damping = damping * detector_mtf(s * geometry.pixel_A, mtf_at_nyquist)
        phase = transfer_phase(sx, sy, view.defocus_u_A, view.defocus_v_A, view.astig_deg,
                               voltage_kV=optics.voltage_kV, cs_mm=optics.cs_mm,
                               amp_contrast=optics.amp_contrast,
                               phase_shift_deg=view.phase_shift_deg)
        growth = phase_per_defocus(sx, sy, optics.voltage_kV)
        return cls(*(a.astype(np.float32) for a in (damping, phase, growth)))

    def factor(self, defocus_offset_A: float) -> Image:
        """CTF × damping of an object whose depth adds `defocus_offset_A`."""
        phase = self.phase_per_A * np.float32(defocus_offset_A)
        phase += self.phase
        np.sin(phase, out=phase)
        phase *= self.damping
        return phase


def render_tilt(objects: list[Objects], geometry: SeriesGeometry, i_tilt: int,
                mtf_at_nyquist: float = 1.0) -> Image:
    """Noise-free image (height, width) of a tilt, protein dark, mean about 0."""
    view = geometry.view(i_tilt)
    width, height = geometry.image_size_px
    image = np.zeros((height, width), np.float32)
    for group in objects:
        n = patch_size_px(group.phantom, geometry)
        shared = PatchOptics.of_tilt(n, geometry, view, mtf_at_nyquist)
        at_px, depth_A = geometry.position_px(view, group.position_at_A(i_tilt))
        offset_A = geometry.depth_defocus_A(depth_A)
        for i in np.flatnonzero(_touches(at_px, n, geometry.image_size_px)):
            seen = group.phantom.views_rft((view.M @ group.R_p2t[i])[None], n, geometry.pixel_A)[0]
            _add_patch(image, seen, shared.factor(offset_A[i]), at_px[i])
    return image


def _touches(at_px: Floats, n: int, size_px: tuple[int, int]) -> NDArray[np.bool_]:
    """Which patches of edge n overlap an image."""
    return np.all((at_px > -n // 2 - 1) & (at_px < np.array(size_px) + n // 2 + 1), axis=-1)


def _add_patch(image: Image, seen: ComplexImages, factor: Image, at_px: Floats) -> None:
    """Subtract (dark protein) a patch whose origin is to land at `at_px`, clipped to the image."""
    n = len(seen)
    whole = np.round(at_px).astype(int)
    rest = at_px - whole
    phase_x = np.exp(-2j * np.pi * np.arange(n // 2 + 1) / n * rest[0]).astype(np.complex64)
    phase_y = np.exp(-2j * np.pi * np.fft.fftfreq(n) * rest[1]).astype(np.complex64)
    spectrum = seen * factor
    spectrum *= phase_y[:, None]
    spectrum *= phase_x
    patch = np.fft.fftshift(irfft2(spectrum, s=(n, n), norm="ortho"))
    x0, y0 = whole - n // 2
    height, width = image.shape
    xs, ys = slice(max(0, x0), min(width, x0 + n)), slice(max(0, y0), min(height, y0 + n))
    if xs.start >= xs.stop or ys.start >= ys.stop:
        return
    image[ys, xs] -= patch[ys.start - y0:ys.stop - y0, xs.start - x0:xs.stop - x0]


def signal_power(phantom: Phantom, geometry: SeriesGeometry, orientations: Floats,
                 mtf_at_nyquist: float = 1.0) -> float:
    """Mean squared contrast of a particle over its disc in the best tilt.

    The disc has the phantom's radius; the best tilt is the one of largest scale and, among
    those, lowest dose; the mean is over `orientations` (m, 3, 3). The signal-to-noise ratio
    of the simulator is this power over the noise variance per pixel (white part).
    """
    best = int(np.lexsort((geometry.pre_dose_e_per_A2, -geometry.scale))[0])
    view = geometry.view(best)
    n = patch_size_px(phantom, geometry)
    shared = PatchOptics.of_tilt(n, geometry, view, mtf_at_nyquist)
    factor = shared.factor(0.0)
    axis = np.fft.fftfreq(n, 1.0 / n) * geometry.pixel_A
    disc = np.hypot(axis[:, None], axis[None, :]) <= phantom.radius_A
    powers = []
    for turn in orientations:
        seen = phantom.views_rft((view.M @ turn)[None], n, geometry.pixel_A)[0]
        patch = irfft2(seen * factor, s=(n, n), norm="ortho")
        powers.append(float(np.var(patch[disc], dtype=np.float64)))
    return float(np.mean(powers))


def movie_frames(signal: Image, drift_px: Floats, noise: list[Image]) -> Image:
    """Frames (f, height, width) of one tilt: drifted signal, a share of the dose each, and noise.

    Parameters
    ----------
    signal : (height, width) float32   noise-free image of the whole exposure
    drift_px : (f, 2) float64          displacement of each frame, x then y
    noise : list of f images           noise of each frame
    """
    height, width = signal.shape
    spectrum = rfft2(signal / len(drift_px))
    frames = np.empty((len(drift_px), height, width), np.float32)
    for i, moved in enumerate(drift_px):
        frames[i] = irfft2(spectrum * _shift_phases(signal.shape, moved), s=signal.shape)
        frames[i] += noise[i]
    return frames


def aligned_sum(frames: Image, drift_px: Floats) -> Image:
    """Sum of movie frames after undoing their drift: what perfect motion correction gives."""
    shape = (frames.shape[1], frames.shape[2])
    total = np.zeros((shape[0], shape[1] // 2 + 1), np.complex128)
    for frame, moved in zip(frames, drift_px, strict=True):
        total += rfft2(frame.astype(np.float64)) * _shift_phases(shape, -moved)
    return np.asarray(irfft2(total, s=shape), np.float32)


def _shift_phases(shape: tuple[int, ...], moved_px: Floats) -> NDArray[np.complex128]:
    """Factors that move an image by `moved_px` (x, y), periodic at the edges."""
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    return np.asarray(np.exp(-2j * np.pi * (kx * moved_px[0] + ky * moved_px[1])))
