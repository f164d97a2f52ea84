"""A command line that names another first program than the image's init is recognised however it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.command_line import init_replacement


@pytest.mark.parametrize(
    ("command_line", "found"),
    [
        ("console=ttyS0 rdinit=/bin/sh", "rdinit=/bin/sh"),
        ("init=/bin/sh", "init=/bin/sh"),
        ("console=ttyS0\trdinit=/x", "rdinit=/x"),
        ('console=ttyS0 "rdinit=/bin/sh -c x"', "rdinit=/bin/sh -c x"),
        ('rdinit="/bin/sh"', "rdinit=/bin/sh"),
        ("rdinit= quiet", "rdinit="),
        ('a="b c" init=/x', "init=/x"),
    ],
)
def test_what_replaces_init_is_named(command_line: str, found: str) -> None:
    assert init_replacement(command_line) == found


@pytest.mark.parametrize(
    "command_line",
    [
        "",
        "console=ttyS0 luks=1234",
        "console=ttyS0 -- rdinit=/bin/sh",
        'name="x init=/bin/sh"',
        "systemd.init=1 myinit=/x rdinitrd=/x",
        "init rdinit",
    ],
)
def test_what_leaves_init_alone_is_not(command_line: str) -> None:
    assert init_replacement(command_line) is None


@given(st.text(alphabet='ab=" \t-', max_size=30), st.text(alphabet="ab= -", max_size=30))
def test_it_is_found_among_whatever_stands_before_and_after(before: str, after: str) -> None:
    if before.count('"') % 2 == 0 and "--" not in before.replace('"', "").split():
        assert init_replacement(f"{before} rdinit=/x {after}") is not None
