"""A command line that nobody published is held against the published ones, as the kernel reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.command_line import Objection, init_replacement, objection_to

MINE = "6f6b5a5e-0d8f-4a55-9d0e-3a1b8f7f9c11"
THEIRS = "00000000-0000-4000-8000-000000000000"
PLAIN = "console=ttyS0"
SEALED = f"{PLAIN} LUKS_UUID={THEIRS}"


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
        # Nothing ends a line: the kernel stops at --, an initrd's own program does not.
        ("console=ttyS0 -- init=/bin/sh", "init=/bin/sh"),
        ('console=ttyS0 "--" rdinit=/bin/sh', "rdinit=/bin/sh"),
        ('console=ttyS0 --"" rdinit=/bin/sh', "rdinit=/bin/sh"),
        ('console=ttyS0 -"-" rdinit=/bin/sh', "rdinit=/bin/sh"),
        ("console=ttyS0 \u2003--\u2003 rdinit=/bin/sh", "rdinit=/bin/sh"),
        ("console=ttyS0 \x1c--\x1c rdinit=/bin/sh", "rdinit=/bin/sh"),
        # The kernel's spaces are bytes: the second one of these letters is one.
        ("console=ttyS0 label=citt\u00e0rdinit=/bin/sh", "rdinit=/bin/sh"),
        ("console=ttyS0 \u20a0rdinit=/bin/sh", "rdinit=/bin/sh"),
        ("a \u00a0 rdinit=/x", "rdinit=/x"),
        ("==x rdinit=/x", "rdinit=/x"),
    ],
)
def test_what_replaces_init_is_named_as_the_kernel_reads_it(command_line: str, found: str) -> None:
    assert init_replacement(command_line) == found
    assert objection_to(command_line, [PLAIN], is_vouched_for=True) == Objection(
        replaces_init=True,
        sentence=f"The command line names another first program than the image's init: {found}.",
    )


@pytest.mark.parametrize(
    "command_line",
    [
        "",
        "console=ttyS0 luks=1234",
        'name="x init=/bin/sh"',
        "systemd.init=1 myinit=/x rdinitrd=/x",
        "init rdinit",
        "=init=/x",
    ],
)
def test_what_leaves_init_alone_is_not(command_line: str) -> None:
    assert init_replacement(command_line) is None


@given(st.text(alphabet='ab=" \t-', max_size=30), st.text(alphabet="ab= -", max_size=30))
def test_it_is_found_among_whatever_stands_before_and_after(before: str, after: str) -> None:
    if before.count('"') % 2 == 0:
        assert init_replacement(f"{before} rdinit=/x {after}") is not None


@pytest.mark.parametrize(
    ("command_line", "published"),
    [
        (PLAIN, [PLAIN]),
        ("init=/own \u00e0", [PLAIN, "init=/own \u00e0"]),
        (f"{PLAIN} quiet", [PLAIN]),
        (f"loglevel=3 {PLAIN} panic=-1 console=ttyAMA0,115200n8", [PLAIN]),
        (f"{PLAIN} LUKS_UUID={MINE}", [PLAIN, SEALED]),
        (f"{PLAIN}  LUKS_UUID={MINE.upper()} quiet", [SEALED]),
        ("quiet a -- b", ["a -- b"]),
        ('a="b c" quiet', ['a="b c"']),
        ("", []),
    ],
)
def test_what_was_published_or_differs_harmlessly_needs_nobodys_word(command_line: str, published: list[str]) -> None:
    assert objection_to(command_line, published, is_vouched_for=False) is None


@pytest.mark.parametrize(
    ("command_line", "published", "said"),
    [
        (
            f"{PLAIN} root=/dev/vda initcall_blacklist=populate_rootfs",
            [PLAIN],
            "adds root=/dev/vda, initcall_blacklist=",
        ),
        (f"{PLAIN} katana.args=--dev", [PLAIN], "adds katana.args=--dev"),
        (f"{PLAIN} LUKS_UUID={MINE}", [PLAIN], "adds LUKS_UUID="),
        (f"{PLAIN} root={MINE}", [SEALED], f"adds root={MINE} and leaves out LUKS_UUID="),
        (f"{PLAIN} LUKS_UUID=none", [SEALED], "adds LUKS_UUID=none and leaves out"),
        ("", [PLAIN], "leaves out console=ttyS0"),
        (f"LUKS_UUID={MINE} {PLAIN}", [SEALED], "leaves out"),
        (f"{PLAIN} -- quiet", [PLAIN], "adds --, quiet"),
        ("a -- b quiet", ["a -- b"], "adds quiet"),
        ("quiet quietly", [], "adds quietly,"),
        (f"{PLAIN}\u00a0quiet", [PLAIN], "characters other than plain text"),
        (f"{PLAIN}\tquiet", [PLAIN], "characters other than plain text"),
        (f'{PLAIN} "quiet"', [PLAIN], 'adds "quiet"'),
        (f"{PLAIN} console=netcon0", [PLAIN], "adds console=netcon0"),
        (" ".join(f"a{number}" for number in range(9)), [PLAIN], "adds a0, a1, a2, a3, a4 and more and leaves out"),
    ],
)
def test_every_other_word_is_named_until_somebody_vouches_for_it(
    command_line: str, published: list[str], said: str
) -> None:
    found = objection_to(command_line, published, is_vouched_for=False)
    assert found is not None
    assert not found.replaces_init
    assert said in found.sentence
    assert objection_to(command_line, published, is_vouched_for=True) is None


@given(st.text(alphabet='ab= -"q\u00e0\t', max_size=20))
def test_whatever_is_added_is_no_part_of_what_nobody_asks_about(added: str) -> None:
    line = f"{PLAIN} {added}"
    if added.strip(" "):
        assert objection_to(line, [PLAIN], is_vouched_for=False) is not None
