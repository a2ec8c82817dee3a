"""What a run keeps on disk the moment it exists: answers, rows, and the folder they lie in."""
