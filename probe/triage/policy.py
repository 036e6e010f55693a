"""Where the line between accept and recompute is drawn."""

import math
from dataclasses import dataclass

from probe.errors import ProbeError


@dataclass(frozen=True)
class Policy:
    """Mirrors ``triage:`` of the configuration; every key is in config/README.md."""

    accept_confidence: float = 0.6
    recompute_confidence: float = 0.6
    between: str = "recompute"
    min_element_molecules: int = 20
    beyond_size: str = "recompute"
    beyond_latent: str = "flag"
    policy: str = "cutoff"  # cutoff | risk | budget
    tolerance_kcal: float | None = None  # None: the checkpoint's boundary
    max_unreliable: float = 0.1
    confidence: float = 0.9
    budget_core_hours: float | None = None

    def __post_init__(self) -> None:
        """Hold the keys against each other.

        Raises:
            ProbeError: one is not finite, a budget is there that nobody spends, or none where
                one is to be spent.
        """
        for key, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ProbeError(f"triage: {key} is {value}; it must be finite")
        spends, has = self.policy == "budget", self.budget_core_hours is not None
        if spends and not has:
            raise ProbeError(
                "triage: policy budget needs budget_core_hours, the core-hours of DFT to spend"
            )
        if has and not spends:
            raise ProbeError(
                f"triage: budget_core_hours is {self.budget_core_hours:g}, but policy "
                f"{self.policy} spends no budget; set policy to budget, or leave the key out"
            )
