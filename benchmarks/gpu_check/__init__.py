"""`make gpu-check`: does all of it hold on this machine's GPU? docs/gpu.md says how to run it."""
