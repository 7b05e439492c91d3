"""Checks of search options that `align`, `refine` and `classify` share, before any work."""

from sta_mpi.errors import UsageError
from sta_mpi.jobs.align_global import GLOBAL_BAND
from sta_mpi.jobs.averaging import check_symmetry
from sta_mpi.jobs.parameters.align import SearchParameters
from sta_mpi.jobs.reconstruction import MapSizes

LEAST_SHELLS = 2
"""Fourier shells that a search needs to tell poses apart."""


def check_band(lowpass_A: float, highpass_A: float | None, sizes: MapSizes) -> None:
    """UsageError for limits beyond Nyquist, of too few shells, or in the wrong order."""
    nyquist_A, span_A = 2 * sizes.voxel_A, sizes.box_px * sizes.voxel_A
    if lowpass_A < nyquist_A:
        raise UsageError(f"--lowpass-A {lowpass_A:g} is beyond Nyquist ({nyquist_A:.2f} Å at "
                         "this binning). Use a coarser limit or less binning.")
    if lowpass_A > span_A / LEAST_SHELLS:
        raise UsageError(f"--lowpass-A {lowpass_A:g} leaves fewer than {LEAST_SHELLS} Fourier "
                         f"shells of a box of {span_A:g} Å. Use at most "
                         f"{span_A / LEAST_SHELLS:.4g} Å, or a larger box.")
    if highpass_A is not None and highpass_A <= lowpass_A:
        raise UsageError(f"--highpass-A {highpass_A:g} must be coarser than --lowpass-A "
                         f"{lowpass_A:g}. Use a larger number of Å, or leave it out.")


def check_candidate_band(highpass_A: float | None, kind: str, sizes: MapSizes) -> None:
    """UsageError for a high-pass limit that leaves the band of a global search too few shells."""
    span_A = sizes.box_px * sizes.voxel_A
    if kind == "global" and highpass_A is not None and not has_candidate_band(span_A / highpass_A):
        raise UsageError(
            f"--highpass-A {highpass_A:g} leaves a global search too little: its candidates come "
            f"from what is coarser than {span_A / GLOBAL_BAND:.4g} Å. Use a --highpass-A of "
            f"{span_A / (GLOBAL_BAND - LEAST_SHELLS):.4g} or more, none, or --search local.")


def has_candidate_band(r_min: float) -> bool:
    """Whether a search from Fourier index r_min on has shells that candidates come from."""
    return r_min <= GLOBAL_BAND - LEAST_SHELLS


def check_options(parameters: SearchParameters, kind: str, has_local_rounds: bool) -> None:
    """UsageError for options that a search of this kind would pass over in silence."""
    if kind != "global":
        for option, is_given in (("--cone-deg", parameters.cone_deg is not None),
                                 ("--rotation-share", parameters.rotation_share < 1)):
            if is_given:
                raise UsageError(f"{option} limits the list of a global search, but this one is "
                                 f"{kind}. Use --search global, or leave it out.")
    if parameters.relax_symmetry is not None:
        check_symmetry(parameters.relax_symmetry, "--relax-symmetry")
        if kind in ("grid", "still") or not has_local_rounds:
            raise UsageError(f"--relax-symmetry is for local searches, but this one is {kind} in "
                             "all rounds. Use --search local, or more --iterations.")
    priors = parameters.angle_prior_deg, parameters.tilt_prior_deg, parameters.shift_prior_A
    if parameters.score != "loglik" and any(priors):
        raise UsageError("priors weigh against a likelihood: use --score loglik with "
                         "--angle-prior-deg, --tilt-prior-deg or --shift-prior-A.")
