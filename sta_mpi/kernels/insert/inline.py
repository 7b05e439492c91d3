"""Scalar maths of insertion, compiled for CPU and GPU."""


def wrap(index, n):
    """Array index of a frequency from -n to n - 1."""
    return index + n if index < 0 else index


def mate(index, n):
    """Array index of minus the frequency at array index `index`."""
    return n - index if index > 0 else 0
