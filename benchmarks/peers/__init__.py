"""Ours beside its peers: internalization over seconds, each trained by its own trainer."""
