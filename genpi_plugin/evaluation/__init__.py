"""How much of the prompt is in the weights: floor, teacher and student on held-out inputs."""
