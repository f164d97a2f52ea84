"""A caller's policy is read as it was written or not at all, and no signature is worth more by it than it was found."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestations.domain.caller_policy import (
    CallerPolicy,
    FoundClaims,
    UnusablePolicy,
    attested_for,
    parse_caller_policy,
)
from attestations.domain.findings import Step
from attestations.domain.policy import GITHUB_ISSUER
from builds.domain.digest import Digest
from builds.domain.evidence import AttestationState, AttestedComponent

WORKFLOW = "https://github.com/example/enclave/.github/workflows/release.yml@refs/tags/v1"
HEX = "a" * 64
ASCII = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
ABSENT = AttestedComponent(AttestationState.ABSENT, "Nobody signed it.")


def escaped(text: str) -> str:
    return quote(text, safe="/:@")


@given(
    k=st.none() | st.integers(1, 100),
    identity=st.none() | st.text(ASCII, min_size=1, max_size=80),
    opaque=st.none() | st.frozensets(st.text("0123456789abcdef", min_size=64, max_size=64), max_size=4),
)
def test_every_policy_is_read_as_it_was_written(
    k: int | None, identity: str | None, opaque: frozenset[str] | None
) -> None:
    parts = [f"k:{k}"] if k is not None else []
    parts += [f"identity:{escaped(identity)}", f"issuer:{GITHUB_ISSUER}"] if identity is not None else []
    if opaque is not None:
        parts += [f"opaque:sha256:{value}" for value in opaque] or ["opaque:none"]
    if not parts:
        return
    accepted = frozenset(Digest.sha256(value) for value in opaque) if opaque is not None else None
    issuer = GITHUB_ISSUER if identity is not None else None
    assert parse_caller_policy(",".join(parts)) == CallerPolicy(k, identity, issuer, accepted)


@given(st.text(max_size=200))
def test_any_other_text_is_refused_by_name_and_never_with_another_error(text: str) -> None:
    try:
        parse_caller_policy(text)
    except UnusablePolicy as error:
        assert error.where == "the query's policy"
    else:
        assert text.partition(":")[0] in {"k", "identity", "opaque"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 6000 characters"),
        ("k", "begins with none of"),
        ("K:2", "begins with none of"),
        ("components:all", "begins with none of"),
        ("k:2,", "begins with none of"),
        ("k:2,k:2", "k is given twice"),
        ("k:0", "1 to 100"),
        ("k:101", "1 to 100"),
        ("k:+2", "1 to 100"),
        ("k:02", "1 to 100"),
        ("k:", "is empty"),
        (f"identity:{WORKFLOW},identity:{WORKFLOW}", "identity is given twice"),
        ("identity:ada@example.org", "needs an issuer"),
        ("identity:https://gitlab.com/a/b/.github/workflows/c.yml@refs/tags/v1", "needs an issuer"),
        (f"issuer:{GITHUB_ISSUER}", "without identity"),
        ("identity:ada@example.org,issuer:http://accounts.example.org", "no https address"),
        ("identity:a%0ab,issuer:https://x.example", "control characters"),
        ("identity:%ff,issuer:https://x.example", "not ASCII"),
        ("identity:a%2,issuer:https://x.example", "percent-encoded"),
        (f"opaque:{HEX}", "neither sha256:HEX"),
        (f"opaque:sha256:{HEX.upper()}", "lower-case"),
        (f"opaque:sha256:{HEX},opaque:sha256:{HEX}", "given twice"),
        (f"opaque:none,opaque:sha256:{HEX}", "neither sha256:HEX"),
        (",".join(f"opaque:sha256:{number:064x}" for number in range(51)), "more than 50"),
    ],
)
def test_what_is_wrong_with_a_policy_is_named(text: str, why: str) -> None:
    with pytest.raises(UnusablePolicy, match=why):
        parse_caller_policy(text)


def test_a_workflow_of_github_is_vouched_for_by_githubs_issuer() -> None:
    assert parse_caller_policy(f"identity:{WORKFLOW}").issuer == GITHUB_ISSUER


def claims(**changed: object) -> FoundClaims:
    """What a finding says of a signature that held, by the expected workflow."""
    parts: dict[str, object] = {
        "checks": {Step.READABLE: "passed", Step.SIGNATURE: "passed", Step.SUBJECT: "passed", Step.SCT: "not-used"},
        "found": {"subject name": WORKFLOW, "OIDC issuer": GITHUB_ISSUER},
        "states": {"claims agree": "met", "source commit": "met", "predicate type": "met"},
        "is_current": True,
        "state": AttestationState.WRONG_IDENTITY,
        "reason": "as the project found it",
    }
    return FoundClaims(**{**parts, **changed})  # type: ignore[arg-type]


def state_of(found: FoundClaims, policy: str = f"identity:{WORKFLOW}") -> AttestationState:
    return attested_for(parse_caller_policy(policy), [found], ABSENT).state


def test_the_signer_whom_the_caller_names_is_accepted_though_the_project_expects_another() -> None:
    assert state_of(claims()) is AttestationState.VERIFIED


@pytest.mark.parametrize("step", [Step.READABLE, Step.SIGNATURE, Step.SUBJECT, Step.CERTIFICATE, Step.LOG])
@pytest.mark.parametrize("check", ["failed", "not-reached", "unheard of"])
def test_a_check_that_did_not_hold_is_not_mended_by_a_policy(step: Step, check: str) -> None:
    found = claims(checks={**claims().checks, step: check}, state=AttestationState.REJECTED)
    assert state_of(found) is AttestationState.REJECTED


def test_a_finding_without_checks_proves_nothing() -> None:
    assert state_of(claims(checks={}, state=AttestationState.UNCHECKED)) is AttestationState.UNCHECKED


@pytest.mark.parametrize("name", ["subject name", "OIDC issuer"])
@pytest.mark.parametrize("value", ["", "somebody else"])
def test_name_and_issuer_must_both_be_exactly_those(name: str, value: str) -> None:
    assert state_of(claims(found={**claims().found, name: value})) is AttestationState.WRONG_IDENTITY


@pytest.mark.parametrize("name", ["claims agree", "source commit"])
@pytest.mark.parametrize("state", ["unmet", "absent", "not-asked"])
def test_the_releases_own_commit_is_asked_for_whatever_the_policy(name: str, state: str) -> None:
    assert state_of(claims(states={**claims().states, name: state})) is AttestationState.WRONG_IDENTITY


def test_another_kind_of_statement_than_the_projects_is_no_attestation() -> None:
    assert state_of(claims(states={**claims().states, "predicate type": "unmet"})) is AttestationState.REJECTED


def test_a_finding_of_other_roots_or_files_than_todays_is_unchecked() -> None:
    assert state_of(claims(is_current=False)) is AttestationState.UNCHECKED


def test_nothing_found_stays_what_it_is_and_without_identity_the_project_decides() -> None:
    assert attested_for(parse_caller_policy(f"identity:{WORKFLOW}"), [], ABSENT) == ABSENT
    assert state_of(claims(), "k:1") is AttestationState.ABSENT
