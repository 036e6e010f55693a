"""PROBE-screen: which machine-learned energies of a compound library to trust."""

from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probe.predictor import Probe

__all__ = ["Probe", "__version__"]

__version__ = version("probe-screen")


def __getattr__(name: str) -> object:
    """``Probe`` when it is first asked for: it needs torch, which the command line starts without.

    Raises:
        AttributeError: there is no such name.
    """
    if name == "Probe":
        from probe.predictor import Probe  # noqa: PLC0415 (slow import)

        return Probe
    raise AttributeError(f"module 'probe' has no attribute {name!r}")
