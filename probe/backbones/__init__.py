"""Machine-learned potentials behind one contract."""
