"""When a refinement has converged, and when a round made things worse.

Both are decided from numbers a round: the Fourier shell that the FSC reaches, the typical change
of poses with their uncertainty, and the score on tilts that the search did not see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Numbers = Mapping[str, float]

PATIENCE = 2
"""Rounds without a better resolution after which a refinement may end."""

LEAST_GAIN = 0.5
"""Fourier shells by which a resolution must grow to count as better."""

MOST_LOSS = 1.0
"""Fourier shells that a round may lose to the best one."""

STILL = 1.0
"""Median turn [its standard deviations] below which poses count as at rest."""

SMALLEST_FALL = 0.8
"""Poses that change at least this share of their smallest change so far move no less."""

SIGNIFICANT = 3.0
"""Standard errors by which the score on unseen tilts must fall to count."""

FITTED_BEFORE = 1.5
"""Log-likelihood by which poses on unseen tilts fall when nothing changes: the poses before were
fitted to these tilts too (a share f = 1/5 of the data, 6 parameters: 3 f), the poses after were
fitted without (3 f / (1 - f))."""

LEAST_UNSEEN = 10
"""Particles that a score on unseen tilts needs to count."""


def shell(numbers: Numbers, span_A: float) -> float:
    """Fourier shell of the resolution that was reached in a round."""
    resolution_A = numbers["resolution_A"]
    return span_A / resolution_A if 0 < resolution_A < float("inf") else 0.0


def reached(numbers: Numbers, span_A: float) -> float:
    """Shell that a round's FSC reaches, for comparison with other rounds of the same data.

    `crossing_shell`, which averages over thresholds: the shell of the resolution goes up and
    down by two between rounds alike where the curve lies along its threshold. Rounds in a
    checkpoint of an earlier build have the resolution alone.
    """
    crossing = numbers.get("crossing_shell", shell(numbers, span_A))
    return crossing if crossing > 0 else 0.0


def is_worse(trial: Numbers, other: Numbers, span_A: float) -> bool:
    """Whether a round reached less than another beyond the scatter of their FSC."""
    return reached(trial, span_A) < reached(other, span_A) - MOST_LOSS


def has_converged(history: Sequence[Numbers], span_A: float, before: Numbers | None = None
                  ) -> bool:
    """Whether more rounds would change nothing: no resolution gained, poses at rest.

    Parameters
    ----------
    history : accepted rounds, the last one local
    before : what the poses before the first round had reached, which counts as a round then
    """
    shells = [reached(h, span_A) for h in ([] if before is None else [before]) + list(history)]
    if len(shells) <= PATIENCE or history[-1]["is_global"] > 0:
        return False
    if max(shells[-PATIENCE:]) > max(shells[:-PATIENCE]) + LEAST_GAIN:
        return False
    last, turns = history[-1], [h["median_turn_deg"] for h in history[:-1]]
    at_rest = last["median_turn_deg"] < STILL * last["median_sigma_angle_deg"]
    return at_rest or last["median_turn_deg"] >= SMALLEST_FALL * min(turns)


@dataclass(frozen=True)
class Verdict:
    """Whether a round is accepted, and why not."""

    is_accepted: bool
    reason: str = ""


def judge(history: Sequence[Numbers], trial: Numbers, span_A: float) -> Verdict:
    """Compare a round with the accepted ones before it.

    A round is worse when its resolution falls by more than one Fourier shell below the best, or
    when its poses explain the tilts that the search did not see worse than the poses before.
    """
    if history:
        best = max(history, key=lambda h: reached(h, span_A))
        if is_worse(trial, best, span_A):
            shells = reached(best, span_A) - reached(trial, span_A)
            return Verdict(False, f"the resolution fell from {best['resolution_A']:.2f} to "
                                  f"{trial['resolution_A']:.2f} Å ({shells:.1f} Fourier shells)")
    gain, error = trial.get("unseen_gain", 0.0), trial.get("unseen_gain_error", 0.0)
    counts = trial.get("unseen_particles", 0.0) >= LEAST_UNSEEN
    if counts and 0 < SIGNIFICANT * error < -(gain + FITTED_BEFORE):
        return Verdict(False, "the new poses explain the tilts that the search did not see worse: "
                              f"log-likelihood {gain:+.2f} a particle (standard error "
                              f"{error:.2f})")
    return Verdict(True)
