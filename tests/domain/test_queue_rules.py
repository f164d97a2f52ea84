"""When a lost job is tried again, and which machine can do what."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from builds.domain.queue import MAX_ATTEMPTS, Capability, Needs, Priority, retry_delay


def test_each_lost_try_makes_the_next_wait_longer_up_to_an_hour() -> None:
    delays = [retry_delay(attempt).total_seconds() for attempt in range(1, MAX_ATTEMPTS + 1)]
    assert delays == [5, 20, 80, 320, 1280, 3600]


@given(st.integers(1, 10**9))
def test_no_number_of_tries_overflows_or_shortens_the_wait(attempt: int) -> None:
    assert retry_delay(attempt) <= retry_delay(attempt + 1) <= timedelta(hours=1)


def test_what_a_user_asks_for_comes_before_new_releases_and_these_before_rechecks() -> None:
    assert sorted(Priority) == [Priority.USER, Priority.NEW_RELEASE, Priority.RECHECK]
    assert [entry.words for entry in sorted(Priority)] == ["user", "new release", "recheck"]


SIZES = st.integers(0, 2**40)
MACHINES = st.fixed_dictionaries(
    {
        "memory_bytes": SIZES,
        "disk_bytes": SIZES,
        "recipe_formats": st.lists(st.integers(1, 4), max_size=3).map(tuple),
        "network": st.booleans(),
        "registry": st.booleans(),
    }
).map(lambda parts: Capability(**parts))
NEEDS = st.fixed_dictionaries(
    {
        "recipe_format": st.integers(1, 4),
        "memory_bytes": SIZES,
        "disk_bytes": SIZES,
        "network": st.booleans(),
        "registry": st.booleans(),
    }
).map(lambda parts: Needs(**parts))


@given(MACHINES, NEEDS)
def test_a_machine_fits_exactly_when_it_lacks_nothing(machine: Capability, needs: Needs) -> None:
    lacks = (
        needs.recipe_format not in machine.recipe_formats,
        needs.memory_bytes > machine.memory_bytes,
        needs.disk_bytes > machine.disk_bytes,
        needs.network and not machine.network,
        needs.registry and not machine.registry,
    )
    assert needs.met_by(machine) is not any(lacks)
