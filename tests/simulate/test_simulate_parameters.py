"""Parameters of `simulate`: combinations that are refused."""

import pytest
from pydantic import ValidationError

from sta_mpi.jobs.parameters.simulate import SimulateParameters


def test_defaults_make_a_job(tmp_path):
    parameters = SimulateParameters(output=tmp_path)
    assert parameters.n_series == 3
    assert parameters.hand == -1


@pytest.mark.parametrize(("values", "message"), [
    ({"model": "a.pdb", "density_map": "b.mrc"}, "not both"),
    ({"model_centre_A": (1.0, 2.0)}, "x, y and z"),
    ({"tilt_min_deg": 20, "tilt_max_deg": 10}, "above"),
    ({"truth_box_px": 33}, "even"),
    ({"crop": True}, "--like"),
    ({"hand": 0}, "hand"),
    ({"tilt_max_deg": 95}, "less than 90"),
    ({"snr": 0}, "greater than 0"),
    ({"phantom": "teapot"}, "phantom"),
])
def test_contradicting_parameters_are_refused(tmp_path, values, message):
    with pytest.raises(ValidationError, match=message):
        SimulateParameters(output=tmp_path, **values)
