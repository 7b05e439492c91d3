"""CUDA kernels compile to PTX for real GPUs, and without spilled registers to machine code.

Needs numba-cuda with NVIDIA's compiler library (the extra `gpu`), but no GPU and no driver; the
assembler `ptxas` is used where it is installed. `pytest -rP tests/kernels/test_cuda_code.py`
shows registers and memory of every kernel.
"""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

ARCHITECTURES = [(7, 5), (8, 0), (9, 0)]
NAMES = ["back_project", "gather", "insert", "clear", "ctf", "shells", "polish_derivatives",
         "polish_value", "voxels_derivatives", "voxels_value"]


def kernels() -> dict:
    """Kernel and types of its arguments, by name."""
    from numba import types
    from numba.types import complex64, float16, float32, float64, int16, int64

    from sta_mpi.kernels.back_project import cuda as back_project
    from sta_mpi.kernels.ctf import cuda as ctf
    from sta_mpi.kernels.gather import cuda as gather
    from sta_mpi.kernels.insert import cuda as insert
    from sta_mpi.kernels.polish import cuda as polish
    from sta_mpi.kernels.polish import inline
    from sta_mpi.kernels.shells import cuda as shells
    from sta_mpi.kernels.voxels import cuda as voxels
    from sta_mpi.kernels.voxels import inline as voxels_inline

    def array(dtype, ndim):
        return types.Array(dtype, ndim, "C")

    volume = array(float32, 1), int64, int64, int64
    stack, reals = array(complex64, 3), array(float32, 3)
    planes = float64, array(float64, 3), array(float64, 1), float64
    samples = [array(float16, 2)] * 3 + [array(int16, 1)] * 2
    polish_types = *volume, array(float64, 2), *samples, array(float64, 2)
    box = [array(float16, 1)] * 3 + [array(int16, 1)] * 3
    voxel_types = *volume, array(float64, 1), *box, int64, array(float64, 2)
    return {
        "back_project": (back_project.back_project_kernel,
                         (reals, array(float64, 3), int64, reals)),
        "gather": (gather.gather_kernel, (*volume, *planes, stack)),
        "insert": (insert.insert_kernel, (array(int64, 1), int64, stack, reals, *planes,
                                          float64, float64, float64, array(int64, 1))),
        "clear": (insert.clear_kernel, (array(int64, 1),)),
        "ctf": (ctf.ctf_kernel, (array(float64, 2), array(float64, 2), reals, reals)),
        "shells": (shells.shells_kernel, (stack, stack, array(float64, 2))),
        "polish_derivatives": (polish.KERNELS[inline.N_SUMS], polish_types),
        "polish_value": (polish.KERNELS[inline.N_SCORE], polish_types),
        "voxels_derivatives": (voxels.KERNELS[voxels_inline.N_SUMS], voxel_types),
        "voxels_value": (voxels.KERNELS[voxels_inline.N_SCORE], voxel_types)}


def assembler() -> str | None:
    """NVIDIA's ptxas, from its wheel or from the path."""
    found = shutil.which("ptxas")
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    wheels = [str(p) for f in folders for p in sorted(f.glob("*/bin/ptxas"))]
    return wheels[0] if wheels else found


@pytest.fixture
def compiler(monkeypatch):
    """A function (kernel, types, architecture) -> PTX, that asks no driver for its GPU."""
    if importlib.util.find_spec("numba_cuda") is None:
        pytest.skip("numba-cuda not found: pip install 'sta_mpi[gpu]'")
    from numba import cuda, types
    from numba.cuda import dispatcher

    def compiled(kernel, arguments, architecture) -> str:
        # functions that are inlined are compiled for "the GPU in use"
        monkeypatch.setattr(dispatcher, "get_current_device",
                            lambda: SimpleNamespace(compute_capability=architecture))
        return cuda.compile_ptx(kernel.py_func, types.void(*arguments), cc=architecture)[0]

    return compiled


def resources(ptx: str, architecture, folder: Path) -> dict[str, int]:
    """Registers, spilled bytes and shared memory of a kernel's machine code."""
    program = assembler()
    if program is None:
        pytest.skip("ptxas not found: pip install nvidia-cuda-nvcc")
    source = folder / "kernel.ptx"
    source.write_text(ptx)
    done = subprocess.run(
        [program, f"-arch=sm_{architecture[0]}{architecture[1]}", "-v", str(source), "-o",
         str(folder / "kernel.cubin")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    patterns = {"registers": r"Used (\d+) registers", "spilled": r"(\d+) bytes spill stores",
                "shared": r"(\d+) bytes smem"}
    found = {name: re.search(p, done.stderr) for name, p in patterns.items()}
    return {name: int(match[1]) if match else 0 for name, match in found.items()}


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_kernel_compiles_for_a_gpu_without_spilling_registers(
        compiler, tmp_path, name, architecture):
    ptx = compiler(*kernels()[name], architecture)
    assert f".target sm_{architecture[0]}{architecture[1]}" in ptx
    found = resources(ptx, architecture, tmp_path)
    print(name, architecture, found)
    assert found["spilled"] == 0
    # three blocks of 128 threads a multiprocessor: 65536 registers, 48 KiB a block at most
    assert found["registers"] * 128 * 3 <= 65536
    assert found["shared"] <= 48 * 1024


def test_insertion_adds_64_bit_integers_and_no_floats(compiler):
    ptx = compiler(*kernels()["insert"], (8, 0))
    atomics = set(re.findall(r"atom\.\S+|red\.\S+", ptx))
    assert atomics
    assert all(a.endswith(("u64", "s64", "u64;", "b64")) for a in atomics), atomics


def test_every_cuda_kernel_is_in_the_list():
    """Where a folder has a CUDA twin, its kernels are compiled here or in a test of its own."""
    folders = {p.parent.name for p in (Path(__file__).resolve().parents[2] / "sta_mpi"
                                       / "kernels").glob("*/cuda.py")}
    assert folders == {re.sub("_(derivatives|value)", "", name) for name in NAMES} - {"clear"}
