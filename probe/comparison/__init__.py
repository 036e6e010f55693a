"""PROBE beside its peers, on the same labels and splits."""
