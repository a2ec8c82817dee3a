"""`axolotl genpi-eval`: how much of a prompt was internalized; from the command to the report."""
