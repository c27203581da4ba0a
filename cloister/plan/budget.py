"""Whether the budget allows what is asked for; pure."""

from __future__ import annotations

from collections.abc import Sequence

from cloister.config.ec2_spec import BudgetSpec
from cloister.errors import UsageError
from cloister.plan.observed import Bill


def expect_launch_within(
    budget: BudgetSpec, lease_s: float, dollars_per_hour: float, unknown: Sequence[str]
) -> None:
    """UsageError if a launch could cost more than the budget, nothing being stopped before its lease ends.

    unknown: the machines whose price AWS does not tell.
    """
    hours = lease_s / 3600
    if budget.hours_max is not None and hours > budget.hours_max:
        raise UsageError(
            f"the lease is {hours:g} h, the budget's hours_max is {budget.hours_max:g}",
            hint="shorten cluster.ec2.lease or raise cluster.ec2.budget.hours_max",
        )
    if budget.dollars_max is None:
        return
    if unknown:
        raise UsageError(
            f"the budget is ${budget.dollars_max:g}, but AWS does not tell the price of {', '.join(unknown)}",
            hint="choose other machine types, or leave cluster.ec2.budget.dollars_max out",
        )
    if dollars_per_hour * hours > budget.dollars_max:
        raise UsageError(
            f"{hours:g} h at ${dollars_per_hour:.4f} per hour cost ${dollars_per_hour * hours:.2f},"
            f" the budget is ${budget.dollars_max:g}",
            hint="fewer or smaller nodes, a shorter lease, or a larger budget",
        )


def expect_going_on_within(
    budget: BudgetSpec, bill: Bill, *, now: float, until: float, what: str
) -> None:
    """UsageError if the cluster, going on `until` then, could cost more than the budget. Unix seconds.

    what: that for which it goes on, as the beginning of the message.
    """
    hours = (until - bill.since) / 3600
    if budget.hours_max is not None and hours > budget.hours_max:
        raise UsageError(
            f"{what}: the cluster would be {hours:.2f} h old, the budget's hours_max is {budget.hours_max:g}",
            hint="raise cluster.ec2.budget.hours_max",
        )
    if budget.dollars_max is None:
        return
    if bill.dollars is None or bill.dollars_per_hour is None:
        raise UsageError(
            f"{what}: the budget is ${budget.dollars_max:g}, but AWS does not tell the price of the nodes",
            hint="leave cluster.ec2.budget.dollars_max out",
        )
    dollars = bill.dollars + bill.dollars_per_hour * (until - now) / 3600
    if dollars > budget.dollars_max:
        raise UsageError(
            f"{what}: ${bill.dollars:.2f} so far and ${bill.dollars_per_hour:.4f} per hour would come to"
            f" ${dollars:.2f}, the budget is ${budget.dollars_max:g}",
            hint="raise cluster.ec2.budget.dollars_max",
        )
