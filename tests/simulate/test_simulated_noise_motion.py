"""Noise, motion, frames and placement of the simulator."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from sta_mpi.errors import InputError
from sta_mpi.simulate.image import aligned_sum, movie_frames
from sta_mpi.simulate.motion import frame_drift, particle_motion
from sta_mpi.simulate.noise import noise_image, noise_power, stream
from sta_mpi.simulate.placement import (
    random_orientations,
    random_positions,
    rotation_about,
    sphere_lattice,
)
from sta_mpi.simulate.wave import detector_mtf


def radial_power(image):
    shape = image.shape
    power = np.abs(np.fft.fft2(image, norm="ortho")) ** 2
    s = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :])
    ring = np.round(s * 40).astype(int)
    return (np.bincount(ring.ravel(), power.ravel())[1:20]
            / np.bincount(ring.ravel())[1:20], np.arange(1, 20) / 40)


@pytest.mark.parametrize("colour", [0.0, 8.0])
def test_noise_has_the_spectrum_that_was_asked_for(colour):
    image = noise_image((512, 400), 3.0, stream(1, "noise"), colour)
    power, s = radial_power(image)
    # rings of more than 300 independent values: 3 standard errors of an exponential
    assert power == pytest.approx(noise_power(s, 3.0, colour), rel=0.2)
    assert np.median(power / noise_power(s, 3.0, colour)) == pytest.approx(1.0, abs=0.03)


def test_stream_depends_on_its_labels_only():
    def draw(*labels):
        return stream(*labels).standard_normal(5)

    assert np.array_equal(draw(1, "TS_1", 3), draw(1, "TS_1", 3))
    assert not np.array_equal(draw(1, "TS_1", 3), draw(1, "TS_1", 4))
    assert not np.array_equal(draw(1, "TS_1", 3), draw(2, "TS_1", 3))
    assert abs(np.corrcoef(stream(1, "a").standard_normal(10000),
                           stream(1, "b").standard_normal(10000))[0, 1]) < 0.04


def test_mtf_has_its_value_at_nyquist():
    assert detector_mtf(np.array([0.0, 0.5]), 0.6) == pytest.approx([1.0, 0.6])


def test_motion_is_zero_at_the_first_exposure_and_grows_like_a_random_walk():
    xyz = random_positions(300, np.array([4000.0, 4000, 1000]), 0.0, stream(3, "xyz"))
    dose = np.array([20.0, 0.0, 10.0, 30.0])
    walks = np.array([particle_motion(xyz, dose, 2.0, 800.0, stream(3, i)) for i in range(40)])
    assert np.all(walks[:, :, 1] == 0)
    spread = np.sqrt(np.mean(walks**2, axis=(0, 1, 3)))
    assert spread == pytest.approx([2 * np.sqrt(2), 0, 2.0, 2 * np.sqrt(3)], rel=0.15)


def test_neighbours_move_alike_and_distant_particles_do_not():
    xyz = np.array([[0, 0, 0], [50.0, 0, 0], [5000.0, 0, 0]])
    walks = np.array([particle_motion(xyz, np.array([0.0, 1.0]), 1.0, 500.0, stream(5, i))[:, 1]
                      for i in range(400)])
    near = np.corrcoef(walks[:, 0].ravel(), walks[:, 1].ravel())[0, 1]
    far = np.corrcoef(walks[:, 0].ravel(), walks[:, 2].ravel())[0, 1]
    assert near > 0.97
    assert abs(far) < 0.15


def test_sum_of_aligned_frames_is_the_signal_where_there_is_no_noise():
    y, x = np.mgrid[:64, :80]
    signal = np.exp(-((x - 40.0) ** 2 + (y - 30) ** 2) / 20).astype(np.float32)
    drift = frame_drift(6, 3.0, stream(2, "drift"))
    frames = movie_frames(signal, drift, [np.zeros((64, 80), np.float32)] * 6)
    assert np.abs(aligned_sum(frames, drift) - signal).max() < 1e-5
    plain = frames.sum(axis=0)
    assert np.abs(plain - signal).max() > 0.03
    assert np.linalg.norm(drift[0] - drift[-1]) == pytest.approx(3.0, abs=0.5)


def test_frame_moves_in_the_direction_of_its_drift():
    signal = np.zeros((32, 48), np.float32)
    signal[10, 20] = 2.0
    drift = np.array([[3.0, -2.0], [-3.0, 2.0]])
    frames = movie_frames(signal, drift, [np.zeros((32, 48), np.float32)] * 2)
    assert np.unravel_index(frames[0].argmax(), frames[0].shape) == (8, 23)
    assert frames[0].max() == pytest.approx(1.0, abs=1e-5)


def test_random_positions_keep_their_distance_and_the_box():
    extent = np.array([2000.0, 1500.0, 500.0])
    taken = np.array([[0.0, 0, 0]])
    xyz = random_positions(150, extent, 100.0, stream(1, "p"), taken, 200.0)
    assert len(xyz) == 150
    assert cKDTree(xyz).query(xyz, k=2)[0][:, 1].min() >= 100.0
    assert np.linalg.norm(xyz, axis=1).min() >= 200.0
    assert np.all(np.abs(xyz) <= extent / 2)


def test_too_many_particles_are_refused_with_the_numbers():
    with pytest.raises(InputError, match=r"500 particles at least 300 Å apart do not fit"):
        random_positions(500, np.array([1000.0, 1000, 1000]), 300.0, stream(1, "p"))


@pytest.mark.parametrize("spacing", [60.0, 75.0])
def test_sphere_lattice_has_its_spacing_and_six_neighbours(spacing):
    xyz, R = sphere_lattice(500.0, spacing)
    distances = cKDTree(xyz).query(xyz, k=7)[0]
    assert np.median(distances[:, 1:6]) == pytest.approx(spacing, rel=0.1)
    hexagonal = distances[:, 6] < 1.35 * distances[:, 1:6].mean(axis=1)
    assert np.count_nonzero(~hexagonal) == 12
    assert np.abs(np.linalg.norm(xyz, axis=1) - 500.0).max() < 1e-9
    assert np.abs(R[:, :, 2] - xyz / 500.0).max() < 1e-12
    assert np.abs(np.linalg.det(R) - 1).max() < 1e-12


def test_lattice_x_axis_points_to_a_neighbour():
    xyz, R = sphere_lattice(500.0, 60.0)
    near = xyz[cKDTree(xyz).query(xyz, k=6)[1][:, 1:]] - xyz[:, None]
    near /= np.linalg.norm(near, axis=2, keepdims=True)
    assert np.einsum("nki,ni->nk", near, R[:, :, 0]).max(axis=1).min() > 0.99


def test_random_orientations_are_rotations_without_a_preferred_axis():
    R = random_orientations(4000, stream(1, "R"))
    assert np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max() < 1e-12
    assert np.linalg.det(R) == pytest.approx(np.ones(4000))
    assert np.abs(R.mean(axis=0)).max() < 0.04


def test_rotation_about_turns_by_its_angle_right_handed():
    z = np.array([[0.0, 0, 1]])
    assert rotation_about(z, np.array([90.0]))[0] @ [1, 0, 0] == pytest.approx([0, 1, 0])
