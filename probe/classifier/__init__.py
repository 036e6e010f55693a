"""PROBE: the network, what it is fitted to, and the scores that it gives."""
