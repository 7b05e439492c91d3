"""Phantoms and tilt series with known truth, written apart from the reconstruction."""
