"""`synth preflight`: from a few inputs, whether the whole run is worth its money."""
