"""The loop: PROBE fitted again to what recomputing gained."""
