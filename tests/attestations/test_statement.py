"""in-toto statements: exactly the types we know, subjects by any of the known digests, nothing guessed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestations.domain.statement import MalformedStatement, parse_statement
from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import MalformedInput


def document(**changed: object) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a", "digest": {"sha256": "aa" * 32}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {},
        **changed,
    }


def parse(**changed: object) -> object:
    return parse_statement(json.dumps(document(**changed)).encode())


@pytest.mark.parametrize(
    "changed",
    [
        {"_type": "https://in-toto.io/Statement/v2"},
        {"_type": None},
        {"_type": ["https://in-toto.io/Statement/v1"]},
        {"predicateType": ""},
        {"predicateType": 7},
        {"subject": []},
        {"subject": {"digest": {"sha256": "aa" * 32}}},
        {"subject": [{"name": "a"}]},
        {"subject": [{"name": "a", "digest": {"sha256": "AA" * 32}}]},
        {"subject": [{"name": "a", "digest": {"sha256": "aa"}}]},
        {"subject": [{"name": "a", "digest": {"sha256": 7}}]},
        {"subject": [{"digest": {}}] * 5000},
    ],
)
def test_what_is_no_statement_is_refused_by_name(changed: dict[str, object]) -> None:
    with pytest.raises(MalformedStatement):
        parse(**changed)


def test_a_key_given_twice_is_refused_because_readers_would_disagree() -> None:
    data = json.dumps(document()).encode().replace(b'"predicate":', b'"_type": "x", "predicate":')
    with pytest.raises(MalformedStatement, match="twice"):
        parse_statement(data)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_file_is_found_by_any_known_algorithm_and_among_many_subjects(algorithm: Algorithm) -> None:
    digest = Digest(algorithm, hashlib.new(algorithm, b"x").hexdigest())
    subjects = [{"name": "other", "digest": {"sha1": "00" * 20}}, {"name": "x", "digest": {str(algorithm): digest.hex}}]
    statement = parse_statement(json.dumps(document(subject=subjects)).encode())
    found = statement.subject_for(frozenset({digest}))
    assert found is not None
    assert found.name == "x"


def test_a_subject_whose_digests_name_two_files_covers_neither() -> None:
    sha256, sha512 = Digest.sha256("aa" * 32), Digest(Algorithm.SHA512, "bb" * 64)
    subject = {"name": "x", "digest": {"sha256": sha256.hex, "sha512": "cc" * 64}}
    statement = parse_statement(json.dumps(document(subject=[subject])).encode())
    assert statement.subject_for(frozenset({sha256, sha512})) is None
    assert statement.subject_for(frozenset({sha256})) is not None


def test_a_subject_without_a_known_algorithm_covers_nothing() -> None:
    statement = parse_statement(json.dumps(document(subject=[{"digest": {"sha1": "aa" * 20}}])).encode())
    assert statement.subject_for(frozenset({Digest.sha256("aa" * 32)})) is None
    assert statement.subject_for(frozenset()) is None


@pytest.mark.parametrize(
    "predicate",
    [
        {"buildDefinition": {"resolvedDependencies": [{"digest": {"gitCommit": "ab" * 20}}]}},
        {"materials": [{"uri": "git+x", "digest": {"sha1": "ab" * 20}}]},
    ],
)
def test_source_commits_are_read_from_both_versions_of_provenance(predicate: dict[str, object]) -> None:
    assert parse_statement(json.dumps(document(predicate=predicate)).encode()).source_commits == {"ab" * 20}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["_type", "subject", "predicateType", "predicate"]), json_values))
def test_any_document_parses_or_is_refused_by_name(changed: dict[str, object]) -> None:
    try:
        statement = parse_statement(json.dumps(document(**changed)).encode())
    except MalformedInput:
        return
    assert statement.subjects
    assert isinstance(statement.source_commits, frozenset)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_statement(data)
