"""The best orientations of each particle that are not neighbours of a better one.

Greedy: the best of all is taken, its neighbourhood struck out, and so on. Particles and
references are done together, as array operations of numpy or cupy. Candidates far behind the
best are left out, but for the first few: at low signal more are worth a polish.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.array_module import to_host

Floats = NDArray[np.float64]

MARGIN = 9.0
"""Deficit of log-likelihood from which a candidate is left out. At the signal where a search
begins to fail, that of the right one was up to 6 (`benchmarks/accuracy/candidates.py`)."""

SHARE = 0.1
"""Deficit as a share of the best log-likelihood that the grid may cost the right candidate."""

LEAST = 6
"""Candidates that are kept however far behind: of a nearly sixfold object that neighbours crowd,
`SHARE` alone lost 14 % of the particles."""


@dataclass(frozen=True)
class Candidates:
    """The best candidates of one particle, best first.

    Parameters
    ----------
    i_rotation, i_shift, i_reference : (c,) int
    loglik : (c,) float64    with the grey scale fitted to each candidate, up to a constant
    """

    i_rotation: NDArray[np.intp]
    i_shift: NDArray[np.intp]
    loglik: Floats
    i_reference: NDArray[np.intp]

    def of_reference(self, g: int) -> "Candidates":
        """Those of one reference."""
        own = self.i_reference == g
        return Candidates(self.i_rotation[own], self.i_shift[own], self.loglik[own],
                          self.i_reference[own])


def pick_candidates(loglik: Any, i_shift: Any, rotations: Floats, n_candidates: int,
                    separation_deg: float, operators: Floats | None, xp: Any,
                    margin: float = MARGIN) -> list[Candidates]:
    """Choose candidates of b particles.

    Parameters
    ----------
    loglik : (g, b, R) float32         -inf where a rotation is not allowed; modified
    i_shift : (g, b, R) int            best shift of each
    rotations : (R, 3, 3) float64
    n_candidates : int                 at most this many a particle and reference
    separation_deg : float             they lie at least this far apart
    operators : (n, 3, 3) or None      symmetry: R and R S are the same
    xp : module                        numpy or cupy, where loglik and i_shift live
    margin : float                     least deficit to the best one of its reference from which
                                       a candidate past the first `LEAST` is left out

    Returns
    -------
    list of b Candidates    of all references together, best first
    """
    n_references, n_particles, n_rotations = loglik.shape
    table = loglik.reshape(n_references * n_particles, n_rotations)
    shifts = i_shift.reshape(n_references * n_particles, n_rotations)
    flat = xp.asarray(rotations.reshape(-1, 9), np.float32)
    mates = np.eye(3)[None] if operators is None else operators
    # trace(R1^T R2) = 1 + 2 cos(angle); a neighbour at the very separation is struck out
    least = 1.0 + 2.0 * np.cos(np.radians(separation_deg)) - 1e-5
    lines = xp.arange(len(table))
    kept: list[tuple[Any, Any, Any]] = []
    for i in range(min(n_candidates, n_rotations)):
        best = table.argmax(axis=1)
        kept.append((best, shifts[lines, best], table[lines, best]))
        if i + 1 < n_candidates:
            chosen = flat[best].reshape(-1, 3, 3)
            near = xp.zeros(table.shape, bool)
            for S in mates:
                turned = xp.matmul(chosen, xp.asarray(S, np.float32)).reshape(-1, 9)
                near |= turned @ flat.T > least
            table[near] = -np.inf
            table[lines, best] = -np.inf
    rows, moves, scores = (
        to_host(xp.stack([k[i] for k in kept], axis=1)).reshape(n_references, n_particles, -1)
        for i in range(3))
    best_score, others = scores[:, :, :1], scores[:, :, LEAST:]
    with np.errstate(invalid="ignore"):  # of what is not allowed
        others[best_score - others > np.maximum(margin, SHARE * best_score)] = -np.inf
    return [_sorted(rows[:, p], moves[:, p], scores[:, p]) for p in range(n_particles)]


def _sorted(rows: NDArray[Any], shifts: NDArray[Any], scores: NDArray[Any]) -> Candidates:
    """Candidates (g, c) of one particle as one list, best first, without empty places."""
    references = np.repeat(np.arange(len(rows)), rows.shape[1])
    flat = scores.ravel().astype(np.float64)
    order = np.argsort(-flat, kind="stable")
    order = order[np.isfinite(flat[order])]
    return Candidates(rows.ravel()[order].astype(np.intp), shifts.ravel()[order].astype(np.intp),
                      flat[order], references[order].astype(np.intp))
