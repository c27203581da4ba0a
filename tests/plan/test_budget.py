from __future__ import annotations

import pytest

from cloister.config.ec2_spec import BudgetSpec
from cloister.errors import UsageError
from cloister.plan.budget import expect_going_on_within, expect_launch_within
from cloister.plan.observed import Bill

HOUR_S = 3600.0


def bill(dollars: float | None = 1.0, per_hour: float | None = 0.5) -> Bill:
    return Bill(since=0.0, expires=9 * HOUR_S, dollars_per_hour=per_hour, dollars=dollars)


def goes_on(budget: BudgetSpec, paid: Bill, hours: float) -> None:
    """Two hours after the launch, for so many more."""
    expect_going_on_within(budget, paid, now=2 * HOUR_S, until=(2 + hours) * HOUR_S, what="it")


@pytest.mark.parametrize(
    ("budget", "hours", "message"),
    [
        ({"dollars_max": 2.0}, 2.0, ""),
        ({"dollars_max": 2.0}, 2.1, "would come to $2.05, the budget is $2"),
        ({"hours_max": 4.0}, 2.0, ""),
        ({"hours_max": 4.0}, 2.1, "would be 4.10 h old, the budget's hours_max is 4"),
        ({}, 1e6, ""),
    ],
)
def test_a_cluster_goes_on_as_long_as_its_budget_allows(
    budget: dict[str, float], hours: float, message: str
) -> None:
    if not message:
        goes_on(BudgetSpec(**budget), bill(), hours)
        return
    with pytest.raises(UsageError) as caught:
        goes_on(BudgetSpec(**budget), bill(), hours)
    assert message in str(caught.value)


@pytest.mark.parametrize("paid", [bill(dollars=None), bill(per_hour=None)])
def test_a_price_that_is_not_known_is_no_reason_to_go_on(paid: Bill) -> None:
    with pytest.raises(UsageError, match="does not tell the price"):
        goes_on(BudgetSpec(dollars_max=100), paid, 0.1)
    goes_on(BudgetSpec(hours_max=100), paid, 0.1)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"dollars_max": 4.0, "hours_max": 4.0}, ""),
        ({"dollars_max": 3.9}, "cost $4.00, the budget is $3.9"),
        ({"hours_max": 3.9}, "the lease is 4 h"),
    ],
)
def test_a_launch_is_held_against_all_of_its_lease(budget: dict[str, float], message: str) -> None:
    if not message:
        expect_launch_within(BudgetSpec(**budget), 4 * HOUR_S, 1.0, [])
        return
    with pytest.raises(UsageError) as caught:
        expect_launch_within(BudgetSpec(**budget), 4 * HOUR_S, 1.0, [])
    assert message in str(caught.value)
