"""Two digests beside each other: nothing is cut, and the marked character is the first that differs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.digest_difference import difference_of, ordinal

texts = st.text(alphabet="0123456789abcdef", max_size=128)


@given(texts, texts)
def test_the_parts_are_the_whole_and_the_mark_is_the_first_difference(one: str, other: str) -> None:
    found = difference_of(one, other)
    assert (found is None) == (one == other)
    if found is None:
        return
    for text, parts in ((one, found.one), (other, found.other)):
        assert parts.common + parts.mark + parts.rest == text
        assert len(parts.mark) <= 1
    assert found.one.common == found.other.common
    assert found.one.mark != found.other.mark
    assert found.position == len(found.one.common) + 1


def test_the_difference_is_said_in_words_too() -> None:
    found = difference_of("aab0", "aac0")
    assert found is not None
    assert (found.one.mark, found.other.mark) == ("b", "c")
    assert found.words == "differs from the 3rd character on"


@pytest.mark.parametrize(
    ("number", "words"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (21, "21st"), (113, "113th")]
)
def test_ordinals_read_as_people_say_them(number: int, words: str) -> None:
    assert ordinal(number) == words
