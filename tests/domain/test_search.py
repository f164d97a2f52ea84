"""What people paste is recognised whatever stands around it, and cut digests are told from whole ones."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from builds.domain.search import Kind, apart, likeness, recognise, tag_spellings

HEX = "0123456789abcdef"


def hexadecimal(count: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=count, max_size=count)


def kinds(text: str) -> list[Kind]:
    return [reading.kind for reading in recognise(text).readings]


@pytest.mark.parametrize(
    "count, kind, name", [(64, Kind.SHA256, "sha256:"), (96, Kind.SHA384, "sha384:"), (128, Kind.SHA512, "sha512:")]
)
@given(data=st.data())
def test_a_digest_is_recognised_however_it_was_written(data: st.DataObject, count: int, kind: Kind, name: str) -> None:
    value = data.draw(hexadecimal(count))
    written = data.draw(st.sampled_from([value, value.upper(), f"0x{value}", f"0X{value}", f"{name}{value}"]))
    cut = data.draw(st.integers(0, len(written)))
    gap = data.draw(st.sampled_from(["", " ", "\n", "\r\n  ", "\u200b", "\u202e"]))
    around = data.draw(st.sampled_from(["", " ", '"', "`", "\ufeff"]))
    query = recognise(f"{around}{written[:cut]}{gap}{written[cut:]}{around}")
    assert query.value(kind) == value
    assert query.digest == value
    assert Kind.CUT not in kinds(written)


@given(st.integers(8, 200), st.data())
def test_hexadecimal_of_any_other_length_is_no_digest_and_said_to_be_cut(count: int, data: st.DataObject) -> None:
    assume(count not in {40, 64, 96, 128})
    value = data.draw(hexadecimal(count))
    query = recognise(value)
    assert query.digest == ""
    assert query.value(Kind.CUT) == value
    assert f"{count} hexadecimal characters" in next(r.words for r in query.readings if r.kind is Kind.CUT)


@given(st.integers(6, 40), st.data())
def test_a_beginning_of_a_commit_from_six_characters_on_may_be_a_commit(count: int, data: st.DataObject) -> None:
    value = data.draw(hexadecimal(count))
    assert recognise(value.upper()).value(Kind.COMMIT) == value
    assert recognise(value[:5]).value(Kind.COMMIT) == ""


@given(hexadecimal(64))
def test_a_name_that_does_not_fit_the_length_makes_it_cut(value: str) -> None:
    query = recognise(f"sha384:{value}")
    assert (query.digest, query.value(Kind.CUT)) == ("", value)


@given(st.uuids())
def test_a_rebuild_is_recognised_with_and_without_dashes(name: uuid.UUID) -> None:
    for written in (str(name), name.hex, str(name).upper(), name.urn, f"{{{name}}}"):
        assert recognise(written).value(Kind.REBUILD) == str(name)


@given(st.uuids(), st.integers(8, 36))
def test_a_beginning_of_a_rebuilds_id_is_recognised_from_its_first_block_on(name: uuid.UUID, count: int) -> None:
    start = str(name)[:count].rstrip("-")
    assert recognise(str(name)[:count]).value(Kind.REBUILD) == start
    assert recognise(str(name)[:7]).value(Kind.REBUILD) == ""


@given(hexadecimal(64))
def test_a_digest_as_registries_tag_it_is_a_digest(value: str) -> None:
    assert recognise(f"sha256-{value}").value(Kind.SHA256) == value


@given(hexadecimal(96))
def test_bytes_with_colons_between_them_are_a_digest_too(value: str) -> None:
    written = ":".join(value[at : at + 2] for at in range(0, 96, 2))
    assert recognise(written.upper()).value(Kind.SHA384) == value


@pytest.mark.parametrize("text", ["enclave v1.0.0", "enclave/v1.0.0", "  enclave/v1.0.0 "])
def test_a_release_is_recognised_by_project_and_tag_as_commands_write_it(text: str) -> None:
    assert recognise(text).value(Kind.RELEASE) == "enclave v1.0.0"


def test_a_tag_with_a_slash_may_still_be_a_tag() -> None:
    found = recognise("release/1.0")
    assert (found.value(Kind.TAG), found.value(Kind.RELEASE)) == ("release/1.0", "release 1.0")


def test_one_text_may_be_several_things() -> None:
    every = [Kind.COMMIT, Kind.CUT, Kind.REBUILD, Kind.TAG, Kind.PROJECT, Kind.OPERATOR]
    assert kinds("abcdef12") == every
    assert kinds("enclave v1.0.0") == [Kind.RELEASE]
    assert recognise("refs/tags/v1.0.0").value(Kind.TAG) == "v1.0.0"
    assert kinds("tee-vm-v0.1.0+katana-v1.7.0") == [Kind.TAG]


@pytest.mark.parametrize("text", ["", "   ", "\u200b", "<script>alert(1)</script>", "a..b", "x" * 10_000, "f" * 401])
def test_what_can_be_nothing_has_no_reading(text: str) -> None:
    assert recognise(text).readings == ()
    assert len(recognise(text).text) <= 400


@given(st.text(max_size=500))
def test_no_text_breaks_it_and_nothing_hidden_comes_out(text: str) -> None:
    query = recognise(text)
    assert not set(query.text) & set("\u202e\u200b\x00\n")
    for reading in query.readings:
        assert reading.words
        assert reading.value.isascii()


@given(hexadecimal(64), st.integers(0, 63), st.sampled_from(HEX))
def test_one_wrong_character_is_named_by_its_place(known: str, at: int, other: str) -> None:
    assume(known[at] != other)
    assert likeness(known[:at] + other + known[at + 1 :], known) == f"differs in one character, number {at + 1}"


@given(hexadecimal(64), st.integers(0, 62))
def test_two_swapped_characters_are_named_by_their_places(known: str, at: int) -> None:
    assume(known[at] != known[at + 1])
    pasted = known[:at] + known[at + 1] + known[at] + known[at + 2 :]
    assert likeness(pasted, known) == f"has characters {at + 1} and {at + 2} the other way round"


@given(hexadecimal(96), st.integers(1, 94))
def test_a_lost_and_a_doubled_character_are_told_apart_from_cut_ends(known: str, at: int) -> None:
    lost = known[:at] + known[at + 1 :]
    assume(not known.startswith(lost) and not known.endswith(lost))
    assert likeness(lost, known).startswith("has one character more, number ")
    assert likeness(known, lost).startswith("has one character less: number ")


@given(hexadecimal(96), st.integers(8, 95))
def test_cut_ends_are_said_to_be_ends(known: str, count: int) -> None:
    assert likeness(known[:count], known) == "begins with what was pasted"
    assume(not known.startswith(known[-count:]))
    assert likeness(known[-count:], known) == "ends with what was pasted"


@given(st.text(HEX, max_size=100), st.text(HEX, max_size=100))
def test_a_digest_in_parts_is_still_whole_and_its_ends_are_those_of_what_was_pasted(pasted: str, known: str) -> None:
    start, _, end = apart(pasted, known)
    assert "".join(apart(pasted, known)) == known
    assert pasted.startswith(start)
    assert pasted.endswith(end)
    assert len(start) + len(end) <= len(pasted)


@given(hexadecimal(64))
def test_the_same_is_the_same(known: str) -> None:
    assert likeness(known, known) == "is the same"


def test_a_tag_is_also_looked_for_with_and_without_v() -> None:
    assert tag_spellings("V1.2") == {"v1.2", "vv1.2", "1.2"}
    assert tag_spellings("1.2") == {"1.2", "v1.2"}
