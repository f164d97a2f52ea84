"""When a lost job is tried again, and which machine can do what."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.queue import MAX_ATTEMPTS, Capability, Needs, Priority, pause_after, retry_delay


def test_each_lost_try_makes_the_next_wait_longer_up_to_an_hour() -> None:
    delays = [retry_delay(attempt).total_seconds() for attempt in range(1, MAX_ATTEMPTS + 1)]
    assert delays == [5, 20, 80, 320, 1280, 3600]


@given(st.integers(1, 10**9))
def test_no_number_of_tries_overflows_or_shortens_the_wait(attempt: int) -> None:
    assert retry_delay(attempt) <= retry_delay(attempt + 1) <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("held", "failures", "seconds"),
    [(59, 0, 0), (59, 1, 5), (59, 3, 80), (3599, 0, 0), (3600, 0, 3600), (80_000, 1, 80_000), (3600, 6, 3600)],
)
def test_who_comes_to_nothing_waits_as_often_as_it_failed_and_as_long_as_it_held(
    held: int, failures: int, seconds: int
) -> None:
    assert pause_after(timedelta(seconds=held), failures) == timedelta(seconds=seconds)


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


@given(NEEDS)
def test_needs_in_words_name_each_thing_that_is_needed_and_nothing_else(needs: Needs) -> None:
    named = {part.split()[-1] for part in needs.words.split(", ") if part}
    wanted = {"memory": needs.memory_bytes, "disk": needs.disk_bytes, "network": needs.network}
    assert named == {name for name, value in {**wanted, "registry": needs.registry}.items() if value}


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, ""),
        (1, "1 MiB memory"),
        (2**30 - 1, "1024 MiB memory"),
        (2**30, "1.0 GiB memory"),
        (2**30 + 1, "1.1 GiB memory"),
        (6 * 2**30, "6.0 GiB memory"),
    ],
)
def test_a_size_in_words_is_never_less_than_what_is_needed(size: int, words: str) -> None:
    asked = Needs(recipe_format=1, memory_bytes=size, disk_bytes=0, network=False, registry=False)
    assert asked.words == words
