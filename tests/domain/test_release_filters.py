"""A filter that an address asks for is read, or told to be none; it is never passed over in silence."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.release_filters import CHOICES, ReleaseFilters, Standing, read_filters

CHOSEN = st.fixed_dictionaries({}, optional={name: st.sampled_from(states) for name, states in CHOICES.items()})


@given(CHOSEN, st.dates(), st.text(max_size=20))
def test_what_is_read_is_written_into_addresses_again(chosen: dict[str, str], since: date, text: str) -> None:
    filters, refused = read_filters({**chosen, "since": since.isoformat(), "text": text, "before": "7"})
    assert refused == ()
    assert read_filters(filters.parameters) == (filters, ())
    assert {axis.value: wanted for axis, wanted in filters.axes.items()} == chosen


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=300), max_size=6))
def test_any_address_gives_filters_or_says_what_is_none(given_: dict[str, str]) -> None:
    filters, refused = read_filters(given_)
    asked = {name for name, value in given_.items() if value.strip() and name not in {"before", "after"}}
    assert len(filters.parameters) + len(refused) >= len(asked)


@pytest.mark.parametrize(
    "given_, told",
    [
        ({"decision": "alow"}, "decision is never 'alow': allow, deny."),
        ({"measurement": "ok"}, "measurement is never 'ok'"),
        ({"since": "yesterday"}, "since is no day: 'yesterday'"),
        ({"decison": "deny"}, "There is no filter 'decison'"),
        ({"since": "2026-02-02", "until": "2026-02-01"}, "No day is from 2026-02-02 on"),
        ({"text": "x" * 201}, "text has 201 characters"),
        ({"outcome": "\u202e"}, "outcome is never '\ufffd'"),
    ],
)
def test_what_is_no_filter_is_told(given_: dict[str, str], told: str) -> None:
    assert told in " ".join(read_filters(given_)[1])


def test_a_verdict_fits_by_every_axis_that_is_asked_for() -> None:
    standing = Standing("deny", "", "absent", "unknown")
    assert ReleaseFilters().fits(standing)
    assert ReleaseFilters(decision="deny", outcome="not-yet").fits(standing)
    assert not ReleaseFilters(decision="deny", outcome="reproduced").fits(standing)
    assert not ReleaseFilters(decision="allow").fits(standing)
