import re

from hypothesis import given
from hypothesis import strategies as st

from builds.domain.logtext import MAX_LINE_CHARACTERS, LineSplitter, plain_line

FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_colours_and_terminal_titles_are_removed_and_text_stays() -> None:
    assert plain_line("\x1b[1;31merror\x1b[0m: \x1b]0;pwned\x07no") == "error: no"


def test_a_carriage_return_leaves_what_a_terminal_would_show() -> None:
    assert plain_line("10%\r50%\r100%\n") == "100%"


def test_html_is_left_as_text_for_the_page_to_escape() -> None:
    assert plain_line("<script>alert(1)</script>") == "<script>alert(1)</script>"


def test_half_of_a_surrogate_pair_which_no_database_stores_is_replaced() -> None:
    assert plain_line("a\ud800b").encode() == "a\ufffdb".encode()


def test_a_long_line_is_cut_and_says_so() -> None:
    cut = plain_line("x" * (MAX_LINE_CHARACTERS + 5))
    assert cut.endswith("[5 more characters cut]")


@given(st.text(alphabet=st.characters(), max_size=300))
def test_no_control_character_survives(text: str) -> None:
    assert not FORBIDDEN.search(plain_line(text).replace("\t", ""))


@given(st.lists(st.text(alphabet="ab\n\x1b[31m", max_size=20), max_size=20))
def test_the_pieces_a_stream_arrives_in_make_no_difference(pieces: list[str]) -> None:
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)] + splitter.flush()
    whole = LineSplitter()
    text = "".join(pieces)
    assert lines == whole.feed(text) + whole.flush()


def test_a_line_that_never_ends_does_not_grow_without_bound() -> None:
    splitter = LineSplitter()
    assert any(splitter.feed("x" * 10_000) for _ in range(10))
