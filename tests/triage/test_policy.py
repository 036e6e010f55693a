"""The policy of triage: keys that contradict each other are refused."""

import pytest

from probe.errors import ProbeError
from probe.triage.policy import Policy


class TestPolicy:
    def test_a_budget_is_named_where_it_is_missing(self):
        with pytest.raises(ProbeError, match="policy budget needs budget_core_hours"):
            Policy(policy="budget")

    def test_one_that_nobody_spends_is_a_mistake(self):
        with pytest.raises(ProbeError, match="budget_core_hours is 8, but policy risk spends no"):
            Policy(policy="risk", budget_core_hours=8)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_numbers_are_finite(self, value):
        with pytest.raises(ProbeError, match=f"triage: tolerance_kcal is {value}"):
            Policy(tolerance_kcal=value)
