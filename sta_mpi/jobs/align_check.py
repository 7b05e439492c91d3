"""The check after a round: does the exhaustive oracle find better poses than the search did?

A random sample of particles is searched by `align.oracle`, with the same reference, band,
limits and priors. In the first round the images of the sample are also searched with their
contrast inverted, which tells a reference of the wrong sign.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import Prior
from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.oracle import oracle_search, score_pose
from sta_mpi.align.polish import Pose
from sta_mpi.align.reference import Reference
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.jobs.align_polish import PolishSearcher
from sta_mpi.jobs.align_search import (
    Search,
    make_references,
    moved_px,
    reference_shapes,
    search_centre,
    weighted_samples,
)
from sta_mpi.jobs.averaging import Setup, make_plans
from sta_mpi.jobs.fixed_parts import log_limit
from sta_mpi.jobs.sample_units import SampleUnits
from sta_mpi.jobs.sources import gives_boxes
from sta_mpi.parallel.devices import select_device
from sta_mpi.parallel.job import Partial, SumSpec, Unit

Floats = NDArray[np.float64]

MARGIN = 0.5
"""Log-likelihood by which the oracle has to win: what one standard deviation in one of the six
parameters costs. Polished poses may be 0.2 short on noisy references, which have many optima."""

WARN_SHARE = 0.02
"""Share of particles with a better pose at the oracle from which a warning is due."""

LEAST_SAMPLE, MOST_SAMPLE = 12, 50
"""Particles of a check that was not given a number: a twentieth, between these."""

NAMES = ("found", "oracle", "apart_deg", "negative", "unseen_gain")
"""Numbers a particle."""

UNSEEN = 5
"""Every so manyth tilt is kept from a search of the sample, to test its poses on them."""

UNIT = 4
"""Particles in a unit: the oracle is slow."""


@dataclass(frozen=True)
class _Context:
    references: list[list[Reference]]
    negative: PolishSearcher | None
    partial: PolishSearcher | None


class OracleCheck:
    """Search a sample of the particles of a round again, exhaustively."""

    name = "oracle check"

    def __init__(self, setup: Setup, search: Search, columns: dict[str, NDArray[Any]],
                 tag: str) -> None:
        self.setup, self.search, self._columns, self._tag = setup, search, columns, tag
        self.rows = self._sample()
        self.sample = SampleUnits(setup, self.rows, UNIT)

    def _sample(self) -> NDArray[np.intp]:
        """Aligned particles, drawn anew each round."""
        parameters = self.search.parameters
        aligned = np.flatnonzero(self._columns["n_slices"] > 0)
        if self.search.is_kept is not None:
            aligned = aligned[~self.search.is_kept[aligned]]
        rng = np.random.default_rng(np.random.SeedSequence(
            [parameters.seed, 0x04AC1E, self.search.i_round]))
        n = parameters.oracle_particles
        if n is None:
            n = int(np.clip(len(aligned) // 20, LEAST_SAMPLE, MOST_SAMPLE))
        return np.sort(rng.permutation(aligned)[:n])

    def units(self) -> list[Unit]:
        """A few particles of one series and half each."""
        return self.sample.units

    def sum_specs(self) -> dict[str, SumSpec]:
        """No sums: rows alone."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Scores at the found pose and at the oracle's, and how far these are apart."""
        n = len(self.setup.half)
        return dict.fromkeys(NAMES, ((n,), "float64"))

    def fingerprint(self) -> str:
        """Digest of inputs, parameters and round."""
        return self._tag + "oracle"

    def prepare(self, runtime: Any) -> _Context:
        """Plans, images and references."""
        select_device(runtime, self.setup.parameters.device)
        plans = make_plans(self.setup, runtime, reference_shapes(self.setup))
        self.setup.source.prepare(runtime, plans)
        references = make_references(self.search, plans, runtime)
        negative = None
        if self.search.is_first:
            negative = PolishSearcher(self.setup, self.search, references,
                                      self._observe_negative)
        partial = None
        if not self.search.is_global and not gives_boxes(self.setup.source):
            still = replace(self.search, parameters=self.search.parameters.model_copy(
                update={"early_stop": False}))
            partial = PolishSearcher(self.setup, still, references, self._observe_partial)
        return _Context(references, negative, partial)

    def _observe_partial(self, row: int, anchor_A: Floats) -> Any:
        observation = self.setup.source.observe(row, anchor_A)
        return None if observation is None else _Tilts(observation, False)

    def _unseen_gain(self, context: _Context, rows: NDArray[np.intp], half: int) -> Floats:
        """Log-likelihood that a search of most tilts gains on the others; NaN without any."""
        gains = np.full(len(rows), np.nan)
        if context.partial is None:
            return gains
        for i, found in enumerate(context.partial.align(rows, half)):
            if found.observation is None or not found.modes:
                continue
            row, mode = int(rows[i]), found.modes[0]
            samples = _Tilts(found.observation.observation, True).samples(
                self.setup.sizes.box_px)
            # the own half's average holds these very tilts, at the pose before: it favours that
            references = context.references[2 - half]
            samples = self._weighted(samples, references[0], row)
            start = Pose(self.search.R_p2t[row], moved_px(self.setup, self.search, row))
            after = Pose(mode.R_p2t, mode.shift_xyz_px)
            reference, band = references[mode.i_reference], self.search.band
            gains[i] = (score_pose(samples, reference, band, after)
                        - score_pose(samples, reference, band, start))
        return gains

    def _observe_negative(self, row: int, anchor_A: Floats) -> Any:
        observation = self.setup.source.observe(row, anchor_A)
        return None if observation is None else _Negative(observation)

    def work(self, context: _Context, unit: Unit) -> Partial:
        """Search the particles of a unit."""
        half, rows = unit.payload
        values = {name: np.full(len(rows), np.nan) for name in self.row_specs()}
        for i, row in enumerate(rows):
            found, oracle, apart_deg = self._search(int(row), context.references[half - 1])
            values["found"][i], values["oracle"][i] = found, oracle
            values["apart_deg"][i] = apart_deg
        values["unseen_gain"] = self._unseen_gain(context, rows, half)
        if context.negative is not None:
            values["negative"] = np.array([
                f.columns["loglik"] for f in context.negative.align(rows, half)])
        return Partial({}, rows, values)

    def _search(self, row: int, references: list[Reference]) -> tuple[float, float, float]:
        search, setup = self.search, self.setup
        voxel_A = setup.sizes.voxel_A
        reference = references[int(self._columns["i_reference"][row])]
        samples = setup.source.observe(row, search.anchor_A[row]).samples(setup.sizes.box_px)
        samples = self._weighted(samples, references[0], row)
        start = Pose(search.R_p2t[row], (search.offset_A[row] - search.anchor_A[row]) / voxel_A)
        R = self._columns["R_p2t"][row].reshape(3, 3)
        shift = (self._columns["offset_A"][row] - search.anchor_A[row]) / voxel_A
        log_prior = self._log_prior(row)
        found = (score_pose(samples, reference, search.band, Pose(R, shift))
                 + float(log_prior(R[None], shift[None])[0, 0]))
        oracle = oracle_search(
            samples, reference, search.band, search.candidates(row), search.rotation_step_deg,
            start.shift_xyz_px + search.shifts_px, search.shift_step_A / voxel_A,
            log_prior)
        return found, oracle.score, float(angular_distance_deg(R, oracle.pose.R_p2t))

    def _weighted(self, samples: TiltSamples, reference: Reference, row: int) -> TiltSamples:
        return weighted_samples(self.search, samples, reference.shell_power,
                                int(self.setup.half[row]))

    def _log_prior(self, row: int) -> Callable[[Floats, Floats], Floats]:
        """Prior around the input pose, and limits around where the search is centred."""
        search = self.search
        p, voxel_A = search.parameters, self.setup.sizes.voxel_A
        prior, tilt_prior = Prior(p.angle_prior_deg, p.shift_prior_A), Prior(p.tilt_prior_deg)
        centre = search_centre(self.setup, search, row)
        most_px = search.max_shift_A / voxel_A
        most_tilt = p.cone_deg if search.is_global and p.cone_deg is not None else 180.0
        if search.limits is not None and search.limits.max_tilt_deg is not None:
            most_tilt = search.limits.max_tilt_deg

        def log_prior(R: Floats, shifts_px: Floats) -> Floats:
            turn = angular_distance_deg(centre.R_p2t, R)
            tilt = np.degrees(np.arccos(np.clip(R[:, :, 2] @ centre.R_p2t[:, 2], -1, 1)))
            move = np.linalg.norm(shifts_px - centre.shift_xyz_px, axis=1)
            angle = prior.log_angle(turn) + tilt_prior.log_angle(tilt)
            shift = prior.log_shift(move * voxel_A)
            if not search.is_global:
                angle = np.where(turn > search.max_angle_deg + 1e-6, -np.inf, angle)
            angle = np.where(tilt > most_tilt + 1e-6, -np.inf, angle) + log_limit(search, row, R)
            shift = np.where(move > most_px + 1e-6, -np.inf, shift)
            return np.asarray(angle[:, None] + shift[None])

        return log_prior

    def finish(self, reduced: Any, runtime: Any) -> dict[str, Floats]:
        """All rows on all ranks."""
        return {name: reduced.rows(name)[self.rows] for name in self.row_specs()}


@dataclass(frozen=True)
class _Negative:
    """An observation with inverted contrast."""

    observation: Any

    def samples(self, size_px: int, r_max_px: float = np.inf) -> Any:
        samples = self.observation.samples(size_px, r_max_px)
        return samples._replace(data_rft=-samples.data_rft)


@dataclass(frozen=True)
class _Tilts:
    """An observation without every fifth tilt, or of these alone."""

    observation: Any
    is_unseen: bool

    def samples(self, size_px: int, r_max_px: float = np.inf) -> TiltSamples:
        s = self.observation.samples(size_px, r_max_px)
        kept = (np.arange(len(s.tilts)) % UNSEEN == UNSEEN // 2) == self.is_unseen
        return TiltSamples(s.data_rft[kept], s.weight_rft[kept], s.rotation[kept], s.tilts[kept],
                           limit_px=None if s.limit_px is None else s.limit_px[kept])


def summarise(rows: dict[str, Floats]) -> dict[str, float]:
    """Numbers of a check: particles, share that the oracle betters, loss of log-likelihood."""
    seen = np.isfinite(rows["oracle"])
    better = rows["oracle"][seen] > rows["found"][seen] + MARGIN
    n = int(seen.sum())
    inverted = rows["negative"][seen]
    numbers = {
        "oracle_particles": float(n),
        "oracle_better_share": float(better.mean()) if n else 0.0,
        "oracle_gain": float(np.mean(np.maximum(
            rows["oracle"][seen] - rows["found"][seen], 0.0))) if n else 0.0,
        "oracle_far_share": float((better & (rows["apart_deg"][seen] > 5.0)).mean()) if n else 0.0}
    gain = rows["unseen_gain"][np.isfinite(rows["unseen_gain"])]
    if len(gain) > 1:
        numbers["unseen_particles"] = float(len(gain))
        numbers["unseen_gain"] = float(gain.mean())
        numbers["unseen_gain_error"] = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    if np.isfinite(inverted).any():
        numbers["inverted_wins_share"] = float(np.mean(inverted > rows["found"][seen]))
    return numbers


def check_warnings(entry: dict[str, float]) -> list[str]:
    """What a user should change after a round with these numbers, in words."""
    warnings = []
    share = entry.get("oracle_better_share", 0.0)
    if share > WARN_SHARE:
        setting = ("--angle-range-deg or --shift-range-A (poses lie at the limit)"
                   if entry["at_edge_share"] > 0.1 else
                   "--starts, or a finer --global-order" if entry["is_global"] else
                   "--search global, or a wider --angle-range-deg"
                   if entry["oracle_far_share"] > share / 2 else
                   "a coarser --lowpass-A in the first round")
        warnings.append(
            f"round {entry['round']:.0f}: the exhaustive search found better poses for "
            f"{100 * share:.0f} % of {entry['oracle_particles']:.0f} particles, expected at most "
            f"{100 * WARN_SHARE:.0f} %. Try {setting}.")
    inverted = entry.get("inverted_wins_share", 0.0)
    if inverted > 0.5:
        warnings.append(
            f"the reference explains {100 * inverted:.0f} % of the checked particles better with "
            "its contrast inverted. Multiply it by -1 (protein has to be bright), or give "
            "another reference.")
    if entry.get("mirror_wins_share", 0.0) > 0.5:
        warnings.append(
            f"round {entry['round']:.0f}: the mirrored reference explains "
            f"{100 * entry['mirror_wins_share']:.0f} % of the particles better. Check the hand of "
            "the reference and of the tilt geometry.")
    return warnings
