"""The first error of a log is found by the shapes that real tools print."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.log_errors import first_error, why_an_error

LOUD = [
    "E: Failed to fetch http://archive.example.org/debian/pool/main/g/glibc/libc6_2.41-12_amd64.deb  404  Not Found",
    "#9 4.512 E: Unable to locate package busybox-statik",
    "payload/main.c:12:5: error: expected ';' before 'return'",
    "error[E0433]: failed to resolve: use of undeclared crate or module `katana`",
    'error: could not compile `katana` (bin "katana") due to 1 previous error',
    "<stdin>:1:10: fatal error: missing.h: No such file or directory",
    "make: *** [Makefile:7: all] Error 2",
    "make[2]: *** No rule to make target 'x'.  Stop.",
    "Traceback (most recent call last):",
    "thread 'main' panicked at src/main.rs:3:5:",
    "The command '/bin/sh -c false' returned a non-zero code: 1",
    "process exited with exit code 137",
    "ERROR: Service 'x' failed to build",
    "dpkg: error processing archive /packages/x.deb (--install):",
    "tar: write: No space left on device",
    "/bin/sh: 1: mkosi: not found",
    "fatal: unable to access 'https://example.com/': Could not resolve host",
]
QUIET = [
    'Step 7/13 : RUN test -n "$SOURCE_DATE_EPOCH"',
    "0 errors, 0 warnings",
    "gcc -Werror -c error.c -o error.o",
    "checking for library containing strerror... none required",
    "exit code 0",
    "Get:12 http://archive.example.org/debian trixie/main amd64 liberror-perl all 0.17029-2",
    "Setting up libgpg-error0:amd64 (1.51-4) ...",
    "",
]


@pytest.mark.parametrize("line", LOUD)
def test_what_tools_print_when_they_fail_looks_like_an_error(line: str) -> None:
    assert why_an_error(line)


@pytest.mark.parametrize("line", QUIET)
def test_what_they_print_when_they_work_does_not(line: str) -> None:
    assert not why_an_error(line)


def test_the_first_of_several_is_named_with_its_reason() -> None:
    found = first_error(enumerate(["cc -c a.c", "a.c:1:1: error: no", "make: *** [all] Error 1"], 40), failed=True)
    assert found is not None
    assert (found.number, found.why) == (41, "a tool says error")


def test_a_failed_stage_without_a_loud_line_ends_at_its_last_words() -> None:
    found = first_error(enumerate(["working", "still working", "   "], 1), failed=True)
    assert found is not None
    assert (found.number, "last line of the stage" in found.why) == (2, True)


def test_a_log_that_did_not_fail_and_is_quiet_has_no_error() -> None:
    assert first_error(enumerate(QUIET, 1), failed=False) is None
    assert first_error([], failed=True) is None


@given(st.lists(st.text(), max_size=20), st.integers(1, 1000))
def test_whatever_a_build_prints_the_line_named_is_one_of_its_lines(lines: list[str], first: int) -> None:
    found = first_error(enumerate(lines, first), failed=True)
    assert found is None or lines[found.number - first] == found.text


@pytest.mark.parametrize("part", ["a error", " exit", "make[1]", "error[E", "]]]: ", "*** "])
def test_a_line_without_end_costs_no_more_than_its_length(part: str) -> None:
    began = time.monotonic()
    why_an_error(part * 10_000)
    assert time.monotonic() - began < 0.5
