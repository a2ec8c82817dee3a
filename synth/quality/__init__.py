"""What is good enough to keep: filters, refusals, near duplicates, diversity."""
