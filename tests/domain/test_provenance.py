"""A rebuild's statement: a closed format, so that nothing that was signed goes unread."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from builds.domain.provenance import MAX_STATEMENT_BYTES, MalformedRebuildStatement, parse_rebuild_statement
from builds.domain.roles import Role
from tests.support.statements import digest_hex, encoded, read, statement_document, subject

BUILDER = "ni:///sha-256;" + "A" * 43


def document(**changed: Any) -> dict[str, Any]:
    return statement_document(BUILDER, **changed)


def refused(broken: dict[str, Any]) -> str:
    with pytest.raises(MalformedRebuildStatement) as caught:
        parse_rebuild_statement(json.dumps(broken).encode())
    return caught.value.what


def test_a_statement_says_what_was_built_from_what_and_by_whom() -> None:
    statement = read(document())
    assert set(statement.components) == {Role.KERNEL}
    assert statement.materials == {digest_hex("e")}
    assert statement.builder_id == BUILDER
    assert statement.parameters.source.commit == "c" * 40
    assert statement.log_sha256 == digest_hex("f")
    assert statement.environment["engine_version"] == "20.10"
    assert not statement.asks_for_network


def test_encoding_and_reading_are_each_others_inverse() -> None:
    statement = read(document())
    assert parse_rebuild_statement(statement.encode()) == statement
    assert encoded(json.loads(statement.encode())) == statement.encode()


def test_the_written_names_are_those_of_in_toto_and_slsa() -> None:
    written = json.loads(encoded(document()))
    assert written["_type"] == "https://in-toto.io/Statement/v1"
    assert written["predicateType"] == "https://slsa.dev/provenance/v1"
    assert set(written["predicate"]) == {"buildDefinition", "runDetails"}
    assert written["predicate"]["runDetails"]["metadata"]["finishedOn"].endswith("Z")


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(target: Any) -> None:
        *way, last = path.split(".")
        for step in way:
            target = target[int(step) if step.isdigit() else step]
        target[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("predicateType", "https://slsa.dev/provenance/v0.2"), "predicateType"),
        (_set("_type", "https://in-toto.io/Statement/v0.1"), "_type"),
        (_set("extra", 1), "extra"),
        (_set("predicate.runDetails.builder.id", "somebody"), "builder.id"),
        (_set("predicate.buildDefinition.buildType", "https://example.org/other"), "buildType"),
        (_set("subject.0.digest.sha256", "a" * 63), "sha256"),
        (_set("subject.0.digest.sha256", "a" * 96), "sha256"),
        (_set("subject.0.digest.sha512", "a" * 128), "sha512"),
        (_set("subject.0.digest.sha384", "A" * 96), "sha384"),
        (_set("subject.0.name", "../kernel"), "name"),
        (_set("subject", []), "subject"),
        (_set("predicate.runDetails.metadata.startedOn", "2026-11-21T00:00:00Z"), "ended before it began"),
        (_set("predicate.runDetails.metadata.startedOn", "2026-11-20T00:00:00"), "startedOn"),
        (_set("predicate.buildDefinition.externalParameters.source.commit", "d" * 40), "source commit"),
        (_set("predicate.buildDefinition.externalParameters.sourceDateEpoch", "1"), "sourceDateEpoch"),
        (_set("predicate.runDetails.byproducts.1.annotations", {"kernel": "a\u202eb"}), "annotations"),
        (_set("predicate.runDetails.byproducts", []), "byproducts"),
    ],
)
def test_anything_else_is_refused_and_named(change: Callable[[dict[str, Any]], None], reason: str) -> None:
    broken = document()
    change(broken)
    assert reason in refused(broken)


def test_a_subject_twice_is_refused() -> None:
    twice = [subject("kernel", 4, digest_hex(letter), digest_hex(letter, 96)) for letter in "ab"]
    assert "a subject twice" in refused(document(subjects=twice))


def test_a_document_that_two_readers_could_read_differently_is_refused() -> None:
    text = json.dumps(document()).replace('"subject":', '"subject": [], "subject":', 1)
    with pytest.raises(MalformedRebuildStatement, match="same member twice"):
        parse_rebuild_statement(text.encode())


@pytest.mark.parametrize(
    ("theirs", "pythons"), [("predicateType", "predicate_type"), ("buildDefinition", "build_definition")]
)
def test_a_member_by_the_name_that_python_has_for_it_is_refused(theirs: str, pythons: str) -> None:
    broken = json.loads(json.dumps(document()).replace(f'"{theirs}"', f'"{pythons}"'))
    assert theirs in refused(broken)


def test_ten_megabytes_are_refused_before_they_are_read() -> None:
    with pytest.raises(MalformedRebuildStatement, match=f"larger than {MAX_STATEMENT_BYTES} bytes"):
        parse_rebuild_statement(b"{" + b" " * 10_000_000 + b"}")
