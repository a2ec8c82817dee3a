"""From a few inputs: whether a long run is worth its money."""
