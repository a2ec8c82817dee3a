"""Inputs of the user's own: one reader for the synthesizer and the evaluation."""
