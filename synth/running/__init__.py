"""A run from task to dataset: the pipeline of stages, and when it stops."""
