"""A caller's own policy in one line, as ``k:3,identity:https://...``, and what findings are worth under it.

Each key that is given stands for what the project asks; what is not given stays the project's. Commas and percent
signs inside a value are percent-encoded (RFC 3986, section 2.1). docs/api.md describes the grammar for readers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import unquote_to_bytes

from attestations.domain.findings import CheckState, Step, component_state
from attestations.domain.identity import WorkflowReference
from attestations.domain.policy import COMMIT_CLAUSE, GITHUB_ISSUER, PREDICATE_CLAUSE, ClauseState
from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import MalformedInput
from builds.domain.evidence import AttestationState, AttestedComponent

MAX_POLICY_CHARACTERS: Final = 6000
MOST_OPERATORS: Final = 100
MOST_OPAQUE: Final = 50
NO_OPAQUE: Final = "none"
"""The value of ``opaque`` that accepts no input at all."""
KEYS: Final = ("k", "identity", "issuer", "opaque")

_NUMBER = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)
_ENCODED = re.compile(r"(?:[!-$&-+\--~]|%[0-9A-Fa-f]{2})+", re.ASCII)
"""Visible ASCII without comma; a percent sign only as the beginning of an escape."""
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)
_VALUE = "([!-$&-+\\--~]|%[2-7][0-9A-Fa-f])+"
_ENTRY = f"(k:([1-9][0-9]?|100)|identity:{_VALUE}|issuer:https://{_VALUE}|opaque:(none|sha256:[0-9a-f]{{64}}))"
WRITTEN_POLICY: Final = f"^{_ENTRY}(,{_ENTRY})*$"
"""As a JSON Schema's pattern, which cannot say that an entry stands once, or needs another beside it."""
_ALWAYS_ASKED = ("claims agree", COMMIT_CLAUSE)
_AS_THE_PROJECT = PREDICATE_CLAUSE


class UnusablePolicy(MalformedInput):
    """A policy in a question that cannot be read as one, or that says one thing twice."""

    code: ClassVar[str] = "unusable-policy"
    default_todo: ClassVar[str] = (
        "Write it as k:2,identity:URI,issuer:URL,opaque:sha256:HEX; docs/api.md has the grammar."
    )


@dataclass(frozen=True, slots=True)
class CallerPolicy:
    """What a caller asks for instead of the project; None where the project's own holds.

    ``identity`` is an exact subject alternative name, and never without ``issuer``: another one may vouch for any name.
    """

    needed_operators: int | None = None
    identity: str | None = None
    issuer: str | None = None
    accepted_opaque: frozenset[Digest] | None = None


@dataclass(frozen=True, slots=True)
class FoundClaims:
    """What one stored finding says of a bundle: checks by step, and of each clause what was found and its state.

    ``is_current`` is whether trust roots, verifier and file are those of today.
    """

    checks: Mapping[str, str]
    found: Mapping[str, str]
    states: Mapping[str, str]
    is_current: bool
    state: AttestationState
    reason: str


def parse_caller_policy(text: str) -> CallerPolicy:
    """Read one line; ``UnusablePolicy`` names the first thing that is wrong with it."""
    if not text or len(text) > MAX_POLICY_CHARACTERS:
        raise _unusable(f"a policy has 1 to {MAX_POLICY_CHARACTERS} characters")
    given = _by_key(text)
    identity = _one(given, "identity", _plain)
    issuer = _one(given, "issuer", _issuer)
    if issuer is not None and identity is None:
        raise _unusable("issuer is given without identity")
    if identity is not None and issuer is None:
        issuer = _issuer_of(identity)
    return CallerPolicy(
        needed_operators=_one(given, "k", _operators),
        identity=identity,
        issuer=issuer,
        accepted_opaque=_opaque(given["opaque"]) if "opaque" in given else None,
    )


def attested_for(policy: CallerPolicy, bundles: Iterable[FoundClaims], asked: AttestedComponent) -> AttestedComponent:
    """A component's state under the caller's identity, from what was found about each of its bundles.

    ``asked`` is what the project's policy makes of it, which stands where no identity is given or nothing was found.
    """
    found = list(bundles)
    if policy.identity is None or not found:
        return asked
    judged = [_judged(policy, claims) for claims in found]
    state = component_state((entry.state for entry in judged), asked=True)
    return next(entry for entry in judged if entry.state is state)


def _judged(policy: CallerPolicy, claims: FoundClaims) -> AttestedComponent:
    """A signature that did not hold stays what it is; one that did is compared with whom the caller expects."""
    if not _is_signed(claims.checks):
        return AttestedComponent(claims.state, claims.reason)
    if not claims.is_current:
        why = "Trust roots, verifier or file changed since this was judged; it is judged anew shortly."
        return AttestedComponent(AttestationState.UNCHECKED, why)
    wrong = [
        f"{name}: expected {expected}, found {claims.found.get(name) or 'nothing'}"
        for name, expected in (("subject name", policy.identity), ("OIDC issuer", policy.issuer))
        if claims.found.get(name) != expected
    ]
    wrong += [
        f"{name} is {claims.states.get(name, ClauseState.ABSENT)}"
        for name in _ALWAYS_ASKED
        if claims.states.get(name) != ClauseState.MET
    ]
    if wrong:
        why = f"The signature is valid, but the signer is not the one that the caller expects. {'; '.join(wrong)}."
        return AttestedComponent(AttestationState.WRONG_IDENTITY, why)
    if claims.states.get(_AS_THE_PROJECT) not in {ClauseState.MET, ClauseState.NOT_ASKED}:
        why = "The signer that the caller expects signed another kind of statement than the project asks for."
        return AttestedComponent(AttestationState.REJECTED, why)
    return AttestedComponent(AttestationState.VERIFIED, "The signer that the caller expects signed this file.")


def _is_signed(checks: Mapping[str, str]) -> bool:
    """Whether every check held and the signature is one of them: what is not there has not held."""
    needed = (Step.READABLE, Step.SIGNATURE, Step.SUBJECT)
    held = all(checks.get(step) == CheckState.PASSED for step in needed)
    return held and all(state in {CheckState.PASSED, CheckState.NOT_USED} for state in checks.values())


def _by_key(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in text.split(","):
        key, separator, value = part.partition(":")
        if not separator or key not in KEYS:
            raise _unusable(f"{part[:80]!r} begins with none of {', '.join(f'{name}:' for name in KEYS)}")
        if key in found and key != "opaque":
            raise _unusable(f"{key} is given twice")
        found.setdefault(key, []).append(_decoded(key, value))
    return found


def _decoded(key: str, value: str) -> str:
    if not _ENCODED.fullmatch(value):
        raise _unusable(f"the value of {key} is empty, or holds what must be percent-encoded")
    try:
        return unquote_to_bytes(value).decode("ascii")
    except UnicodeDecodeError as error:
        raise _unusable(f"the value of {key} is not ASCII") from error


def _one[Value](given: Mapping[str, list[str]], key: str, read: Callable[[str, str], Value]) -> Value | None:
    return read(key, given[key][0]) if key in given else None


def _operators(_key: str, value: str) -> int:
    if not _NUMBER.fullmatch(value) or int(value) > MOST_OPERATORS:
        raise _unusable(f"k is no number from 1 to {MOST_OPERATORS}")
    return int(value)


def _plain(key: str, value: str) -> str:
    if not _PLAIN.fullmatch(value):
        raise _unusable(f"{key} holds control characters, or begins or ends with a space")
    return value


def _issuer(key: str, value: str) -> str:
    if not value.startswith("https://"):
        raise _unusable("issuer is no https address")
    return _plain(key, value)


def _issuer_of(identity: str) -> str:
    """GitHub's issuer for a workflow of github.com; for any other name nobody can be guessed."""
    found = WorkflowReference.parse(identity)
    if found is None or not found.repository.startswith("https://github.com/"):
        raise _unusable("identity is no workflow of github.com, and needs an issuer beside it")
    return GITHUB_ISSUER


def _opaque(values: list[str]) -> frozenset[Digest]:
    if values == [NO_OPAQUE]:
        return frozenset()
    if len(values) > MOST_OPAQUE:
        raise _unusable(f"more than {MOST_OPAQUE} opaque inputs are accepted")
    if len(set(values)) < len(values):
        raise _unusable("an opaque input is given twice")
    return frozenset(_digest(value) for value in values)


def _digest(value: str) -> Digest:
    name, _, hexadecimal = value.partition(":")
    try:
        if name == Algorithm.SHA256:
            return Digest.sha256(hexadecimal)
    except MalformedInput as error:
        raise _unusable("opaque names no SHA-256 of 64 lower-case hexadecimal characters") from error
    raise _unusable(f"opaque is neither sha256:HEX nor {NO_OPAQUE}")


def _unusable(what: str) -> UnusablePolicy:
    return UnusablePolicy(what, where="the query's policy")
