"""What is listed of many entries: a share of each owner, whatever the others bring."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builds.domain.fair_share import fair_share

owned = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 4)), unique_by=lambda pair: pair[0], max_size=60)


def test_nobody_pushes_out_another_by_bringing_many() -> None:
    many = [(entry, 1) for entry in range(100, 0, -1)]
    assert fair_share([*many, (0, 2)], of_each=3, in_all=4) == (100, 99, 98, 0)
    assert fair_share([*many, (0, 2)], of_each=3, in_all=2) == (100, 0)


@given(entries=owned, of_each=st.integers(1, 5), others=owned)
def test_what_is_listed_of_an_owner_is_the_same_whatever_others_bring(
    entries: list[tuple[int, int]], of_each: int, others: list[tuple[int, int]]
) -> None:
    strangers = [(entry + 1000, owner + 10) for entry, owner in others]
    alone = fair_share(entries, of_each=of_each, in_all=1000)
    beside = fair_share([*strangers, *entries], of_each=of_each, in_all=1000)
    assert tuple(entry for entry in beside if entry < 1000) == alone


@given(entries=owned, of_each=st.integers(1, 5), in_all=st.integers(0, 30))
def test_no_more_than_allowed_is_listed_and_everything_that_fits_in_its_order(
    entries: list[tuple[int, int]], of_each: int, in_all: int
) -> None:
    found, owner_of = fair_share(entries, of_each=of_each, in_all=in_all), dict(entries)
    assert list(found) == [entry for entry, _ in entries if entry in found]
    each = [sum(owner == other for _, other in entries) for owner in set(owner_of.values())]
    assert len(found) == min(in_all, sum(min(of_each, count) for count in each))
