"""`synth init --model`: a task.yml drafted from the prompt, by rule where it can be, else asked."""
