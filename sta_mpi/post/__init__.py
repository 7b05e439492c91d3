"""From half maps to the map one looks at: masks, resolution, sharpening, local resolution."""
