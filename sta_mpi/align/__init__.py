"""Pose search and averaging on weighted Fourier samples; pure functions of arrays."""
