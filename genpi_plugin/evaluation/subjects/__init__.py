"""What is evaluated and on what: models with adapters and prompts, held-out inputs."""
