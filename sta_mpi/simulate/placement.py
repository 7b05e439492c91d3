"""Where simulated particles are: random positions, and lattices on spheres.

Positions are xyz in Å from the tomogram centre; `R_p2t` turns particle axes into tomogram
axes. A lattice particle has its z axis along the outward normal and its x axis towards a
neighbour.
"""

import numpy as np
from scipy.spatial import cKDTree

from sta_mpi.errors import InputError
from sta_mpi.simulate.phantom import Floats

ICOSAHEDRON_EDGE_RAD = float(np.arctan(2.0))
"""Angle between neighbouring vertices of an icosahedron."""
GIVE_UP_ROUNDS = 8
"""Random placement ends after so many rounds in which no particle found a place."""
MOST_TRIES = 4000
"""Random points tried a round."""


def random_orientations(n: int, rng: np.random.Generator) -> Floats:
    """Rotations (n, 3, 3), uniform: unit quaternions from normal numbers."""
    q = rng.standard_normal((n, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    return np.stack([
        np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1),
        np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1),
        np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1)], 1)


def rotation_about(axis: Floats, angle_deg: Floats) -> Floats:
    """Rotations (n, 3, 3) about unit axes (n, 3), right-handed (Rodrigues)."""
    angle = np.radians(angle_deg)[:, None, None]
    x, y, z = axis.T
    zero = np.zeros_like(x)
    K = np.stack([np.stack([zero, -z, y], -1), np.stack([z, zero, -x], -1),
                  np.stack([-y, x, zero], -1)], 1)
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * (K @ K)


def random_positions(n: int, extent_A: Floats, distance_A: float, rng: np.random.Generator,
                     taken_A: Floats | None = None, taken_distance_A: float = 0.0) -> Floats:
    """Draw n positions in a centred box, no two closer than `distance_A`.

    Parameters
    ----------
    extent_A : (3,) float64     edges of the box
    distance_A : float          least distance between the new positions
    taken_A : (m, 3) float64    positions already used, to be avoided by `taken_distance_A`

    Raises
    ------
    InputError
        When the box cannot hold the particles by random placement.
    """
    extent = np.asarray(extent_A, float)
    busy = None if taken_A is None or len(taken_A) == 0 else cKDTree(taken_A)
    placed, idle_rounds = np.zeros((0, 3)), 0
    while idle_rounds < GIVE_UP_ROUNDS:
        if len(placed) == n:
            return placed
        before = len(placed)
        tries = min(4 * (n - len(placed)) + 16, MOST_TRIES)
        fresh = (rng.random((tries, 3)) - 0.5) * extent
        if busy is not None:
            fresh = fresh[busy.query(fresh)[0] >= taken_distance_A]
        if len(placed) and len(fresh):
            fresh = fresh[cKDTree(placed).query(fresh)[0] >= distance_A]
        placed = np.concatenate([placed, _thinned(fresh, distance_A)])[:n]
        idle_rounds = idle_rounds + 1 if len(placed) == before else 0
    raise InputError(
        f"{n} particles at least {distance_A:.0f} Å apart do not fit at random into "
        f"{extent[0]:.0f} x {extent[1]:.0f} x {extent[2]:.0f} Å: {len(placed)} were placed. "
        f"Ask for fewer particles, a smaller distance or a larger tomogram.")


def _thinned(points: Floats, distance_A: float) -> Floats:
    """The points, in order, that keep `distance_A` from all kept before them."""
    if len(points) < 2 or distance_A <= 0:
        return points
    keep = np.ones(len(points), bool)
    for i, near in enumerate(cKDTree(points).query_ball_point(points, distance_A)):
        if keep[i]:
            keep[[j for j in near if j > i]] = False
    return points[keep]


def sphere_lattice(radius_A: float, spacing_A: float) -> tuple[Floats, Floats]:
    """Make a near-hexagonal lattice on a sphere: an icosahedron's faces, finely divided.

    Every point has six neighbours, but for the twelve vertices, which have five, as in a
    virus-like particle. The division is chosen so that the area per point is nearest to that
    of a hexagonal lattice of `spacing_A`; single distances vary by some ten per cent.

    Returns
    -------
    xyz_A : (10 f^2 + 2, 3)      points about the origin
    R_p2t : (10 f^2 + 2, 3, 3)   z outwards, x towards the nearest neighbour
    """
    wanted = 8 * np.pi / np.sqrt(3) * (radius_A / spacing_A) ** 2
    divisions = max(1, round(float(np.sqrt(max(0.0, wanted - 2) / 10))))
    vertices, faces = _icosahedron()
    i, j = np.meshgrid(np.arange(divisions + 1), np.arange(divisions + 1), indexing="ij")
    keep = i + j <= divisions
    weights = np.stack([i, j, divisions - i - j], -1)[keep] / divisions
    points = np.einsum("wk,fkx->fwx", weights, vertices[faces]).reshape(-1, 3)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    _, first = np.unique(np.round(points, 6), axis=0, return_index=True)
    normals = points[np.sort(first)]
    nearest = cKDTree(normals).query(normals, k=2)[1][:, 1]
    return radius_A * normals, _frames(normals, normals[nearest] - normals)


def _frames(z: Floats, towards: Floats) -> Floats:
    """Rotations (n, 3, 3) with columns x (in the plane of z and `towards`), y, z."""
    x = towards - np.sum(towards * z, axis=1, keepdims=True) * z
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def _icosahedron() -> tuple[Floats, np.ndarray]:
    """Unit vertices (12, 3) and triangles (20, 3) of an icosahedron with two-folds on xyz."""
    golden = (1 + np.sqrt(5)) / 2
    corners = np.array([[0, a, b * golden] for a in (-1, 1) for b in (-1, 1)], float)
    vertices = np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)])
    vertices /= np.linalg.norm(vertices[0])
    close = vertices @ vertices.T > np.cos(ICOSAHEDRON_EDGE_RAD) - 1e-6
    faces = [(a, b, c) for a in range(12) for b in range(a + 1, 12) for c in range(b + 1, 12)
             if close[a, b] and close[b, c] and close[a, c]]
    return vertices, np.array(faces)
