"""How often something may be asked, where somebody asks from, and what a token looks like."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.access import TOKEN_PREFIX, Allowance, Scope, address_of, is_token

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
WINDOW = timedelta(hours=1)
MOMENTS = st.lists(st.timedeltas(-timedelta(hours=3), timedelta(0)).map(lambda ago: NOW + ago), max_size=20)
LIMITS = st.integers(1, 8)


@given(MOMENTS, LIMITS)
def test_it_may_be_done_now_exactly_while_fewer_than_the_limit_lie_within_the_window(
    moments: list[datetime], limit: int
) -> None:
    within = [moment for moment in moments if moment > NOW - WINDOW]
    assert (Allowance(limit, WINDOW).next_possible(moments, NOW) is None) == (len(within) < limit)


@given(MOMENTS, LIMITS)
def test_the_moment_that_is_named_is_the_first_at_which_it_may_be_done(moments: list[datetime], limit: int) -> None:
    allowance = Allowance(limit, WINDOW)
    possible = allowance.next_possible(moments, NOW)
    if possible is None:
        return
    assert NOW < possible <= NOW + WINDOW
    assert allowance.next_possible(moments, possible) is None
    just_before = possible - timedelta(microseconds=1)
    assert allowance.next_possible(moments, just_before) == possible


@given(st.lists(st.integers(1, 5000), max_size=60), LIMITS)
def test_who_keeps_to_it_never_does_it_more_often_than_the_limit_in_any_window(steps: list[int], limit: int) -> None:
    done: list[datetime] = []
    now = NOW
    for step in steps:
        now += timedelta(seconds=step)
        if Allowance(limit, WINDOW).next_possible(done, now) is None:
            done.append(now)
    for last in done:
        assert len([moment for moment in done if last - WINDOW < moment <= last]) <= limit


@pytest.mark.parametrize(
    ("remote", "forwarded", "proxies", "address"),
    [
        ("198.51.100.7", "", 0, "198.51.100.7"),
        ("198.51.100.7", "203.0.113.9", 0, "198.51.100.7"),
        ("127.0.0.1", "203.0.113.9", 1, "203.0.113.9"),
        ("127.0.0.1", "192.0.2.1, 203.0.113.9", 1, "203.0.113.9"),
        ("127.0.0.1", "192.0.2.1, 203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9", 2, "127.0.0.1"),
        ("127.0.0.1", "", 1, "127.0.0.1"),
        ("127.0.0.1", "<script>", 1, ""),
        ("", "", 0, ""),
        ("::ffff:203.0.113.9", "", 0, "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "", 0, "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", 0, "fe80::/64"),
    ],
)
def test_the_address_is_what_the_first_trusted_proxy_saw(
    remote: str, forwarded: str, proxies: int, address: str
) -> None:
    assert address_of(remote, forwarded, proxies) == address


@given(st.text(max_size=60), st.text(max_size=60), st.integers(0, 3))
def test_any_header_gives_an_address_or_none(remote: str, forwarded: str, proxies: int) -> None:
    assert len(address_of(remote, forwarded, proxies)) <= 43


@given(st.text(max_size=40))
def test_what_a_client_writes_before_a_trusted_proxy_changes_nothing(said: str) -> None:
    assert address_of("127.0.0.1", f"{said}, 203.0.113.9", 1) == "203.0.113.9"


@given(st.integers(0, 2**64 - 1))
def test_all_of_one_ipv6_network_are_one_place(host: int) -> None:
    assert address_of(str(IPv6Address((0x20010DB8 << 96) + host)), "", 0) == "2001:db8::/64"


@pytest.mark.parametrize(
    "text", ["", TOKEN_PREFIX, TOKEN_PREFIX + "a" * 42, TOKEN_PREFIX + "a" * 44, "teep_" + "a" * 42 + "\n", "x" * 48]
)
def test_what_has_not_the_form_of_a_token_is_none(text: str) -> None:
    assert not is_token(text)


def test_every_scope_says_what_it_allows() -> None:
    assert is_token(TOKEN_PREFIX + "aZ09_-" + "b" * 37)
    assert [scope.value for scope in Scope] == ["rebuild:trigger", "release:publish", "webhook:manage"]
    assert all(scope.words for scope in Scope)
