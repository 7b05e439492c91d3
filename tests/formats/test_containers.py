"""Own HDF5 files: round trips, damage, things that are refused, fingerprints."""

import warnings
from dataclasses import replace

import h5py
import numpy as np
import pytest

from sta_mpi.data import Particles
from sta_mpi.errors import FormatError, InputError, StaMpiError
from sta_mpi.formats.containers import fingerprint_file, read_h5, write_h5
from sta_mpi.formats.poses_h5 import KIND, apply_poses, read_poses, write_poses


def make_particles(n=5):
    rng = np.random.default_rng(n)
    return Particles(
        tomo_names=["TS_01", "Ünt 2"], i_tomo=rng.integers(0, 2, n).astype(np.int32),
        names=np.array([f"p/{i}" for i in range(n)], object), xyz_A=rng.normal(size=(n, 3)),
        offset_A=rng.normal(size=(n, 3)), R_p2t=rng.normal(size=(n, 3, 3)),
        R_box2t=rng.normal(size=(n, 3, 3)), half=rng.integers(0, 3, n).astype(np.int8),
        optics_group=rng.integers(1, 3, n).astype(np.int32))


def test_arrays_and_attributes_come_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"a/b": rng.normal(size=(100, 200)), "i": np.arange(5, dtype=np.int8),
              "c": rng.normal(size=3) + 1j, "t": np.array(["ä", "", "b c"], object),
              "scalar": np.float32(1.5), "empty": np.zeros((0, 3)), "flag": np.array([True, False])}
    write_h5(tmp_path / "a.h5", arrays, {"version": "0.1", "n": 3, "x": 0.1, "on": True})
    back = read_h5(tmp_path / "a.h5")
    assert set(back.arrays) == set(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(back.arrays[name], values)
        if name != "t":
            assert back.arrays[name].dtype == np.asarray(values).dtype
    assert back.attributes == {"version": "0.1", "n": 3, "x": 0.1, "on": True}


def test_equal_contents_are_equal_files(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_h5(tmp_path / name, {"x": np.arange(50_000.0)}, {"v": 1})
    assert fingerprint_file(tmp_path / "a.h5") == fingerprint_file(tmp_path / "b.h5")


def test_objects_are_neither_written_nor_read(tmp_path):
    with pytest.raises(ValueError, match="only numbers and text"):
        write_h5(tmp_path / "a.h5", {"x": np.array([{}], object)})
    with pytest.raises(ValueError, match="attribute"):
        write_h5(tmp_path / "a.h5", {}, {"x": [1, 2]})  # type: ignore[dict-item]
    assert not (tmp_path / "a.h5").exists()
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["opaque"] = np.void(b"\x80\x04pickle")
    with pytest.raises(FormatError, match="opaque has type"):
        read_h5(tmp_path / "b.h5")


def test_links_out_of_the_file_are_not_followed(tmp_path):
    write_h5(tmp_path / "secret.h5", {"x": np.arange(3)})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
    with pytest.raises(FormatError, match="link is a link"):
        read_h5(tmp_path / "a.h5")


def test_promised_size_beyond_the_stored_bytes_is_refused(tmp_path):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.create_dataset("x", (10**12,), h5py.string_dtype(), chunks=(100,))
    with pytest.raises(FormatError, match="promises 8000000000000 bytes and stores 0"):
        read_h5(tmp_path / "t.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (10**6, 10**6), "f8", chunks=(100, 100))
    with pytest.raises(FormatError, match="promises 8000000000000 bytes"):
        read_h5(tmp_path / "a.h5")


def test_compressed_zeros_are_not_taken_for_damage(tmp_path):
    write_h5(tmp_path / "a.h5", {"x": np.zeros(10_000_000)})
    assert read_h5(tmp_path / "a.h5").arrays["x"].shape == (10_000_000,)


def test_damaged_bytes_never_escape_as_another_error(tmp_path):
    write_h5(tmp_path / "a.h5", {"x": np.arange(100.0), "t": np.array(["a", "b"], object)},
             {"what": "x"})
    raw = (tmp_path / "a.h5").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(raw)
        for place in rng.integers(0, len(raw), rng.integers(1, 8)):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "b.h5").write_bytes(bytes(damaged[:rng.integers(1, len(raw) + 1)]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_h5(tmp_path / "b.h5")
            except StaMpiError:
                continue


def test_fingerprint_is_of_the_contents_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 5_000_000)
    (tmp_path / "b").write_bytes(b"x" * 5_000_000)
    (tmp_path / "c").write_bytes(b"x" * 4_999_999 + b"y")
    assert fingerprint_file(tmp_path / "a") == fingerprint_file(tmp_path / "b")
    assert fingerprint_file(tmp_path / "a") != fingerprint_file(tmp_path / "c")
    with pytest.raises(InputError, match="none"):
        fingerprint_file(tmp_path / "none")


def test_poses_and_trajectories_keep_every_bit(tmp_path):
    particles = make_particles()
    motion = np.random.default_rng(2).normal(size=(5, 7, 3))
    motion[0, 5:] = np.nan
    write_poses(tmp_path / "poses.h5", particles, motion, {"job": "align"})
    again, trajectories = read_poses(tmp_path / "poses.h5")
    assert again.tomo_names == particles.tomo_names
    for name in ("i_tomo", "xyz_A", "offset_A", "R_p2t", "R_box2t", "half", "optics_group"):
        assert getattr(again, name).dtype == getattr(particles, name).dtype
        np.testing.assert_array_equal(getattr(again, name), getattr(particles, name))
    assert again.names.tolist() == particles.names.tolist()
    np.testing.assert_array_equal(trajectories, motion)
    assert read_h5(tmp_path / "poses.h5").attributes == {"job": "align", "what": KIND}


def test_poses_are_applied_by_name_in_any_order(tmp_path):
    particles = make_particles()
    order = np.array([3, 0, 4, 1, 2])
    moved = replace(particles, xyz_A=particles.xyz_A + 10.0)
    new = apply_poses(moved.select(order), particles)
    np.testing.assert_array_equal(new.R_p2t, particles.R_p2t[order])
    np.testing.assert_allclose(new.position_A, particles.position_A[order], atol=1e-12)
    with pytest.raises(InputError, match="particle p/3 has no pose"):
        apply_poses(particles, particles.select(np.array([0, 1, 2, 4])))


def test_files_of_another_kind_are_refused(tmp_path):
    write_h5(tmp_path / "a.h5", {"x": np.arange(3)}, {"what": "truth"})
    with pytest.raises(InputError, match="holds 'truth', expected 'sta_mpi poses 1'"):
        read_poses(tmp_path / "a.h5")
    write_h5(tmp_path / "a.h5", {"names": np.array(["a"], object)}, {"what": KIND})
    with pytest.raises(FormatError, match="i_tomo, xyz_A"):
        read_poses(tmp_path / "a.h5")
    particles = make_particles()
    write_poses(tmp_path / "a.h5", replace(particles, tomo_names=[]))
    with pytest.raises(FormatError, match="points beyond 0 tomograms"):
        read_poses(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_text("not HDF5")
    with pytest.raises(FormatError, match="not a readable HDF5"):
        read_poses(tmp_path / "a.h5")
    with pytest.raises(InputError, match="no such file"):
        read_poses(tmp_path / "none.h5")
