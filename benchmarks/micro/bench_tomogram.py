"""Back-projection of 41 tilts: ns a voxel and image, beside plain scipy, at the same densities.

Run: OMP_NUM_THREADS=1 python benchmarks/micro/bench_tomogram.py
"""

from functools import partial

import numpy as np
import scipy.ndimage
from scipy.spatial.transform import Rotation
from timing import median_seconds, print_table, rounds_argument

from sta_mpi.kernels.back_project import back_project, frame_images


def scipy_slab(images: np.ndarray, matrices: np.ndarray, z0: int, out: np.ndarray) -> np.ndarray:
    """The same sum by map_coordinates, linear, one image after the other."""
    z, y, x = np.indices(out.shape).astype(np.float32)
    out[:] = 0
    for image, (across, up) in zip(images, matrices.astype(np.float32), strict=True):
        places = [row[0] * x + row[1] * y + row[2] * (z + z0) + row[3] for row in (up, across)]
        out += scipy.ndimage.map_coordinates(image, places, order=1, cval=0.0, output=np.float32)
    return out


def main() -> None:
    """Measure and print."""
    rounds = rounds_argument(__doc__ or "")
    rng = np.random.default_rng(0)
    tilts = np.arange(-60, 61, 3.0)
    rows = []
    for n, planes in ((256, 4), (512, 2), (1024, 2)):
        images = rng.normal(size=(len(tilts), n, n)).astype(np.float32)
        axes = Rotation.from_euler("ZY", [(5, t) for t in tilts], degrees=True).as_matrix()
        matrices = np.empty((len(tilts), 2, 4))
        matrices[:, :, :3] = axes[:, :2]
        matrices[:, :, 3] = n / 2 - axes[:, :2] @ np.array([n / 2, n / 2, n / 8])
        framed = frame_images(images)
        ours, theirs = (np.empty((planes, n, n), np.float32) for _ in range(2))
        z0 = n // 10
        calls = [partial(back_project, framed, matrices, z0, ours),
                 partial(scipy_slab, images, matrices, z0, theirs)]
        fast, slow = median_seconds(calls, rounds)
        # scipy drops the last partial pixel at the edges, where ours falls to 0
        inside = np.s_[:, n // 4 : -n // 4, n // 4 : -n // 4]
        error = np.abs(ours[inside] - theirs[inside]).max() / np.abs(theirs[inside]).max()
        samples = ours.size * len(tilts)
        rows.append([str(n), f"{1e9 * fast / samples:.2f}", f"{1e9 * slow / samples:.1f}",
                     f"{slow / fast:.1f}", f"{error:.1e}"])
    print_table("back-projection", ["image edge [px]", "ns/voxel/image", "scipy", "ratio",
                                    "largest difference"], rows)


if __name__ == "__main__":
    main()
