"""Learning from the student's own answers: it answers, the teacher reads along, batches follow."""
