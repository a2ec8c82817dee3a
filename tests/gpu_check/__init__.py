"""`make gpu-check`, as far as a machine without a GPU can show it."""
