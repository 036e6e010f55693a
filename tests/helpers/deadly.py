"""Quantum chemistry that ends the process it runs in, over one molecule."""

import os
import signal
from pathlib import Path

from probe.dft import engines

COMPUTE = engines.compute


def compute(row, method, engine, signal_, lives):
    """Stands in for ``engines.compute``: hydrogen ends this process, a life of ``lives`` a time.

    Once that file holds no more of them, it is computed as all others are.
    """
    lives = Path(lives)
    if row["smiles"] == "[HH]" and lives.stat().st_size:
        lives.write_bytes(lives.read_bytes()[1:])
        os.kill(os.getpid(), signal.Signals[signal_])
    return COMPUTE(row, method, engine)
