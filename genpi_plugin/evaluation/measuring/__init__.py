"""Running the systems on the inputs: answers and divergences, measured once and cached."""
