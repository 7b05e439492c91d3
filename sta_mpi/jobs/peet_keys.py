"""Every key of PEET's parameter file, and what `align` makes of it.

`honoured`: it does what PEET does. `otherwise`: the program has its own way, which `use` says.
`ignored`: it has no meaning here. Keys that are not honoured are told in the log and the report
when their value asks for something; what PEET would write by default asks for nothing.
"""

from dataclasses import dataclass

from sta_mpi.formats.matlab_values import format_value, numbers_of
from sta_mpi.formats.peet_prm import PrmFile


@dataclass(frozen=True)
class KeyUse:
    """What becomes of a key.

    Parameters
    ----------
    status : str       "honoured", "otherwise" or "ignored"
    use : str          our option, or what is done instead
    quiet : tuple      values (numbers or text) that ask for nothing
    """

    status: str
    use: str
    quiet: tuple[float | str, ...] = ()


def _own(use: str, *quiet: float | str) -> KeyUse:
    return KeyUse("otherwise", use, quiet)


def _none(use: str, *quiet: float | str) -> KeyUse:
    return KeyUse("ignored", use, quiet)


def _yes(use: str) -> KeyUse:
    return KeyUse("honoured", use)


KEYS: dict[str, KeyUse] = {
    "fnVolume": _yes("--tomogram; its tilt series with --tomograms"),
    "fnModParticle": _yes("points of object 1"),
    "initMOTL": _yes("0 to 4, or motive lists"),
    "tiltRange": _yes("--wedge binary, file (multi-axis) or none; exact with --tomograms"),
    "fnOutput": _yes("names of the output files"),
    "szVol": _yes("--box-px: the largest edge, made even; written maps are cropped to szVol"),
    "reference": _yes("file, [tomogram particle], or levels of flgFairReference"),
    "flgFairReference": _yes("pairwise tree of 2^k particles"),
    "yaxisType": _yes("0 to 3"),
    "dPhi": _yes("limits of the search; the list itself with --search grid"),
    "dTheta": _yes("limits of the search; the list itself with --search grid"),
    "dPsi": _yes("limits of the search; the list itself with --search grid"),
    "searchRadius": _yes("--shift-range-A: the largest component as a radius; per axis with "
                         "--search grid"),
    "lowCutoff": _yes("high-pass of data and reference"),
    "hiCutoff": _yes("low-pass of data and reference"),
    "refThreshold": _yes("least CC, or number of particles of the next reference"),
    "duplicateShiftTolerance": _yes("per axis"),
    "duplicateAngularTolerance": _yes("modulo cNSymmetricAveraging"),
    "yAxisSymmetry": _yes("an iteration that searches N turns about y alone"),
    "sampleSphere": _yes("iteration 1: --search global, half: within 90 degrees; the list itself "
                         "with --search grid"),
    "sampleInterval": _yes("step of sampleSphere"),
    "CCMode": _yes("score ncc with the noise of the data (--score fsc adds the FSC); 0: searches "
                   "know of no wedge"),
    "flgAbsValue": _own("the signed correlation is maximised: a match of inverted contrast is "
                        "none", 0.0),
    "flgWedgeWeight": _yes("0: searches know of no wedge, averages do; without the key: 1"),
    "edgeShift": _yes("--edge-shift-px"),
    "flgFPWedgeMask": _yes("voxels on the border of a binary wedge count in part"),
    "nWeightGroup": _yes("scores of column 6"),
    "flgElevationCompensation": _yes("scores of column 6"),
    "flgAllowMaskedCorrelation": _none("the mask is on the reference; correlations are exact",
                                       0.0),
    "flgFilterRefOnly": _yes("filters on the reference alone"),
    "flgFRM": _none("the engine has its own global search", 1.0),
    "flgSearchAlongParticleAxes": _yes("shifts of --search grid count along particle axes; other "
                                       "searches have a radius, without axes"),
    "flgStrictSearchLimits": _yes("limits are centred on the initial poses, with the largest "
                                  "range"),
    "maskType": _yes("none, sphere, cylinder or a file"),
    "maskModelPts": _yes("turns of a cylinder's axis: [z y]"),
    "insideMaskRadius": _yes("inner radius"),
    "outsideMaskRadius": _yes("outer radius"),
    "cylinderHeight": _yes("height"),
    "maskBlurStdDev": _yes("Gaussian edge"),
    "cNSymmetricAveraging": _yes("--symmetry C<N>, once on the sums"),
    "flgCNMasking": _none("sums are symmetrised in Fourier space: nothing reaches past the box",
                          1.0, 0.0),
    "lstThresholds": _yes("one average each"),
    "refFlagAllTom": _yes("0: equal numbers of each tomogram"),
    "lstFlagAllTom": _yes("0: equal numbers of each tomogram"),
    "selectClassID": _yes("classes that enter averages"),
    "excludeList": _yes("particles that enter no average"),
    "includeList": _yes("particles that alone enter averages"),
    "flgRandomize": _yes("particles of averages at random"),
    "flgRemoveDuplicates": _yes("class -9999, again in each iteration"),
    "flgNoReferenceRefinement": _yes("the first reference in all iterations"),
    "flgAlignAverages": _none("averages are made in the axes of the particle: y is vertical",
                              0.0, 1.0),
    "flgVolNamesAreTemplates": _own("names are taken as they are", 0.0),
    "flgUseExtractedParticles": _own("particles are cut from the tomograms anew: the same voxels",
                                     0.0),
    "alignedBaseName": _yes("one file a particle, turned to the reference"),
    "meanFill": _none("what lies outside the tomogram is filled with the mean", 1.0, 0.0),
    "flgMeanFill": _none("what lies outside the tomogram is filled with the mean", 1.0, 0.0),
    "particlePerCPU": _none("units of work: --unit-particles", *map(float, range(10000))),
    "debugLevel": _none("run.log", *map(float, range(4))),
    "pcaFnParticleMask": _none("a mask for classification: classify --focus-mask", ""),
    "relativeOrient": _own("obsolete: give orientations in initMOTL", 0.0),
    "yaxisObjectNum": _none("obsolete", 1.0),
    "yaxisContourNum": _none("obsolete", 1.0),
    "userCommands": _none("lines that Etomo keeps", ""),
}


def unknown_keys(prm: PrmFile) -> list[str]:
    """Keys of a file that PEET is not known to have."""
    return [key for key in prm if key not in KEYS]


def uses_of(prm: PrmFile) -> list[tuple[str, str, str, str]]:
    """(key, value, status, use) of every key of a file, in its order."""
    rows = []
    for key in prm:
        value = format_value(prm[key])
        known = KEYS.get(key)
        rows.append((key, value, "unknown", "not used") if known is None else
                    (key, value, known.status, known.use))
    return rows


def reports(prm: PrmFile) -> list[str]:
    """One line for each key whose value asks for something that is not done as PEET does it."""
    lines = []
    for key, value, status, use in uses_of(prm):
        if status in ("otherwise", "ignored") and not is_quiet(prm, key):
            lines.append(f"{key} = {value}: {use}")
    return lines


def is_quiet(prm: PrmFile, key: str) -> bool:
    """Whether a value asks for nothing: empty, NaN, or among the quiet ones."""
    quiet = KEYS[key].quiet
    for item in prm.cells(key):
        if isinstance(item, str):
            if item not in quiet and item.strip():
                return False
        elif any(v not in quiet for v in numbers_of(item) if v == v):
            return False
    return True
