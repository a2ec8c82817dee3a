"""The version of the distribution `axolotl-genpi`."""

__version__ = "0.1.0"
