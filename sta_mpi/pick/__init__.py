"""Which particles there are: duplicates, lattices, regions, selection; pure functions of arrays."""
