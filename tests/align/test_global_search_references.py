"""Several references in one pass, lists made in tiles, memory, and arrays of another library."""

import itertools
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from sta_mpi.align.global_search import (
    make_voxel_band,
    merge_band,
    rotate_reference,
    search_batch,
    search_bytes,
    shift_phases_of_band,
)
from sta_mpi.align.observation import BoxSamples, TiltSamples
from sta_mpi.align.reference import prepare_reference
from sta_mpi.align.rotated_reference import (
    RotatedReference,
    TiledReference,
    rotate_within,
    rotated_bytes,
)
from sta_mpi.align.rotation_list import PoseWindow, make_search_list, normal_rotations
from sta_mpi.align.voxel_band import MergedBand
from sta_mpi.errors import InputError
from sta_mpi.geometry.rotations import angular_distance_deg, random_rotations
from sta_mpi.geometry.sampling import healpix_rotations, shift_grid
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.kernels.insert import insert_slices
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom, ribosome_phantom
from sta_mpi.simulate.tilts import tilt_matrix

BOX, VOXEL_A = 32, 5.0
PLANS = FftPlans(effort="estimate")
BAND = make_voxel_band(BOX, 5.0)
SHIFTS = shift_grid(2.0, 2.0)
PHASES = shift_phases_of_band(BAND, SHIFTS)
TILTS = np.array([tilt_matrix(0.0, angle, 85.0) for angle in range(-60, 61, 10)])
OBJECT = chiral_phantom(50.0, 5.0)
ROTATIONS = healpix_rotations(1)


def reference_of(volume):
    return prepare_reference(np.ascontiguousarray(volume, np.float32), None, 8.0, PLANS)


@pytest.fixture(scope="module")
def references():
    """The object, its mirror image, and another object."""
    own = OBJECT.truth_map(BOX, VOXEL_A)
    mirrored = np.roll(own[::-1], 1, axis=0)  # keeps voxel n // 2 in its place
    return [reference_of(v) for v in (own, mirrored, ribosome_phantom().truth_map(BOX, 10.0))]


def observe(R, shift, sd, rng):
    views = OBJECT.views_rft(TILTS @ R, BOX, VOXEL_A)
    k_y, k_x = np.fft.fftfreq(BOX)[:, None], np.fft.rfftfreq(BOX)
    xy = (TILTS @ shift)[:, :2, None, None]
    views = views * np.exp(-2j * np.pi * (xy[:, 0] * k_x + xy[:, 1] * k_y))
    noise = rng.normal(scale=sd / np.sqrt(2), size=(2, *views.shape))
    data = (views + noise[0] + 1j * noise[1]) / sd**2
    return TiltSamples(data.astype(np.complex64), np.full(data.shape, 1 / sd**2, np.float32),
                       TILTS, np.arange(len(TILTS)))


@pytest.fixture(scope="module")
def particles():
    rng = np.random.default_rng(2)
    truth = random_rotations(12, rng)
    samples = [observe(R, rng.uniform(-1, 1, 3), 1.0, rng) for R in truth]
    return truth, [merge_band(s, BAND) for s in samples]


def test_one_pass_over_several_references_equals_one_pass_each(references, particles):
    together = search_batch(particles[1], rotate_reference(references, BAND, ROTATIONS), PHASES,
                            3, 30.0)
    for g, reference in enumerate(references):
        alone = search_batch(particles[1], rotate_reference(reference, BAND, ROTATIONS), PHASES,
                             3, 30.0)
        for a, b in zip(alone, together, strict=True):
            own = b.of_reference(g)
            np.testing.assert_array_equal(a.i_rotation, own.i_rotation)
            np.testing.assert_array_equal(a.loglik, own.loglik)
    for candidates in together:
        assert len(candidates.loglik) == 9
        assert (np.diff(candidates.loglik) <= 0).all()


def test_the_right_reference_beats_its_mirror_image_and_a_decoy(references):
    # at the true poses: a grid alone, off by 7 degrees and 1 px, may cost more than what tells
    # the hands apart in a low band
    rng = np.random.default_rng(9)
    truth = random_rotations(8, rng)
    merged = [merge_band(observe(R, np.zeros(3), 1.0, rng), BAND) for R in truth]
    rotated = rotate_reference(references, BAND, np.concatenate([truth, healpix_rotations(2)]))
    found = search_batch(merged, rotated, PHASES, 1, 30.0)
    assert [c.i_reference[0] for c in found] == [0] * len(found)
    assert [c.i_rotation[0] for c in found] == list(range(len(found)))


def test_tiles_change_nothing_whatever_their_size(references, particles):
    whole = rotate_reference(references[:2], BAND, ROTATIONS)
    first = search_batch(particles[1], whole, PHASES, 4, 30.0)
    tiled = TiledReference(references[:2], BAND, ROTATIONS)
    for source, tile in ((whole, 50), (whole, 7), (tiled, 384), (tiled, 97)):
        for a, b in zip(first, search_batch(particles[1], source, PHASES, 4, 30.0, tile=tile),
                        strict=True):
            np.testing.assert_array_equal(a.i_rotation, b.i_rotation)
            np.testing.assert_array_equal(a.i_shift, b.i_shift)
            np.testing.assert_allclose(a.loglik, b.loglik, rtol=1e-5)


def test_a_particle_does_not_depend_on_its_batch(references, particles):
    rotated = rotate_reference(references[0], BAND, ROTATIONS)
    together = search_batch(particles[1], rotated, PHASES, 4, 30.0)
    for merged, expected in zip(particles[1], together, strict=True):
        alone = search_batch([merged], rotated, PHASES, 4, 30.0)[0]
        np.testing.assert_array_equal(alone.i_rotation, expected.i_rotation)
        np.testing.assert_allclose(alone.loglik, expected.loglik, rtol=1e-5)


def test_lists_that_do_not_fit_are_made_in_tiles(references):
    need = rotated_bytes(len(ROTATIONS), len(BAND.index))
    assert isinstance(rotate_within(references[0], BAND, ROTATIONS, need), RotatedReference)
    assert isinstance(rotate_within(references[0], BAND, ROTATIONS, need - 1), TiledReference)


def test_rotated_reference_takes_the_memory_that_was_predicted(references):
    rotated = rotate_reference(references, BAND, ROTATIONS)
    assert rotated.values.nbytes + rotated.power.nbytes == rotated_bytes(
        len(ROTATIONS), len(BAND.index), 3)


@pytest.mark.parametrize("is_tiled", [False, True])
def test_a_search_takes_no_more_memory_than_was_predicted(references, particles, is_tiled):
    # a list long enough that its tables are the larger part
    found, window = make_search_list(normal_rotations(2)), PoseWindow(particles[0], 90.0)
    source = TiledReference(references, BAND, found.rotations)
    expected = search_bytes(len(found), len(BAND.index), len(SHIFTS), 12, 3, is_tiled, 96)
    tracemalloc.start()
    try:
        if not is_tiled:
            source = rotate_reference(references, BAND, found.rotations)
        search_batch(particles[1], source, PHASES, 4, 30.0, None, found, window, tile=96)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.5 * expected < peak < 1.1 * expected


def test_an_empty_batch_has_no_candidates_and_no_reference_is_refused(references):
    rotated = rotate_reference(references[0], BAND, ROTATIONS[:5])
    assert search_batch([], rotated, PHASES, 3, 30.0) == []
    with pytest.raises(InputError, match="at least one"):
        rotate_reference([], BAND, ROTATIONS)


def test_mates_of_a_candidate_are_its_neighbours(references):
    rotations = healpix_rotations(1)
    rotated = rotate_reference(references[0], BAND, rotations)
    rng = np.random.default_rng(3)
    k = len(BAND.index)
    merged = [MergedBand((rng.normal(size=k) + 1j * rng.normal(size=k)).astype(np.complex64),
                         np.ones(k, np.float32))]
    group = symmetry_matrices("D2")
    found = search_batch(merged, rotated, PHASES, 6, 70.0, operators=group)[0]
    R = rotations[found.i_rotation]
    for a, b in itertools.combinations(R, 2):
        assert angular_distance_deg(a, b @ group).min() >= 70.0
    free = search_batch(merged, rotated, PHASES, 6, 70.0)[0]
    assert free.loglik.sum() > found.loglik.sum()


def test_a_box_merges_to_the_band_that_its_slices_merge_to(particles):
    rng = np.random.default_rng(2)
    R = random_rotations(12, rng)[0]
    samples = observe(R, rng.uniform(-1, 1, 3), 1.0, rng)
    sums = np.zeros((BOX, BOX, BOX // 2 + 1, 4), np.float32)
    insert_slices(sums, samples.data_rft, samples.weight_rft,
                  np.ascontiguousarray(TILTS[:, :2]), BOX // 2 - 1)
    box = BoxSamples(np.ascontiguousarray(sums[..., 0] + 1j * sums[..., 1]), sums[..., 2].copy(),
                     np.eye(3))
    slices, merged = merge_band(samples, BAND), merge_band(box, BAND)
    # sums of the same samples in another order
    np.testing.assert_allclose(merged.data, slices.data, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(merged.weight, slices.weight, rtol=1e-3, atol=1e-5)


class DeviceArray:
    """An array that numpy's functions may not touch, as one of cupy."""

    __array_priority__ = 1000

    def __init__(self, host):
        self.host = host

    def __array__(self, *_args, **_kwargs):
        raise TypeError("numpy was given an array of the device")

    def __array_ufunc__(self, ufunc, method, *inputs, **_kwargs):
        if method != "__call__" or not all(isinstance(x, DeviceArray | float | int)
                                           for x in inputs):
            raise TypeError(f"numpy.{ufunc.__name__} was given an array of the device")
        raise TypeError("use the functions of the array module")

    def get(self):
        return self.host


def _unwrap(x):
    if isinstance(x, DeviceArray):
        return x.host
    if isinstance(x, tuple | list):
        return type(x)(_unwrap(y) for y in x)
    if isinstance(x, np.ndarray) and x.ndim > 0:
        raise TypeError("the device was given an array of numpy")
    return x


def _on_device(function):
    def called(*arguments, **keywords):
        found = function(*_unwrap(arguments), **{k: _unwrap(v) for k, v in keywords.items()})
        return DeviceArray(found) if isinstance(found, np.ndarray | np.generic) else found

    return called


def _method(name):
    return lambda self, *arguments, **keywords: _on_device(getattr(np.ndarray, name))(
        self, *arguments, **keywords)


for _name in ("add", "radd", "sub", "mul", "rmul", "truediv", "matmul", "gt", "lt", "ge", "le",
              "invert", "neg", "ior", "iadd", "and", "or", "getitem", "setitem", "len"):
    setattr(DeviceArray, f"__{_name}__", _method(f"__{_name}__"))
for _name in ("reshape", "argmax", "max", "astype", "any", "all"):
    setattr(DeviceArray, _name, _method(_name))
for _name in ("T", "real", "imag"):
    setattr(DeviceArray, _name, property(lambda self, n=_name: DeviceArray(getattr(self.host, n))))
for _name in ("shape", "ndim", "dtype", "size"):
    setattr(DeviceArray, _name, property(lambda self, n=_name: getattr(self.host, n)))

DEVICE = SimpleNamespace(
    asarray=lambda x, dtype=None: DeviceArray(np.asarray(x, dtype)),
    **{name: _on_device(getattr(np, name)) for name in (
        "empty", "zeros", "full", "arange", "maximum", "take_along_axis", "matmul", "stack",
        "where")},
    float32=np.float32)


def test_a_search_on_a_device_touches_its_arrays_with_the_devices_functions_alone(
        references, particles):
    with pytest.raises(TypeError, match="numpy was given"):
        np.asarray(DEVICE.zeros(3))
    found = make_search_list(normal_rotations(1))
    window = PoseWindow(particles[0], 60.0)
    arguments = PHASES, 4, 30.0, np.zeros((12, len(found))), found, window
    expected = search_batch(particles[1], rotate_reference(references, BAND, found.rotations),
                            *arguments, symmetry_matrices("C2"))
    for make in (rotate_reference, TiledReference):
        source = make(references, BAND, found.rotations, xp=DEVICE)
        on_device = search_batch(particles[1], source, *arguments, symmetry_matrices("C2"))
        for a, b in zip(expected, on_device, strict=True):
            assert isinstance(b.loglik, np.ndarray)
            np.testing.assert_array_equal(a.i_rotation, b.i_rotation)
            np.testing.assert_array_equal(a.loglik, b.loglik)
