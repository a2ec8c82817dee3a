"""A task.yml drafted from the prompt, by rule or by asking a model."""
