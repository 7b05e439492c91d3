"""Picks, score maps and tables of `match`, on rank 0."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.containers import write_h5
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_particle_table import RelionParticles, new_names
from sta_mpi.formats.relion_sets import OptimisationSet, read_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, even_sizes
from sta_mpi.geometry.euler import relion_angles_from_matrix
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.match_input import MatchInput
from sta_mpi.jobs.match_plan import TomogramPlan
from sta_mpi.jobs.match_report import TomogramPicks, match_sections
from sta_mpi.jobs.parameters.match import MatchParameters
from sta_mpi.jobs.set_output import write_particle_set
from sta_mpi.pick.false_alarms import contrast_looks_inverted, false_alarms
from sta_mpi.pick.match_volume import MatchVolume

Floats = NDArray[np.float64]

SCORE = "rlnAutopickFigureOfMerit"
BEAD_WARNING = 0.05
"""Share of a tomogram under the bead mask from which on the user is told."""


@dataclass(frozen=True)
class Peaks:
    """Peaks of all tomograms so far, of the template and of its inverse.

    Parameters
    ----------
    source : (m,) int           tomogram, in the order of the search
    sign : (m,) int8            1: may be a particle, -1: decoy
    score : (m,) float64        robust standard deviations over the median of its depth
    xyz_A : (m, 3) float64
    R_p2t : (m, 3, 3) float64
    """

    source: NDArray[Any]
    sign: NDArray[Any]
    score: Floats
    xyz_A: Floats
    R_p2t: Floats

    @classmethod
    def empty(cls) -> "Peaks":
        """No tomogram yet."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int8), np.zeros(0), np.zeros((0, 3)),
                   np.zeros((0, 3, 3)))

    def of(self, source: int, sign: int) -> "Peaks":
        """The peaks of one tomogram and sign, best first."""
        rows = np.flatnonzero((self.source == source) & (self.sign == sign))
        rows = rows[np.argsort(-self.score[rows], kind="stable")]
        return Peaks(self.source[rows], self.sign[rows], self.score[rows], self.xyz_A[rows],
                     self.R_p2t[rows])

    def first(self, n: int) -> "Peaks":
        """The first n rows."""
        return Peaks(self.source[:n], self.sign[:n], self.score[:n], self.xyz_A[:n],
                     self.R_p2t[:n])


def join_peaks(a: Peaks, b: Peaks) -> Peaks:
    """Both lists."""
    return Peaks(*(np.concatenate([getattr(a, name), getattr(b, name)])
                   for name in ("source", "sign", "score", "xyz_A", "R_p2t")))


def state_of_peaks(peaks: Peaks) -> dict[str, NDArray[Any]]:
    """Arrays for a checkpoint."""
    return {f"peak_{name}": getattr(peaks, name)
            for name in ("source", "sign", "score", "xyz_A", "R_p2t")}


def peaks_from_state(arrays: dict[str, NDArray[Any]]) -> Peaks:
    """The inverse of `state_of_peaks`."""
    return Peaks(*(arrays[f"peak_{name}"]
                   for name in ("source", "sign", "score", "xyz_A", "R_p2t")))


def volume_file(kind: str, name: str) -> str:
    """Where a volume of a tomogram is: kind "scores", "rotations" or "filtered"."""
    return f"{kind}/{name.replace('/', '_')}.mrc"


def write_volumes(folder: JobFolder, plan: TomogramPlan, whole: MatchVolume, scores: NDArray,
                  rotation: NDArray[np.int32]) -> None:
    """Score map, map of rotation numbers and the band-passed tomogram, on the grid of the search.

    Voxels where no particle may be have score 0.
    """
    name, voxel_A = plan.source.name, plan.voxel_A
    masked = np.where(whole.allowed, scores, 0).astype(np.float32)
    write_mrc(folder.file(volume_file("scores", name)), masked, voxel_A)
    write_mrc(folder.file(volume_file("rotations", name)), rotation.astype(np.float32), voxel_A)
    write_filtered(folder, plan, whole)


def write_filtered(folder: JobFolder, plan: TomogramPlan, whole: MatchVolume) -> None:
    """The band-passed tomogram that the report draws picks on, protein bright."""
    write_mrc(folder.file(volume_file("filtered", plan.source.name)), whole.band_passed,
              plan.voxel_A)


def write_outputs(p: MatchParameters, folder: JobFolder, inputs: MatchInput, peaks: Peaks,
                  scan_list: Floats) -> JobOutcome:
    """Choose thresholds and write everything that the user reads."""
    found = [_picks_of(p, inputs, peaks, i) for i in range(len(inputs.sources))]
    outputs = {"candidates": "candidates.h5", "rotations": "rotations.h5"}
    _write_candidates(folder, inputs, peaks)
    write_h5(folder.file("rotations.h5"), {
        "R_p2t": scan_list, "rot_tilt_psi_deg": relion_angles_from_matrix(scan_list)},
        {"of": "the scan: numbers of the maps in rotations/"})
    picks = [f.picks for f in found]
    n_picks = sum(len(peak.score) for peak in picks)
    if n_picks:
        outputs |= _write_set(p, folder, inputs, picks)
    for kind in ("scores", "rotations", "filtered"):
        path = volume_file(kind, inputs.sources[0].name)
        if (folder.path / path).exists():
            outputs[f"first_{kind}"] = path
    rates = [f.rate for f in found if len(f.picks.score)]
    n_false = sum(f.rate * len(f.picks.score) for f in found if len(f.picks.score))
    results: dict[str, Any] = {
        "picks": n_picks, "tomograms": len(found),
        "estimated_false_alarm_rate": n_false / n_picks if rates else None,
        "threshold": found[0].threshold if len(found) == 1 else None,
        "candidates": int((peaks.sign > 0).sum())}
    return JobOutcome(results, outputs, match_sections(p, folder.path, inputs, found),
                      _warnings(p, found, n_picks))


def _picks_of(p: MatchParameters, inputs: MatchInput, peaks: Peaks, i: int) -> TomogramPicks:
    """Picks of one tomogram above its threshold."""
    up, down = peaks.of(i, 1), peaks.of(i, -1)
    curve = false_alarms(up.score, down.score)
    suggested = curve.suggest(p.false_alarm_rate)
    threshold = suggested if p.threshold is None else p.threshold
    n = int((up.score >= threshold).sum())
    if p.max_picks is not None:
        n = min(n, p.max_picks)
    picks = up.first(n)
    rate = curve.rate_at(float(picks.score[-1])) if n else float("nan")
    inverted = contrast_looks_inverted(up.score, down.score, p.false_alarm_rate)
    return TomogramPicks(inputs.sources[i].name, i, picks, up, down, threshold, suggested, rate,
                         inverted)


def _write_candidates(folder: JobFolder, inputs: MatchInput, peaks: Peaks) -> None:
    names = np.array([source.name for source in inputs.sources], dtype="S")
    write_h5(folder.file("candidates.h5"), {
        "source": peaks.source, "sign": peaks.sign, "score": peaks.score, "xyz_A": peaks.xyz_A,
        "R_p2t": peaks.R_p2t}, {"tomograms": ",".join(n.decode() for n in names),
                                "sign": "1: peaks of the template, -1: of its inverse (decoys)"})


def _write_set(p: MatchParameters, folder: JobFolder, inputs: MatchInput, picks: list[Peaks]
               ) -> dict[str, str]:
    """particles.star, poses.h5 and the set that names them with their tomograms."""
    tomograms = inputs.tomograms
    moves: dict[str, Any] = {}
    if inputs.tomogram_file is None:
        tomograms, moves = even_sizes(tomograms)
        tomograms = _same_volumes(tomograms, inputs.tomograms)
        tomograms.write(folder.file("tomograms.star"))
    particles = particles_of(inputs, tomograms, picks, moves)
    members = OptimisationSet()
    if p.optimisation_set is not None:
        members = read_optimisation_set(p.optimisation_set)
    table = inputs.tomogram_file or folder.path / "tomograms.star"
    outputs = write_particle_set(folder, particles, tomograms, replace(members, tomograms=table))
    if inputs.tomogram_file is None:
        outputs["tomograms"] = "tomograms.star"
    return outputs


def _same_volumes(even: TomogramSet, given: TomogramSet) -> TomogramSet:
    """The volumes that the given set names, in the set with even sizes."""
    paths: dict[str, tuple[str, ...]] = {}
    for name in given.names:
        volume = given.reconstructed(name)
        if volume is not None:
            paths[name] = tuple(str(Path(path).resolve()) for path in volume.paths)
    return even.with_volumes(paths, 1.0)


def particles_of(inputs: MatchInput, tomograms: TomogramSet, picks: list[Peaks],
                 moves: dict[str, Any]) -> RelionParticles:
    """The picks of all tomograms as particles, best first in each."""
    index = [tomograms.names.index(inputs.sources[int(peak.source[0])].name)
             for peak in picks if len(peak.source)]
    filled = [peak for peak in picks if len(peak.source)]
    i_tomo = np.repeat(np.array(index, np.int32), [len(peak.source) for peak in filled])
    xyz_A = np.concatenate([
        peak.xyz_A + moves.get(tomograms.names[i], np.zeros(3))
        for i, peak in zip(index, filled, strict=True)])
    n = len(i_tomo)
    score = np.concatenate([peak.score for peak in filled])
    return RelionParticles(
        list(tomograms.names), i_tomo, new_names(list(tomograms.names), i_tomo), xyz_A,
        np.zeros((n, 3)), np.concatenate([peak.R_p2t for peak in filled]),
        np.tile(np.eye(3), (n, 1, 1)), np.zeros(n, np.int8), np.full(n, -1, np.int32),
        columns={"rlnTomoName": np.array([tomograms.names[i] for i in i_tomo], dtype="S"),
                 SCORE: score})


def _warnings(p: MatchParameters, found: list[TomogramPicks], n_picks: int) -> list[str]:
    texts = []
    for f in found:
        if f.is_inverted:
            texts.append(
                f"tomogram {f.name}: the inverted template finds particles and the template does "
                "not: protein seems to be "
                + "bright in the tomogram. Check --tomogram-contrast and the template.")
        elif not len(f.picks.score):
            texts.append(f"tomogram {f.name}: no score is above what the inverted template "
                         f"reaches at a false-alarm rate of {p.false_alarm_rate:g}: no picks.")
        elif f.rate > 2 * p.false_alarm_rate:
            texts.append(f"tomogram {f.name}: about {100 * f.rate:.0f} % of the picks above "
                         f"--threshold {f.threshold:g} are false.")
    if not n_picks:
        texts.append("no picks at all: no particles.star was written. Look at the histogram in the "
                     "report; try another low-pass, mask diameter or template.")
    return texts
