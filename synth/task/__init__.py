"""A task: task.yml, the prompt, the user's own inputs, and the tasks that are shipped."""
