"""Rotations, Euler conventions, projections, symmetry and angular sampling; no I/O.

Import from the modules: `rotations` (matrices, vectors, distances), `euler` (RELION's and
other angles), `projection` (tilts to matrices and back), `symmetry` (point groups) and
`sampling` (grids of orientations and shifts).
"""
