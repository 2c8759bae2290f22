"""Classes of bytes: they add up to the byte, and never exceed the resident memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.classify import UNKNOWN, RegionClasses, RegionFacts, classify, cold_parts

GIB, MIB = 2**30, 2**20
_CLASSES = ("hot", "warm", "cold", "unseen", "unobservable")


def classes(
    size: Sequence[int],
    rate: Sequence[float],
    *,
    touched: Sequence[int] | None = None,
    age_ns: Sequence[int] | None = None,
    unobservable: Sequence[int] | None = None,
    resident: Sequence[int] | None = None,
    unseen: Sequence[int] | None = None,
    repeated: Sequence[int] | None = None,
    owner: Sequence[int] | None = None,
    rss: Sequence[int] = (0,),
) -> RegionClasses:
    count = len(size)

    def column(values: Sequence[int] | None, default: int = 0) -> np.ndarray:
        return np.full(count, default, np.int64) if values is None else np.array(values, np.int64)

    whole = [s if r else 0 for s, r in zip(size, rate, strict=True)]
    return classify(
        RegionFacts(
            column(size),
            np.array(rate, np.float64),
            column(age_ns),
            column(whole if touched is None else touched),
            column(unobservable),
            column(resident, UNKNOWN),
            column(unseen),
            column(repeated),
            column(owner),
            np.array(rss, np.int64),
        )
    )


def test_a_region_is_in_one_class_by_its_rate() -> None:
    result = classes([MIB] * 3, [1.0, 0.2, 0.0], age_ns=[5, 5, 7])
    assert result.hot.tolist() == [MIB, 0, 0]
    assert result.warm.tolist() == [0, MIB, 0]
    assert result.cold.tolist() == [0, 0, MIB]
    assert result.idle_ns.tolist() == [0, 0, 7]
    assert result.assumed.tolist() == [MIB] * 3


def test_what_is_not_resident_is_in_no_class() -> None:
    result = classes([16 * GIB, GIB], [0.0, 1.0], resident=[200 * MIB, 95 * MIB])
    assert result.total.tolist() == [200 * MIB, 95 * MIB]
    assert result.cold.tolist() == [200 * MIB, 0]
    assert result.hot.tolist() == [0, 95 * MIB]
    assert not result.assumed.any()


def test_no_more_is_warm_than_was_touched() -> None:
    result = classes([64 * MIB], [0.3], touched=[16 * MIB], age_ns=[9])
    assert (int(result.warm[0]), int(result.cold[0])) == (16 * MIB, 48 * MIB)
    assert result.idle(1).tolist() == [0], "it is not known for how long that was not touched"
    assert result.idle(0).tolist() == [48 * MIB]


def test_where_residence_is_unknown_rss_bounds_what_is_cold() -> None:
    result = classes([GIB, 8 * MIB, GIB], [0.0, 1.0, 0.0], owner=[0, 0, 1], rss=[100 * MIB, 0])
    assert int(result.hot[1]) == 8 * MIB
    assert int(result.cold[0]) == 92 * MIB
    assert result.assumed.tolist() == [0, 0, GIB], "the RSS of the other target is not known"


def test_what_nobody_looked_at_is_neither_cold_nor_idle() -> None:
    result = classes([MIB], [0.0], unseen=[MIB], age_ns=[10**12])
    assert (int(result.unseen[0]), int(result.cold[0])) == (MIB, 0)


def test_an_unknown_age_is_idle_for_no_time() -> None:
    result = classes([MIB], [0.0], age_ns=[UNKNOWN])
    assert result.idle(1).tolist() == [0]
    assert result.idle(0).tolist() == result.cold.tolist() == [MIB]


def test_shared_memory_counts_once_in_sums_over_targets() -> None:
    result = classes(
        [MIB, MIB],
        [1.0, 0.0],
        resident=[MIB, MIB],
        repeated=[0, MIB],
        owner=[0, 1],
        rss=[0, 0],
    )
    assert int(result.total.sum()) == 2 * MIB
    assert int(result.over(2).total.sum()) == MIB
    assert int(result.over(1).total.sum()) == 2 * MIB


@pytest.mark.parametrize("repeated", [3, 6, 13, 16])
def test_what_is_shared_is_what_cannot_be_observed_before_it_is_what_is_in_use(
    repeated: int,
) -> None:
    """One region over a library, of which 3 MiB cannot be cleared, and memory of its own."""
    once = classes(
        [16 * MIB],
        [1.0],
        touched=[8 * MIB],
        unobservable=[3 * MIB],
        resident=[16 * MIB],
        repeated=[repeated * MIB],
    ).once()
    assert int(once.total[0]) == (16 - repeated) * MIB
    assert int(once.unobservable[0]) == 0
    assert int(once.hot[0] + once.cold[0]) == (16 - repeated) * MIB
    # Of 16 MiB, 5 are cold: what others have mapped and nobody accessed is among them.
    assert int(once.hot[0]) == (8 - max(0, repeated - 3 - 5)) * MIB


_AMOUNTS = st.lists(st.integers(0, 2**50), min_size=5, max_size=5)


@given(
    st.lists(
        st.tuples(st.integers(1, 2**50), st.floats(0, 1), _AMOUNTS, st.integers(0, 2)), max_size=9
    ),
    st.lists(st.integers(0, 2**50), min_size=3, max_size=3),
)
def test_classes_add_up_to_what_can_be_there(
    regions: list[tuple[int, float, list[int], int]], rss: list[int]
) -> None:
    size = [region[0] for region in regions]
    touched, unobservable, unseen, resident, repeated = (
        [min(region[2][i], region[0]) for region in regions] for i in range(5)
    )
    resident = [r if r % 3 else UNKNOWN for r in resident]
    repeated = [min(n, max(r, 0)) for n, r in zip(repeated, resident, strict=True)]
    owner = [region[3] for region in regions]
    result = classes(
        size,
        [region[1] for region in regions],
        touched=touched,
        unobservable=unobservable,
        unseen=unseen,
        resident=resident,
        repeated=repeated,
        owner=owner,
        rss=rss,
    )
    for each in (result, result.once()):
        parts = [getattr(each, name) for name in _CLASSES]
        assert all((part >= 0).all() for part in parts)
        assert (sum(parts) == each.total).all()
    assert (result.total <= np.array(size, np.int64)).all()
    for part, bound in enumerate(rss):
        mine = np.array(owner, np.int64) == part
        unknown = mine & (np.array(resident, np.int64) == UNKNOWN)
        known_bytes = int(result.total[mine & ~unknown].sum())
        if bound:
            assert int(result.total[unknown].sum()) <= max(0, bound - known_bytes)


def test_ages_count_cold_bytes_as_idle_does() -> None:
    cold = classes([8192] * 4, [0] * 4, age_ns=[UNKNOWN, 0, 5, 50])
    ages_ns = np.array([0, 5, 6])
    parts = cold_parts(cold, ages_ns)
    assert parts.region.tolist() == [0, 1, 2, 3]
    for number, age_ns in enumerate(ages_ns.tolist()):
        idle_bytes = np.where(parts.reached > number, cold.cold, 0)
        assert idle_bytes.tolist() == cold.idle(age_ns).tolist()
    assert cold.undated.tolist() == [8192, 0, 0, 0]
