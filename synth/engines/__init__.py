"""Models that answer requests: in process, behind a server, with vLLM, on a Ray cluster."""
