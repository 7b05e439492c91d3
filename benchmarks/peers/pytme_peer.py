"""Run by `matching_peers.py` with the interpreter of an environment that holds pytme alone.

    PYTHON pytme_peer.py input.npz output.npz

Template matching of one target with pyTME's CPU back end (pyFFTW), one thread, its
FLCSphericalMask score, which has one mask for all rotations. CPU seconds of the search alone.
"""

import sys
import time

import numpy as np
import tme
from tme.analyzer import MaxScoreOverRotations
from tme.backends import backend
from tme.matching_data import MatchingData
from tme.matching_exhaustive import MATCHING_EXHAUSTIVE_REGISTER, match_exhaustive


def main() -> None:
    """Search and write scores and CPU time."""
    given = np.load(sys.argv[1])
    backend.change_backend("numpyfftw")
    data = MatchingData(given["target"], given["template"], template_mask=given["mask"])
    data.rotations = given["rotations"].astype(np.float32)
    setup, score = MATCHING_EXHAUSTIVE_REGISTER["FLCSphericalMask"]
    start = time.process_time()
    found = match_exhaustive(
        data, matching_score=score, matching_setup=setup, callback_class=MaxScoreOverRotations,
        job_schedule=(1, 1), pad_target_edges=False, interpolation_order=3,
        backend_name="numpyfftw")
    seconds = time.process_time() - start
    version = getattr(tme, "__version__", "unknown")
    np.savez(sys.argv[2], scores=np.asarray(found[0]), seconds=seconds, version=version)


if __name__ == "__main__":
    main()
