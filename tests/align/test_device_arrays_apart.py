"""Code written for numpy or cupy keeps arrays of the host and of the device apart.

cupy cannot be run without a GPU. Here a module stands for it whose arrays are numpy's, but refuse
to meet an array of the host, or a function of numpy, as cupy's do. What passes makes no hidden
transfer and no mistake that cupy would stop at; results must have the bits of numpy.
"""

import ast
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.align.global_search import (
    MergedBand,
    make_voxel_band,
    rotate_reference,
    search_batch,
    shift_phases_of_band,
)
from sta_mpi.align.reference import prepare_reference
from sta_mpi.kernels.array_module import to_host
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.fft_device import DeviceFft

PACKAGE = Path(__file__).resolve().parents[2] / "sta_mpi"


class DeviceArray(np.ndarray):
    """An array that works with its own kind and with numbers alone."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **named):
        if out is not None:
            named["out"] = tuple(plain(x) for x in out)
        found = getattr(ufunc, method)(*map(plain, inputs), **named)
        return out[0] if out is not None else on_device(found)

    def __array_function__(self, function, types, arguments, named):
        raise TypeError(f"numpy.{function.__name__} was called with an array of the device")

    def __getitem__(self, key):
        return on_device(self.view(np.ndarray)[plain_key(key)])

    def __setitem__(self, key, value):
        self.view(np.ndarray)[plain_key(key)] = plain(value)

    def get(self):
        return self.view(np.ndarray).copy()


def plain(value):
    """The numbers of an argument; TypeError for an array of the host."""
    if isinstance(value, (list, tuple)):
        return type(value)(plain(x) for x in value)
    if isinstance(value, np.ndarray) and value.ndim and not isinstance(value, DeviceArray):
        raise TypeError("an array of the host meets one of the device")
    return value.view(np.ndarray) if isinstance(value, DeviceArray) else value


def plain_key(key):
    return tuple(map(plain, key)) if isinstance(key, tuple) else plain(key)


def on_device(value):
    if isinstance(value, tuple):
        return tuple(on_device(x) for x in value)
    return value.view(DeviceArray) if isinstance(value, np.ndarray) else value


class DeviceModule:
    """What `import cupy` gives, as far as such arrays go."""

    def __init__(self, home=np):
        self._home = home

    def __getattr__(self, name):
        found = getattr(self._home, name)
        if name == "fft":
            return DeviceModule(found)
        if name == "asarray":  # the one way onto the device
            return lambda x, *rest, **named: on_device(np.array(
                x.view(np.ndarray) if isinstance(x, DeviceArray) else x, *rest, **named))
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *arguments, **named: on_device(found(*map(plain, arguments), **named))


XP = DeviceModule()


def test_stand_in_refuses_what_cupy_refuses():
    array = XP.asarray(np.ones(3))
    assert isinstance(XP.sqrt(array) + 1, DeviceArray)
    for wrong in (lambda: array + np.ones(3), lambda: np.ones(3) + array,
                  lambda: XP.maximum(array, np.ones(3)),
                  lambda: np.concatenate([array]), lambda: array.__setitem__(0, np.ones(1)),
                  lambda: array[np.array([0])], lambda: XP.stack([np.ones(3)])):
        with pytest.raises(TypeError, match="device"):
            wrong()
    assert type(to_host(array)) is np.ndarray


@pytest.mark.parametrize("with_prior", [False, True])
def test_global_search_on_a_device_has_the_bits_of_numpy(with_prior):
    n, plans, rng = 24, FftPlans(effort="estimate"), np.random.default_rng(3)
    volume = rng.normal(size=(n, n, n)).astype(np.float32)
    reference = prepare_reference(volume, None, 4.0, plans)
    band, rotations = make_voxel_band(n, 4.0), Rotation.random(40, rng=rng).as_matrix()
    k = len(band.index)
    merged = [MergedBand((rng.normal(size=k) + 1j * rng.normal(size=k)).astype(np.complex64),
                         rng.random(k).astype(np.float32)) for _ in range(3)]
    phases = shift_phases_of_band(band, rng.normal(size=(5, 3)))
    prior = rng.normal(size=(3, 40)) if with_prior else None
    operators = Rotation.from_euler("z", [[0], [180]], degrees=True).as_matrix()
    found, expected = (
        search_batch(merged, rotate_reference([reference, reference], band, rotations, xp),
                     phases, 4, 10.0, prior, operators=operators)
        for xp in (XP, np))
    for a, b in zip(found, expected, strict=True):
        for name in ("i_rotation", "i_shift", "loglik", "i_reference"):
            assert type(getattr(a, name)) is np.ndarray
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_transforms_stay_on_the_device():
    images = np.random.default_rng(1).normal(size=(2, 8, 8)).astype(np.float32)
    on, host = DeviceFft(XP), DeviceFft(np)
    half = on.rfft2(images)
    assert isinstance(on.irfft2(half), DeviceArray)
    np.testing.assert_array_equal(to_host(half), host.rfft2(images))
    volume = images[0][None] * np.ones((8, 1, 1), np.float32)
    assert isinstance(on.irfft3(on.rfft3(volume)), DeviceArray)
    np.testing.assert_array_equal(to_host(on.rfft3(volume)), host.rfft3(volume))


def used_of_xp() -> set[str]:
    """Names that the package takes from an array module, such as "fft.rfft2"."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = []
            while isinstance(node, ast.Attribute):
                parts.append(node.attr)
                node = node.value
            if isinstance(node, ast.Name) and node.id in ("xp", "self"):
                dotted = ".".join(reversed(parts))
                dotted = dotted.removeprefix("xp.") if node.id == "self" else dotted
                if dotted and (node.id == "xp" or "xp." in ".".join(reversed(parts))):
                    names.add(dotted)
    return names


def test_cupy_has_every_function_that_is_used_of_it():
    names = used_of_xp()
    assert {"asarray", "matmul", "fft.rfft2"} <= names
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("cupy not found: pip install 'sta_mpi[gpu]'")
    import cupy

    def has(module, name):
        first, _, rest = name.partition(".")
        return hasattr(module, first) and (not rest or has(getattr(module, first), rest))

    assert [name for name in sorted(names) if not has(cupy, name)] == []
