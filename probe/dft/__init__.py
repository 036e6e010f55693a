"""Reference energies: what they cost, computing them, and the energies that result."""
