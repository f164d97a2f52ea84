"""How pages show digests, moments, sizes, spans of time and text from strangers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from builds.templatetags.shown import beside, digest, digest_against, duration, foreign, moment, size


def test_a_digest_is_whole_and_can_be_copied() -> None:
    shown = digest("sha256:" + "a" * 64)
    assert f'<span class="digest">sha256:{"a" * 64}</span>' in shown
    assert f'data-copy="sha256:{"a" * 64}"' in shown


def test_the_first_character_that_differs_is_marked_and_the_digest_stays_whole() -> None:
    shown = digest_against("sha256:aab0", "sha256:aac0")
    assert '<span class="digest">sha256:aa<mark title="the first character that differs">b</mark>0</span>' in shown
    assert 'data-copy="sha256:aab0"' in shown


def test_what_is_the_same_or_has_nothing_beside_it_has_no_mark_and_what_is_not_known_says_so() -> None:
    assert digest_against("sha256:aa", "sha256:aa") == digest_against("sha256:aa", None) == digest("sha256:aa")
    assert digest_against("aa", "aab") == digest("aa")
    assert digest_against(None, "sha256:aa") == '<span class="state open">unknown</span>'


def test_a_moment_is_told_in_utc_whatever_zone_it_came_in() -> None:
    shown = moment(datetime(2026, 3, 4, 1, 30, tzinfo=timezone(timedelta(hours=2))))
    assert 'datetime="2026-03-03T23:30:00Z" title="2026-03-03 23:30:00 UTC"' in shown
    assert ">2026-03-03 23:30 UTC</time>" in shown
    assert moment(None, "not yet") == "not yet"
    assert moment(datetime(2026, 1, 1, tzinfo=UTC)).count("<") == 2


def test_text_from_strangers_is_escaped_isolated_and_shows_what_it_would_hide() -> None:
    shown = foreign("<b>v1\u202egnp.exe\x1b[2J")
    assert shown == '<bdi class="foreign">&lt;b&gt;v1\N{REPLACEMENT CHARACTER}gnp.exe\N{REPLACEMENT CHARACTER}[2J</bdi>'


def test_a_text_of_ten_thousand_characters_stays_whole_in_a_box_that_the_keyboard_reaches() -> None:
    shown = foreign("w" * 10_000)
    assert "w" * 10_000 in shown
    assert 'class="foreign long" tabindex="0"' in shown
    assert "10000 characters" in shown


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, "unknown"),
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (2 * 1024**3, "2.0 GiB"),
    ],
)
def test_a_size_has_its_unit_and_unknown_is_not_zero(count: int | None, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (None, "\N{EN DASH}"),
        (0, "0.0 s"),
        (0.04, "under 0.1 s"),
        (59.4, "59 s"),
        (61, "1 min 1 s"),
        (timedelta(hours=2, minutes=5), "2 h 5 min"),
        (timedelta(days=3, hours=4), "3 d 4 h"),
    ],
)
def test_a_span_of_time_has_its_units(span: timedelta | float | None, words: str) -> None:
    assert duration(span) == words


def test_digests_of_which_none_is_known_are_no_line_at_all() -> None:
    assert beside("published", None, "rebuilt", "") == ""
