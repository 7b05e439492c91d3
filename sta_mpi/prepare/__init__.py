"""From tilt images to tomograms."""
