"""Sentences and differences that the page of one rebuild shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builds.domain.comparison import ComponentComparison, RebuildOutcome
from builds.domain.digest import Algorithm
from builds.domain.file_difference import ListedFile, differing_files
from builds.domain.lifecycle import RunState
from builds.domain.log_page import LINE_CHARACTERS, shown_lines
from builds.domain.logtext import lines_of
from builds.domain.roles import Role
from builds.domain.run_sentence import run_sentence
from builds.domain.vouchers import voucher_of


def row(role: Role, outcome: RebuildOutcome) -> ComponentComparison:
    return ComponentComparison(role, Algorithm.SHA256, None, None, outcome)


def test_a_mismatch_is_named_before_what_came_out_the_same() -> None:
    rows = [
        row(Role.KATANA, RebuildOutcome.REPRODUCED),
        row(Role.KERNEL, RebuildOutcome.REPRODUCED),
        row(Role.INITRD, RebuildOutcome.MISMATCHED),
        row(Role.DISK, RebuildOutcome.MISSING),
    ]
    assert run_sentence(RunState.SUCCEEDED, rows) == (
        "initrd was rebuilt with other bytes than were published; disk was not made by the rebuild;"
        " katana and kernel came out the same."
    )


def test_every_other_run_is_no_evidence() -> None:
    for state in RunState:
        if state is not RunState.SUCCEEDED:
            assert "o evidence" in run_sentence(state, ())
    assert run_sentence(RunState.FAILED, (), stopped_at="materials").endswith("It stopped at materials.")
    assert run_sentence(RunState.SUCCEEDED, ()) == "The release names no component to compare with."


def test_files_differ_by_bytes_or_by_being_there() -> None:
    def listed(**files: str) -> list[ListedFile]:
        return [ListedFile("initrd", path, 1, digit * 64, "") for path, digit in files.items()]

    here, there = listed(a="1", b="2", c="3"), listed(b="9", c="3", d="4")
    found = [(file.path, file.before is not None, file.after is not None) for file in differing_files(here, there)]
    assert found == [("a", True, False), ("b", True, True), ("d", False, True)]


def test_a_voucher_is_read_out_of_its_sentence_and_other_words_are_kept() -> None:
    found = voucher_of(
        "its digest is named by the signed index of trixie of 2026-11-21 09:15 UTC (InRelease"
        f" sha256:{'b' * 64}; signed by {'A' * 40}, {'B' * 40})"
    )
    assert (found.suite, found.date, found.release) == ("trixie", "2026-11-21 09:15", f"sha256:{'b' * 64}")
    assert found.keys == ("A" * 40, "B" * 40)
    assert voucher_of("no signed index names it: x").suite == ""


@given(st.lists(st.text("ab", max_size=4), max_size=6))
def test_a_piece_of_whole_lines_has_exactly_those(lines: list[str]) -> None:
    assert lines_of("".join(f"{line}\n" for line in lines)) == lines


@given(st.lists(st.text(), max_size=5))
def test_pieces_that_end_anywhere_lose_no_character(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert "\n".join(lines_of(text)) == text.removesuffix("\n")


def test_a_line_is_shown_safely_and_says_what_is_hidden() -> None:
    found = shown_lines([(7, "a\tb\u202ec\u200f"), (8, "x" * 20_000)])
    assert found[0].text == "a       b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}"
    assert (len(found[1].text), found[1].hidden) == (LINE_CHARACTERS, 20_000 - LINE_CHARACTERS)


def test_many_long_lines_together_stay_bounded() -> None:
    found = shown_lines((number, "\t" * 60_000) for number in range(500))
    assert sum(len(line.text) for line in found) < 1_500_000
