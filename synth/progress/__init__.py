"""What is counted while a run works: rows, tokens, pace, money."""
