"""Policy clauses: each is checked and reported by itself, and none holds by accident."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestations.domain.identity import KeyIdentity, SignerIdentity, WorkflowReference
from attestations.domain.policy import ClauseState, PublisherPolicy, matches
from attestations.domain.statement import Statement
from attestations.local_sigstore import GitHubWorkflow
from tests.attestations.conftest import COMMIT, POLICY, WORKFLOW

PROVENANCE = Statement("https://in-toto.io/Statement/v1", (), "https://slsa.dev/provenance/v1", {})


def signer(workflow: GitHubWorkflow = WORKFLOW, **changed: str) -> SignerIdentity:
    return SignerIdentity(workflow.san, {**workflow.claims, **changed})


def open_clauses(policy: PublisherPolicy, identity: SignerIdentity | KeyIdentity) -> dict[str, ClauseState]:
    return {clause.name: clause.state for clause in policy.clauses(identity, PROVENANCE) if not clause.holds}


def test_the_expected_workflow_meets_every_clause_that_is_asked() -> None:
    assert open_clauses(POLICY, signer()) == {}


@pytest.mark.parametrize(
    ("changed", "clause"),
    [
        ({"repository": "stranger/reference-enclave"}, {"source repository", "workflow repository"}),
        ({"workflow": ".github/workflows/test.yml"}, {"workflow"}),
        ({"ref": "refs/heads/v1"}, {"ref"}),
        ({"ref": "refs/tags/v1/evil"}, {"ref"}),
        ({"commit": "0" * 40}, {"source commit"}),
        ({"repository_id": "999"}, {"repository id"}),
        ({"owner_id": "999"}, {"owner id"}),
        ({"runner_environment": "self-hosted"}, {"runner environment"}),
        ({"issuer": "https://token.actions.githubusercontent.com/enterprise"}, {"OIDC issuer"}),
        ({"signer_uri": "https://github.com/s/w/.github/workflows/x.yml@refs/heads/main"}, {"build signer"}),
    ],
)
def test_each_wrong_claim_fails_its_own_clause_and_no_other(changed: dict[str, str], clause: set[str]) -> None:
    assert open_clauses(POLICY, signer(replace(WORKFLOW, **changed))) == dict.fromkeys(clause, ClauseState.UNMET)


def test_a_claim_the_certificate_does_not_make_is_absent_and_does_not_hold() -> None:
    claims = {name: value for name, value in WORKFLOW.claims.items() if name != "runner_environment"}
    found = open_clauses(POLICY, SignerIdentity(WORKFLOW.san, claims))
    assert found == {"runner environment": ClauseState.ABSENT}


def test_a_certificate_that_contradicts_itself_is_refused() -> None:
    assert open_clauses(POLICY, signer(source_commit=COMMIT, workflow_commit_v1="1" * 40)) == {
        "claims agree": ClauseState.UNMET
    }


def test_a_reusable_workflow_may_sign_when_the_policy_names_it() -> None:
    shared = "https://github.com/builders/shared/.github/workflows/attest.yml"
    identity = signer(replace(WORKFLOW, signer_uri=f"{shared}@refs/tags/v2"))
    assert open_clauses(POLICY, identity) == {"build signer": ClauseState.UNMET}
    assert open_clauses(replace(POLICY, build_signer=shared), identity) == {}
    assert open_clauses(replace(POLICY, build_signer=f"{shared}@refs/tags/v*"), identity) == {}
    assert open_clauses(replace(POLICY, build_signer=f"{shared}@refs/heads/*"), identity) == {
        "build signer": ClauseState.UNMET
    }


def test_a_workflow_of_another_repository_that_checked_ours_out_is_not_ours() -> None:
    config = "https://github.com/stranger/x/.github/workflows/release-tee.yml@refs/tags/v1.0.0"
    identity = SignerIdentity(config, {**WORKFLOW.claims, "build_config_uri": config, "build_signer_uri": config})
    assert open_clauses(POLICY, identity) == {"workflow repository": ClauseState.UNMET}


def test_a_branch_may_be_expected_when_builds_precede_their_tag() -> None:
    assert open_clauses(replace(POLICY, ref="refs/heads/main"), signer(replace(WORKFLOW, ref="refs/heads/main"))) == {}


def test_an_unexpected_predicate_type_is_its_own_clause() -> None:
    other = Statement(PROVENANCE.type, (), "https://spdx.dev/Document", {})
    clauses = {clause.name: clause.state for clause in POLICY.clauses(signer(), other)}
    assert clauses["predicate type"] is ClauseState.UNMET


def test_a_policy_without_repository_or_workflow_says_what_it_misses() -> None:
    assert PublisherPolicy().missing == ("repository", "workflow")
    assert PublisherPolicy(issuer="", san="https://dotcom.releases.github.com").missing == ("issuer",)
    assert POLICY.missing == ()


def test_a_plain_key_must_be_named_and_what_it_signed_must_name_the_commit() -> None:
    key = KeyIdentity("ab" * 32, "hint")
    named = replace(POLICY, keys=("ab" * 32,))
    predicate = {"buildDefinition": {"resolvedDependencies": [{"digest": {"gitCommit": COMMIT}}]}}
    statement = replace(PROVENANCE, predicate=predicate)
    states = {clause.name: clause.state for clause in named.clauses(key, statement)}
    assert set(states.values()) == {ClauseState.MET}
    assert open_clauses(named, key) == {"source commit": ClauseState.ABSENT}
    assert open_clauses(POLICY, key)["public key"] is ClauseState.UNMET


SEGMENT = st.text(st.characters(codec="ascii", exclude_characters="/*"), max_size=12)


@given(SEGMENT, SEGMENT, SEGMENT)
def test_one_star_never_crosses_a_slash_and_two_do(start: str, middle: str, end: str) -> None:
    assert matches(f"{start}*{end}", f"{start}{middle}{end}")
    assert not matches(f"{start}/*", f"{start}/{middle}/{end}")
    assert matches(f"{start}/**", f"{start}/{middle}/{end}")


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_pattern_without_stars_matches_itself_alone(pattern: str, text: str) -> None:
    if "*" not in pattern:
        assert matches(pattern, text) == (pattern == text)


def test_a_workflow_reference_is_read_only_from_the_whole_address() -> None:
    uri = "https://github.com/o/r/.github/workflows/x.yml@refs/tags/a/b+c"
    assert WorkflowReference.parse(uri) == WorkflowReference(
        "https://github.com/o/r", ".github/workflows/x.yml", "refs/tags/a/b+c"
    )
    for hostile in (f"x{uri}", "https://github.com/o/r/.github/workflows/x.yml", "", f"{uri} x", f"{uri}\n"):
        assert WorkflowReference.parse(hostile) is None or hostile == f"{uri}\n"[:-1]


def test_the_digest_of_a_policy_changes_with_any_clause() -> None:
    changes = {"issuer": "x", "ref": "x", "commit": "x", "owner_id": "x", "predicate_types": ("x",), "keys": ("x",)}
    digests = {replace(POLICY, **{name: value}).digest for name, value in changes.items()}
    assert len(digests | {POLICY.digest}) == len(changes) + 1
