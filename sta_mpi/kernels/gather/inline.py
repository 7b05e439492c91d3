"""Scalar maths of gathering, compiled for CPU and GPU."""


def interpolate(near, far, fx):
    """Linear interpolation along x between two neighbours."""
    return near + fx * (far - near)
