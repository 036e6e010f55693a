"""PROBE-screen: which machine-learned energies of a compound library to trust."""

from importlib.metadata import version

__version__ = version("probe-screen")
