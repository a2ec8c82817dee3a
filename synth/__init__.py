"""Prompt in, dataset out: the synthesizer of axolotl-genpi. Start with `python -m synth --help`."""
