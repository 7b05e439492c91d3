"""Particles whose images are known by formula: blobs on tilts, displaced by phases, in noise."""

import numpy as np

from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.reference import prepare_reference
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.tilts import tilt_matrix

BOX, R_MAX = 32, 12.0
PLANS = FftPlans(effort="estimate")
CHIRAL = chiral_phantom(9.0, 1.3)
TILTS = np.array([tilt_matrix(0.0, angle, 85.0) for angle in range(-60, 61, 8)])
LAYOUT = make_layout(BOX, [R_MAX / 4, R_MAX / 2, R_MAX])


def particle(R_p2t, shift_px, sd, rng, phantom=CHIRAL):
    """Samples of a particle with white noise of standard deviation sd a pixel."""
    k_y, k_x = np.fft.fftfreq(BOX)[:, None], np.fft.rfftfreq(BOX)
    xy = (TILTS @ shift_px)[:, :2, None, None]
    images = phantom.views_rft(TILTS @ R_p2t, BOX, 1.0) * np.exp(
        -2j * np.pi * (xy[:, 0] * k_x + xy[:, 1] * k_y))
    noise = np.fft.rfft2(rng.normal(scale=sd, size=(len(TILTS), BOX, BOX)), norm="ortho")
    weight = np.full(images.shape, 1 / sd**2, np.float32)
    return TiltSamples(((images + noise) / sd**2).astype(np.complex64), weight, TILTS,
                       np.arange(len(TILTS)))


def reference(phantom=CHIRAL):
    """The true map as a reference of the band."""
    return prepare_reference(phantom.truth_map(BOX, 1.0), None, R_MAX, PLANS)


def problem(samples, ref):
    """The particle as a function of its pose."""
    packed = pack_samples(samples.data_rft, samples.weight_rft, LAYOUT)
    return PoseProblem(ref.volume, packed, LAYOUT, samples.rotation, BOX)
