"""The signed verdict and the policy it names: closed formats with one reading."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestations.domain.findings import TrustRootRef
from attestations.domain.policy import PublisherPolicy
from attestations.domain.policy_statement import (
    ExpectedIdentity,
    MalformedPolicy,
    PolicyStatement,
    parse_policy,
)
from attestations.domain.statement import parse_statement
from attestations.domain.summary import (
    MAX_SUMMARY_BYTES,
    VERDICT_EXTENSION,
    CountedRebuild,
    MalformedSummary,
    PolicyReference,
    ReleaseName,
    SummarySubject,
    VerdictSummary,
    parse_summary,
    subjects_of,
)
from builds.domain.comparison import PublishedComponent, Subject
from builds.domain.consensus import Tally
from builds.domain.digest import Digest, FileDigests
from builds.domain.evidence import Policy
from builds.domain.roles import Role
from tests.support.summaries import POLICY, allowed, denied

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)


def document(summary: VerdictSummary) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(summary.encode())
    return read


def test_a_rebuild_is_one_of_the_inputs_and_named_once() -> None:
    (given,) = allowed().inputs
    rebuild = CountedRebuild(given.sha256, "a" * 64, "ada")
    summary = allowed(rebuilds=(rebuild,))
    assert summary.counted == {given.sha256: rebuild}
    assert parse_summary(summary.encode()) == summary
    assert allowed(rebuilds=()).counted == {}
    for rebuilds in ((rebuild, rebuild), (replace(rebuild, sha256="e" * 64),)):
        with pytest.raises(MalformedSummary):
            allowed(rebuilds=rebuilds).encode()


def test_an_allowed_release_passes_at_our_one_level() -> None:
    statement = document(allowed())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/verification_summary/v1"
    assert statement["subject"] == [{"name": "kernel", "digest": {"sha256": "a" * 64, "sha384": "b" * 96}}]
    predicate = statement["predicate"]
    assert predicate == {
        "verifier": {"id": "https://portal.example/", "version": {"tee-portal": "0.1.0"}},
        "timeVerified": "2026-11-20T12:00:00Z",
        "resourceUri": "https://portal.example/releases/enclave/v1.0.0",
        "policy": {"uri": "https://portal.example/api/v1/policies/1", "digest": {"sha256": POLICY.sha256}},
        "inputAttestations": [
            {"uri": "https://portal.example/api/v1/statements/1", "digest": {"sha256": "d" * 64}},
        ],
        "verificationResult": "PASSED",
        "verifiedLevels": ["TEE_PORTAL_ALLOW"],
        "slsaVersion": "1.1",
        "https://tee-portal.org/verdict/v1": {
            "decision": "allow",
            "unmet": [],
            "operators": {"needed": 2, "reproduced": 2, "contradicting": 0, "failed": 0},
            "release": {"project": "enclave", "tag": "v1.0.0", "commit": "c" * 40},
        },
    }


def test_a_denied_release_fails_with_the_word_that_slsa_has_for_it() -> None:
    predicate = document(denied())["predicate"]
    assert predicate["verificationResult"] == "FAILED"
    assert predicate["verifiedLevels"] == ["FAILED"]
    assert predicate[VERDICT_EXTENSION]["unmet"] == ["reproduced-by-enough-operators"]


def test_nothing_that_the_portal_signs_claims_a_level_of_slsa() -> None:
    for summary in (allowed(), denied()):
        assert not [level for level in document(summary)["predicate"]["verifiedLevels"] if level.startswith("SLSA_")]


@given(
    subjects=st.lists(HEX, min_size=1, max_size=5),
    inputs=st.lists(HEX, max_size=20),
    counts=st.tuples(*[st.integers(0, 2**31 - 1)] * 4),
    moment=st.integers(0, 253_402_300_799).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    unmet=st.lists(st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,62}\Z"), min_size=1, max_size=6, unique=True),
)
def test_encoding_and_reading_are_each_others_inverse(
    subjects: list[str], inputs: list[str], counts: tuple[int, ...], moment: datetime, unmet: list[str]
) -> None:
    summary = denied(
        subjects=tuple(
            SummarySubject(role.value, digest, digest + digest[:32])
            for role, digest in zip(Role, subjects, strict=False)
        ),
        inputs=tuple(replace(allowed().inputs[0], sha256=digest) for digest in inputs),
        tally=Tally(*counts),
        time=moment,
        unmet=tuple(unmet),
    )
    payload = summary.encode()
    assert parse_summary(payload) == summary
    assert parse_summary(payload).encode() == payload


def test_a_moment_in_another_zone_is_written_in_utc() -> None:
    moment = datetime(2026, 11, 20, 13, 30, tzinfo=timezone(timedelta(minutes=90)))
    assert document(allowed(time=moment))["predicate"]["timeVerified"] == "2026-11-20T12:00:00Z"


def test_the_verifier_that_reads_other_peoples_attestations_reads_ours() -> None:
    statement = parse_statement(allowed().encode())
    assert statement.predicate_type == "https://slsa.dev/verification_summary/v1"
    assert statement.subject_for(frozenset({Digest.sha256("a" * 64)})) is not None


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        (allowed(unmet=("files-match-manifest",)), "does not follow from the conditions"),
        (denied(unmet=()), "does not follow from the conditions"),
        (denied(unmet=("one", "one")), "named twice"),
        (allowed(tally=Tally(2, 1, 0, 0)), "does not follow from the operators"),
        (allowed(tally=Tally(2, 3, 1, 0)), "does not follow from the operators"),
        (allowed(tally=Tally(2, 2, 0, -1)), "failed"),
        (allowed(subjects=()), "subject"),
        (allowed(subjects=(SummarySubject("kernel", "a" * 64, "b" * 96),) * 2), "the same name"),
        (allowed(subjects=(SummarySubject("vmlinuz", "a" * 64, "b" * 96),)), "named by its role"),
        (allowed(subjects=(SummarySubject("disk/", "a" * 64, "b" * 96),)), "named by its role"),
        (allowed(subjects=(SummarySubject("disk/a\u202eb", "a" * 64, "b" * 96),)), "subject.0.name"),
        (allowed(subjects=(SummarySubject("disk/\ud800", "a" * 64, "b" * 96),)), "half a character"),
        (allowed(subjects=(SummarySubject("disk", "a" * 64, ""),)), "sha384"),
        (allowed(verifier_id="portal"), "verifier.id"),
        (allowed(resource_uri="https://portal.example/a b"), "resourceUri"),
        (allowed(policy=PolicyReference("HTTPS://portal.example", "a" * 64)), "policy.uri"),
        (allowed(release=ReleaseName("enclave", "v1", "c" * 39)), "commit"),
        (allowed(release=ReleaseName("enclave", "a b", "c" * 40)), "tag"),
        (allowed(time=datetime(2026, 1, 1)), "no zone"),  # noqa: DTZ001
        (allowed(time=datetime(2026, 1, 1, 0, 0, 0, 1, UTC)), "fractions"),
    ],
)
def test_what_no_reader_would_get_back_is_never_signed(summary: VerdictSummary, reason: str) -> None:
    with pytest.raises(MalformedSummary, match=reason):
        summary.encode()


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(target: Any) -> None:
        *way, last = path.split("|")
        for step in way:
            target = target[int(step) if step.isdigit() else step]
        target[last] = value

    return change


def _drop(path: str) -> Callable[[dict[str, Any]], None]:
    def change(target: Any) -> None:
        *way, last = path.split("|")
        for step in way:
            target = target[step]
        del target[last]

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("_type", "https://in-toto.io/Statement/v0.1"), "_type"),
        (_set("predicateType", "https://slsa.dev/verification_summary/v0.2"), "predicateType"),
        (_set("extra", 1), "extra"),
        (_set("subject", []), "subject"),
        (_set("subject|0|digest|sha512", "a" * 128), "sha512"),
        (_set("subject|0|uri", "https://portal.example"), "uri"),
        (_set("predicate|dependencyLevels", {}), "dependencyLevels"),
        (_set("predicate|slsaVersion", "1.0"), "slsaVersion"),
        (_set("predicate|verificationResult", "FAILED"), "result is not the decision"),
        (_set("predicate|verificationResult", "passed"), "verificationResult"),
        (_set("predicate|verifiedLevels", ["FAILED"]), "levels are not those"),
        (_set("predicate|verifiedLevels", ["SLSA_BUILD_LEVEL_3"]), "verifiedLevels"),
        (_set("predicate|verifiedLevels", ["TEE_PORTAL_ALLOW", "TEE_PORTAL_ALLOW"]), "verifiedLevels"),
        (_set("predicate|verifiedLevels", []), "verifiedLevels"),
        (_set("predicate|timeVerified", "2026-11-20T12:00:00+00:00"), "timeVerified"),
        (_set("predicate|timeVerified", "2026-02-30T12:00:00Z"), "timeVerified"),
        (_set("predicate|timeVerified", 1), "timeVerified"),
        (_set("predicate|policy|digest", {}), "policy.digest"),
        (_set("predicate|verdict", {}), "verdict"),
        (_set(f"predicate|{VERDICT_EXTENSION}|decision", "deny"), "does not follow"),
        (_set(f"predicate|{VERDICT_EXTENSION}|operators|reproduced", 1), "does not follow"),
        (_set(f"predicate|{VERDICT_EXTENSION}|operators|reproduced", "2"), "reproduced"),
        (_set(f"predicate|{VERDICT_EXTENSION}|operators|reproduced", True), "reproduced"),
        (_drop(f"predicate|{VERDICT_EXTENSION}"), "verdict"),
        (_drop("predicate|timeVerified"), "timeVerified"),
    ],
)
def test_anything_else_is_refused_and_named(change: Callable[[dict[str, Any]], None], reason: str) -> None:
    broken = document(allowed())
    change(broken)
    with pytest.raises(MalformedSummary, match=reason):
        parse_summary(json.dumps(broken).encode())


@pytest.mark.parametrize("theirs", ["predicateType", "timeVerified", "verificationResult", VERDICT_EXTENSION])
def test_a_member_by_the_name_that_python_has_for_it_is_refused(theirs: str) -> None:
    ours = {VERDICT_EXTENSION: "verdict"}.get(theirs, "".join(f"_{c.lower()}" if c.isupper() else c for c in theirs))
    payload = allowed().encode().replace(f'"{theirs}"'.encode(), f'"{ours}"'.encode())
    with pytest.raises(MalformedSummary):
        parse_summary(payload)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"a": 1, "a": 1}', "same member twice"),
        (b"{" + b" " * MAX_SUMMARY_BYTES + b"}", "larger than"),
    ],
)
def test_what_is_no_one_document_is_refused_by_name(payload: bytes, reason: str) -> None:
    with pytest.raises(MalformedSummary, match=reason):
        parse_summary(payload)


def digests(letter: str) -> FileDigests:
    return FileDigests(1, Digest.sha256(letter * 64), Digest.sha384(letter * 96))


def component(role: Role, content: FileDigests | None, container: FileDigests | None) -> PublishedComponent:
    return PublishedComponent(role, None, Subject.CONTENT, content, container)


def test_subjects_are_the_components_and_the_files_around_them() -> None:
    found = subjects_of(
        [
            component(Role.KERNEL, digests("a"), None),
            component(Role.INITRD, None, None),
            component(Role.DISK, digests("b"), digests("c")),
            component(Role.KATANA, None, digests("d")),
        ],
        {Role.KERNEL: "vmlinuz", Role.DISK: "vm.raw.gz", Role.KATANA: "a\u202eb\nc.tar.gz"},
    )
    assert [(entry.name, entry.sha256[0], entry.sha384[0]) for entry in found] == [
        ("kernel", "a", "a"),
        ("disk", "b", "b"),
        ("disk/vm.raw.gz", "c", "c"),
        ("katana/a\ufffdb\ufffdc.tar.gz", "d", "d"),
    ]
    assert parse_summary(allowed(subjects=found).encode()).subjects == found


@given(st.text(max_size=400))
def test_no_file_name_of_a_publisher_keeps_a_verdict_from_being_signed(name: str) -> None:
    found = subjects_of([component(Role.DISK, digests("b"), digests("c"))], {Role.DISK: name})
    assert parse_summary(allowed(subjects=found).encode()).subjects == found


def test_a_policy_is_named_by_the_digest_of_its_one_spelling() -> None:
    assert parse_policy(POLICY.encode()) == POLICY
    assert POLICY.sha256 == hashlib.sha256(POLICY.encode()).hexdigest()
    again = json.dumps(json.loads(POLICY.encode()), indent=1).encode()
    with pytest.raises(MalformedPolicy, match="spelled differently"):
        parse_policy(again)


def test_a_policys_spelling_does_not_depend_on_the_order_of_its_parts() -> None:
    roots = [TrustRootRef("b", "1" * 64), TrustRootRef("a", "2" * 64)]
    opaque = [Digest.sha256("1" * 64), Digest.sha384("2" * 96)]
    policy = PublisherPolicy(repository="https://github.com/o/r", keys=("b" * 64, "a" * 64), commit="c" * 40)
    turned = replace(policy, keys=policy.keys[::-1], commit="d" * 40)
    one = PolicyStatement.of("p", Policy(2, frozenset(opaque)), [ExpectedIdentity.of(policy, roots)])
    two = PolicyStatement.of("p", Policy(2, frozenset(opaque[::-1])), [ExpectedIdentity.of(turned, roots[::-1])])
    assert one.encode() == two.encode()
    assert one.encode().startswith(b'{"acceptedOpaqueInputs":["sha256:1')
    assert list(json.loads(one.encode())) == sorted(json.loads(one.encode()))


def test_a_policy_with_other_members_or_clauses_is_refused_by_name() -> None:
    for broken in (b"[]", b'{"a":1}', POLICY.encode().replace(b'"project"', b'"Project"')):
        with pytest.raises(MalformedPolicy):
            parse_policy(broken)
    with pytest.raises(MalformedPolicy, match="workflow"):
        ExpectedIdentity.of(PublisherPolicy(workflow="a\nb"), [])
    with pytest.raises(MalformedPolicy, match="project"):
        PolicyStatement.of("a\nb", Policy(2, frozenset()), [])
    with pytest.raises(MalformedPolicy, match="half a character"):
        PolicyStatement.model_construct(
            project="\ud800", needed_operators=1, accepted_opaque_inputs=(), expected_publishers=()
        ).encode()
