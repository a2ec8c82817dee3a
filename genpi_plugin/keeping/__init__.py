"""Requests that the prompt is not about, and what the student keeps to on them."""
