"""What masked patches are weighed with is checked once, and each call's own input every time."""

import numpy as np
import pytest

from sta_mpi.kernels.ctf import TiltPhases, masked_tilts, weigh_masked_samples

N, TILTS = 8, 3
SHAPE = (N, N // 2 + 1)
PHASES = TiltPhases(np.zeros((TILTS, 5)), np.zeros((TILTS, 3)))


def part(n_tilts: int = TILTS, n: int = N) -> np.ndarray:
    return np.ones((n_tilts, n, n // 2 + 1), np.float32)


@pytest.mark.parametrize(("phases", "parts", "said"), [
    (PHASES, (part(), part(), part(2)), "parts have shapes"),
    (PHASES, (part()[:, :, :-1],) * 3, "parts have shapes"),
    (PHASES, (part(2),) * 3, r"expected \(2, 5\) and \(2, 3\)"),
    (PHASES._replace(per_A=np.zeros((TILTS, 2))), (part(),) * 3, "those per Å"),
    (PHASES._replace(extra_cycles=np.zeros((N, N))), (part(),) * 3, "extra_cycles has shape"),
])
def test_parts_that_do_not_fit_are_refused(phases, parts, said):
    with pytest.raises(ValueError, match=said):
        masked_tilts(phases, *parts)


@pytest.mark.parametrize(("changed", "said"), [
    ({"data": np.ones((1, *SHAPE), np.complex64)}, "data have shape"),
    ({"data": np.ones((2, *SHAPE), np.complex128)}, "data are complex128"),
    ({"data": np.ones((2, SHAPE[1], SHAPE[0]), np.complex64).transpose(0, 2, 1)}, "C-ordered"),
    ({"share": np.ones((N, N), np.float32)}, "share has shape"),
    ({"limits_px": np.ones(2)}, "limits have shape"),
    ({"tilts": np.array([0, TILTS])}, "expected numbers from 0 to 2"),
    ({"tilts": np.array([-1, 0])}, "expected numbers from 0 to 2"),
])
def test_input_of_a_call_that_does_not_fit_is_refused(changed, said):
    given = {"xyz_A": np.zeros(3), "tilts": np.array([0, 2]),
             "data": np.ones((2, *SHAPE), np.complex64)}
    of_series = masked_tilts(PHASES, part(), part(), part())
    weigh_masked_samples(of_series, **given)
    with pytest.raises(ValueError, match=said):
        weigh_masked_samples(of_series, **{**given, **changed})
