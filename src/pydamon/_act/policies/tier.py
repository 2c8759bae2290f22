"""Memory tiers: hot memory to the fast node, cold memory to the slow one."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from pydamon._act.policies.base import Policy
from pydamon._model.errors import UsageError
from pydamon._model.page_size import PAGE_SIZE
from pydamon._model.schemes import AccessPattern, Age, Goal, Quota, Rate, Scheme, Weights
from pydamon._model.schemes.fields import (
    Ns,
    Share,
    basis_points,
    count,
    duration_ns,
    naming,
    size,
)
from pydamon._model.schemes.matching import age, rate

__all__ = ["Tier"]


@frozen(kw_only=True, field_transformer=naming)
class Tier(Policy):
    """Promote hot memory to a fast memory node, and demote cold memory to a slow one.

    Promotion goes on until the fast node is nearly full, demotion keeps a little of it free, as in
    the kernel's sample module for two tiers.

    Parameters
    ----------
    fast_node, slow_node
        Numbers of the two memory nodes.
    hot_rate
        Promote memory that is accessed so often.
    cold_min_age
        Demote memory that was not accessed for so long.
    used_bp
        Promote until this share of the fast node is used: 10,000ths, or text such as `"99.7%"`.
    free_bp
        Demote until this share of the fast node is free, likewise.
    quota_bytes, quota_reset
        Bytes to move each way each reset interval, and that interval.

    Examples
    --------
    >>> from pydamon.policies import Tier
    >>> promote, demote = Tier(used_bp="95%").schemes()
    >>> promote.action, promote.target_node, promote.quota.goals[0].target
    ('migrate_hot', 0, 9500)
    """

    name: ClassVar[str] = "tier"

    fast_node: int = field(
        default=0, converter=count, metadata={"help": "The number of the fast memory node"}
    )
    slow_node: int = field(
        default=1, converter=count, metadata={"help": "The number of the slow memory node"}
    )
    hot_rate: Rate = field(
        default=Rate(5, "%"),
        converter=rate,
        metadata={"help": "Promote memory that is accessed so often"},
    )
    cold_min_age: Age = field(
        default=Age(10 * 10**9, "ns"),
        converter=age,
        metadata={"help": "Demote memory that was not accessed for so long"},
    )
    used_share: Share = field(
        default=Share(0.997),
        alias="used_bp",
        converter=basis_points,
        metadata={
            "help": "Promote until this share of the fast node is used: 99.7%, or in 10,000ths"
        },
    )
    free_share: Share = field(
        default=Share(0.005),
        alias="free_bp",
        converter=basis_points,
        metadata={
            "help": "Demote until this share of the fast node is free: 0.5%, or in 10,000ths"
        },
    )
    quota_bytes: int = field(
        default=200 << 20,
        converter=size,
        metadata={"help": "Bytes to move each reset interval, each way"},
    )
    quota_reset_ns: Ns = field(
        default=Ns(10**9),
        alias="quota_reset",
        converter=duration_ns,
        metadata={"help": "The reset interval"},
    )

    def __attrs_post_init__(self) -> None:
        if self.fast_node == self.slow_node:
            raise UsageError("slow_node: is also the fast node")

    def schemes(self) -> tuple[Scheme, ...]:
        """Two schemes: `migrate_hot`, the hottest first, and `migrate_cold`, the coldest first."""
        used = Goal(metric="node_mem_used_bp", node=self.fast_node, target=self.used_share)
        free = Goal(metric="node_mem_free_bp", node=self.fast_node, target=self.free_share)
        hot = AccessPattern(min_size=PAGE_SIZE, min_rate=self.hot_rate)
        cold = AccessPattern(min_size=PAGE_SIZE, max_rate=0, min_age=self.cold_min_age)

        def quota(goal: Goal) -> Quota:
            return Quota(
                bytes=self.quota_bytes,
                reset=self.quota_reset_ns,
                goals=[goal],
                weights=Weights(rate=1, age=1),
            )

        return (
            Scheme(
                "migrate_hot", hot, quota=quota(used), target_node=self.fast_node, name="promote"
            ),
            Scheme(
                "migrate_cold", cold, quota=quota(free), target_node=self.slow_node, name="demote"
            ),
        )
