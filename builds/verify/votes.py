"""Who rebuilt these files: distinct operators, counted for the user's own keys or by the portal's signed word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from attestations.domain.summary import VerdictSummary
from builds.domain.digest import FileDigests
from builds.domain.origins import OriginKind
from builds.domain.provenance import RebuildStatement
from builds.domain.requests import ReleaseName
from builds.domain.roles import Role
from builds.verify.findings import YOU, Finding, State
from builds.verify.operators import Operators
from builds.verify.signatures import PinnedKey, Vote
from builds.verify.walking import CLOCKS_APART

_AXIS = "rebuilders"


type Digests = tuple[str, str]
"""SHA-256 and SHA-384, in hex."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a statement must be about to count: this release, its commit, exactly these files."""

    release: ReleaseName
    commit: str
    files: Mapping[Role, Digests]
    unreadable: frozenset[Role] = frozenset()
    """Components that are published and cannot be read here."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The statements that count, newest of each key, and a finding for every statement and for their number.

    ``against`` are those whose signers got other bytes from the same commit; ``needed`` is how many distinct operators
    are asked for, None when it is not known whose statements count; ``operators`` tells how many there are.
    """

    votes: tuple[Vote, ...]
    against: tuple[Vote, ...]
    needed: int | None
    operators: Operators
    findings: tuple[Finding, ...]


def count(
    votes: Sequence[Vote],
    pinned: Sequence[PinnedKey],
    verdict: VerdictSummary | None,
    expected: Expected,
    *,
    needed: int | None,
    now: datetime,
) -> Counted:
    """Count distinct operators; ``verdict`` is one whose signature was checked, or None.

    With keys of the user's only those count. Without, the rebuilds that the portal signed as counted do, and no more
    operators than it signed for: their keys and operators are the portal's word.
    """
    operators = Operators.of(pinned, verdict)
    by_word = operators.by_word
    counting, others = [], []
    for vote in votes:
        why = _not_asked_for(vote, pinned, verdict) or shows_nothing(vote.statement, now)
        if why:
            others.append(_not_counted(vote, why))
        else:
            counting.append(vote)
    newest = _newest_of_each_key((vote, _judge(vote, expected, by_word=by_word)) for vote in counting)
    newest, apart = _of_one_making(_copies_denied(newest))
    agreeing = [vote for vote, finding in newest if finding.state is State.OK]
    undecided = [vote for vote, finding in newest if finding.state is not State.FAILED]
    wanted = needed if needed is not None else max(1, verdict.tally.needed) if verdict is not None else None
    unknown = _nobody_known(verdict) if by_word else ""
    if unknown:
        wanted = None
    total = _total(operators.distinct(agreeing), operators.distinct(undecided), wanted, unknown, by_word=by_word)
    against = [
        vote
        for vote, finding in newest
        if finding.state is State.FAILED and not _other_release(vote.statement, expected)
    ]
    findings = (total, *(finding for _, finding in newest), *apart, *others)
    return Counted(tuple(agreeing), tuple(against), wanted, operators, findings)


def _not_asked_for(vote: Vote, pinned: Sequence[PinnedKey], verdict: VerdictSummary | None) -> str:
    """Why a statement is none of those that count, whatever it says; "" when it is one.

    What kind of file the evidence says it is nobody signed: that it is a rebuild is for the verdict to say, or for
    the user's keys.
    """
    if pinned:
        known = any(entry.key.fingerprint == vote.key.fingerprint for entry in pinned)
        return "" if known else "None of the keys that you gave signed it."
    entry = verdict.counted.get(vote.sha256) if verdict is not None else None
    if entry is None:
        return "No verdict that was checked names it."
    if entry.key not in {None, vote.key.fingerprint}:
        return "The verdict names it as another key's."
    return ""


def _nobody_known(verdict: VerdictSummary | None) -> str:
    """Why nothing counts by the portal's word; "" when something may."""
    if verdict is None:
        return "Nobody's key is known: give --rebuilder-key FILE and --min-operators K, or --portal-key FILE."
    if verdict.rebuilds is None and verdict.inputs and not verdict.counted:
        return "An older verdict does not say which inputs are rebuilds: fetch it anew, or give --rebuilder-key."
    return ""


def shows_nothing(statement: RebuildStatement, now: datetime) -> str:
    """Why a statement is evidence of nothing whoever signed it (docs/predicates/rebuild-v1.md); "" when it may be."""
    if statement.predicate.build_definition.internal_parameters.asks_for_network:
        return "A stage had the network, so that it shows nothing about these inputs."
    if statement.metadata.finished_on > now + CLOCKS_APART:
        return "It says that it ended in the future."
    if all(subject.annotations.origin_kind is not OriginKind.BUILT for subject in statement.subject):
        return "It built nothing: every component was copied from an input."
    return ""


type _Judged = list[tuple[Vote, Finding]]


def _copies_denied(judged: _Judged) -> _Judged:
    """Where several keys signed the same run, at most one ran it, and nothing that they sign tells which.

    So none of them is counted, and each is named with the others and denies: a copy never counts, and neither takes an
    honest vote away unseen. What speaks against the files stands as it is.
    """
    signers: dict[str, list[Vote]] = {}
    for vote, finding in judged:
        if finding.state is not State.FAILED:
            signers.setdefault(vote.statement.metadata.invocation_id, []).append(vote)
    found: _Judged = []
    for vote, finding in judged:
        run = vote.statement.metadata.invocation_id
        others = [other for other in signers.get(run, ()) if other.key.fingerprint != vote.key.fingerprint]
        if finding.state is not State.FAILED and others:
            names = ", ".join(other.operator or f"key sha256:{other.key.fingerprint}" for other in others)
            reason = (
                f"{names} signed the same run, {run}, which one of them copied: none is counted."
                " Ask both, and leave out the key that you do not trust."
            )
            found.append((vote, Finding(finding.axis, State.FAILED, reason, finding.said_by)))
        else:
            found.append((vote, finding))
    return found


def _of_one_making(judged: _Judged) -> tuple[_Judged, list[Finding]]:
    """Without those that agree from other inputs than most; and why for each.

    Another recipe, epoch or material makes another thing, though bytes are equal: only those of one making are counted
    together. What speaks against the files always stands.
    """
    agreeing = [vote for vote, finding in judged if finding.state is State.OK]
    makings = Counter(_making(vote.statement) for vote in agreeing)
    usual = makings.most_common(1)[0][0] if makings else None
    kept: _Judged = []
    apart: list[Finding] = []
    for vote, finding in judged:
        if finding.state is State.OK and _making(vote.statement) != usual:
            apart.append(_not_counted(vote, "It has the same bytes from another recipe, epoch or materials than most."))
        else:
            kept.append((vote, finding))
    return kept, apart


def _making(statement: RebuildStatement) -> tuple[str, int, frozenset[str]]:
    stated = statement.parameters
    return stated.recipe.sha256, stated.source_date_epoch, statement.materials


def _not_counted(vote: Vote, why: str) -> Finding:
    return Finding(_named(vote), State.NOTED, f"Not counted. {why}", f"key sha256:{vote.key.fingerprint}")


def _named(vote: Vote) -> str:
    return f"rebuilder {vote.operator or vote.key.fingerprint}"


def _judge(vote: Vote, expected: Expected, *, by_word: bool) -> Finding:
    axis, key = _named(vote), f"key sha256:{vote.key.fingerprint}"
    said_by = f"{key}, counted by the portal's word" if by_word else f"{key}, which you gave"
    other = _other_release(vote.statement, expected)
    if other:
        return Finding(axis, State.FAILED, other, said_by)
    components = {role: both(digests) for role, digests in vote.statement.components.items()}
    unlike = [role for role, digests in expected.files.items() if components.get(role) != digests]
    unlike += [role for role in components if role not in expected.files and role not in expected.unreadable]
    if unlike:
        return Finding(axis, State.FAILED, f"Rebuilt with other bytes: {', '.join(sorted(unlike))}.", said_by)
    if expected.unreadable:
        return Finding(axis, State.UNCHECKED, f"You lack: {', '.join(sorted(expected.unreadable))}.", YOU)
    when = f"{vote.statement.metadata.finished_on:%Y-%m-%d %H:%M} UTC"
    return Finding(axis, State.OK, f"Rebuilt exactly these files, {when}.", said_by)


def _other_release(statement: RebuildStatement, expected: Expected) -> str:
    stated = statement.parameters
    if (stated.project, stated.tag) != (expected.release.project, expected.release.tag):
        return f"The statement is about {stated.project}/{stated.tag}."
    if stated.source.commit != expected.commit:
        return f"The statement is about commit {stated.source.commit}, not {expected.commit}."
    return ""


def _newest_of_each_key(judged: Iterable[tuple[Vote, Finding]]) -> list[tuple[Vote, Finding]]:
    """Of two statements of one moment the one that speaks against the files stands."""
    ordered = sorted(
        judged, key=lambda entry: (entry[0].statement.metadata.finished_on, entry[1].state is State.FAILED)
    )
    return list({vote.key.fingerprint: (vote, finding) for vote, finding in ordered}.values())


def _total(reproduced: int, possible: int, wanted: int | None, unknown: str, *, by_word: bool) -> Finding:
    """``possible`` counts those too whose files are not all here: then it is not known that there are too few."""
    if wanted is None:
        reason = unknown or "Nobody says how many are needed: give --min-operators K."
        return Finding(_AXIS, State.UNCHECKED, reason, "nobody")
    said_by = "the portal's word" if by_word else "keys that you gave"
    too_few = State.UNCHECKED if possible >= wanted else State.FAILED
    state = State.OK if reproduced >= wanted else too_few
    operators = "operator" if reproduced == 1 else "distinct operators"
    return Finding(_AXIS, state, f"{reproduced} {operators} rebuilt exactly these files; {wanted} needed.", said_by)


def both(digests: FileDigests) -> Digests:
    return digests.sha256.hex, digests.sha384.hex
