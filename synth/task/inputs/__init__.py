"""Inputs of the user's own, one module a file format."""
