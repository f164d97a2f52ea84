from __future__ import annotations

import itertools

import pytest

from builds.domain.measurement_words import SaidBy, Says, says

ONE = (Says.THIS, Says.ANOTHER, Says.NOTHING)
EVERY = [SaidBy(*words) for words in itertools.product(ONE, ONE, tuple(Says))]


@pytest.mark.parametrize("said", EVERY, ids=str)
def test_one_who_contradicts_is_never_told_as_one_who_is_silent(said: SaidBy) -> None:
    if not said.speaks_for_it:
        assert said.sentence == "Only results that do not count give this value. Nothing speaks for it."
        return
    assert ("no rebuild that counts" in said.sentence) == (said.rebuilt_files is Says.NOTHING)
    assert ("is not known" in said.sentence) == (said.published_files is Says.NOTHING)
    assert ("names no value" in said.sentence) == (said.publisher is Says.NOTHING)
    others = [word in {Says.ANOTHER, Says.BOTH} for word in (said.publisher, said.published_files, said.rebuilt_files)]
    assert said.sentence.count("another") == sum(others)


def test_only_three_equal_answers_agree() -> None:
    agreeing = [said for said in EVERY if said.agree]
    assert agreeing == [SaidBy(Says.THIS, Says.THIS, Says.THIS)]


def test_what_states_no_value_says_nothing() -> None:
    assert [says("a", stated) for stated in ("a", "b", None)] == [Says.THIS, Says.ANOTHER, Says.NOTHING]
