"""From stored rebuilds to one result per operator, each with the reason why it counts or does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from builds.domain.affiliation import tie_found
from builds.domain.comparison import PublishedComponent, RebuildOutcome, compare, overall_outcome
from builds.domain.consensus import ResultFacts
from builds.domain.digest import Digest, FileDigests
from builds.domain.evidence import BuildFailure, OperatorResult
from builds.domain.lifecycle import RunState
from builds.domain.origins import OriginKind
from builds.domain.requests import ProofKind
from builds.domain.roles import Role
from builds.models import LaunchConfiguration, Operator, Project, Rebuild, Release, ResultSetAside, StoredStatement
from builds.services.opaque_inputs import opaque_inputs_of


@dataclass(frozen=True, slots=True)
class Result:
    """One operator's result with the run it comes from."""

    rebuild: Rebuild
    evidence: OperatorResult

    @property
    def counts(self) -> bool:
        return self.evidence.counts


def results_of(release: Release, published: Sequence[PublishedComponent]) -> tuple[Result, ...]:
    """One result per operator: the newest that counts, else the newest there is; oldest first.

    ``release`` comes ``with_evidence``. A newer result that does not count replaces none that does.
    """
    chosen: dict[int, Result] = {}
    for rebuild in _rows(release):
        if rebuild.run_state is not RunState.SUCCEEDED:
            continue
        result = Result(rebuild, _operator_result(rebuild, release, published))
        known = chosen.get(_operator(rebuild))
        if known is None or (result.counts, moment_of(rebuild)) > (known.counts, moment_of(known.rebuild)):
            chosen[_operator(rebuild)] = result
    return tuple(sorted(chosen.values(), key=lambda result: moment_of(result.rebuild)))


def failed_operators(release: Release) -> int:
    """Operators that tried, failed, and have no result."""
    return len({_operator(row) for row in _failures(release)})


def newest_failure(release: Release) -> BuildFailure | None:
    """Of those that tried in vain: the newest failure of an operator whose result would count; None without one.

    What anybody else's machine says of itself must not reach the verdict's words.
    """
    heard = sorted((row for row in _failures(release) if _is_heard(row, release)), key=moment_of)
    named = [row.failure for row in heard if row.failure is not None]
    return BuildFailure(named[-1]["where"], named[-1]["what"]) if named else None


def _failures(release: Release) -> list[Rebuild]:
    rows = _rows(release)
    succeeded = {_operator(row) for row in rows if row.run_state is RunState.SUCCEEDED}
    return [row for row in rows if row.run_state is RunState.FAILED and _operator(row) not in succeeded]


def _is_heard(rebuild: Rebuild, release: Release) -> bool:
    operator = rebuild.rebuilder.operator if rebuild.rebuilder is not None else None
    return operator is not None and operator.accepted_at is not None and not _tie(operator, release.project)


def statement_of(rebuild: Rebuild) -> StoredStatement | None:
    """The signed statement of a rebuild; None for one that nobody signed."""
    return getattr(rebuild, "statement", None)


def set_aside_of(rebuild: Rebuild) -> ResultSetAside | None:
    return getattr(rebuild, "set_aside", None)


def moment_of(rebuild: Rebuild) -> float:
    """When the rebuild ended, as signed where it is signed, and never later than it was received."""
    statement = statement_of(rebuild)
    if statement is not None:
        return min(statement.finished_on, statement.received_at).timestamp()
    return (rebuild.finished_at or rebuild.queued_at).timestamp()


def not_counted(rebuild: Rebuild, release: Release) -> str:
    """Why a succeeded rebuild is no evidence, as a sentence; "" when it is."""
    if rebuild.rebuilder is None:
        return "Nobody has claimed it."
    operator, statement, aside = rebuild.rebuilder.operator, statement_of(rebuild), set_aside_of(rebuild)
    return ResultFacts(
        signed_at=statement.received_at if statement is not None else None,
        used_network=rebuild.used_network,
        other_materials=rebuild.other_materials,
        operator_accepted=operator.accepted_at is not None,
        affiliation=_tie(operator, release.project),
        key_accepted=statement is not None and statement.key.accepted_at is not None,
        key_revoked_at=statement.key.revoked_at if statement is not None else None,
        set_aside=f"{aside.reason} ({aside.by}, {aside.at:%Y-%m-%d})" if aside is not None else "",
    ).not_counted


def _tie(operator: Operator, project: Project) -> str:
    """What ties an operator to the project's publisher; "" when nothing does, or the tie was ended.

    Also what nobody has written down yet: a project is younger than its first sweep.
    """
    stated = [row for row in project.affiliations.all() if row.operator_id == operator.pk]
    if stated:
        return next((row.what for row in stated if row.holds), "")
    if not operator.proof_kind:
        return ""
    return tie_found(project.source_url, ProofKind(operator.proof_kind), operator.proof_location)


def why_not_counted(rebuild: Rebuild) -> str | None:
    """As ``not_counted``; None for a run that did not succeed, which is no evidence either way."""
    return not_counted(rebuild, rebuild.release) if rebuild.run_state is RunState.SUCCEEDED else None


def rebuilt_digests(rebuild: Rebuild) -> dict[Role, FileDigests]:
    return {
        Role(component.role): FileDigests(
            component.size, Digest.sha256(component.sha256), Digest.sha384(component.sha384)
        )
        for component in rebuild.components.all()
    }


def rebuilt_measurement(configuration: LaunchConfiguration, counting: Iterable[Result], published: str) -> str | None:
    """The measurement that the counting rebuilds computed; where they differ, one that differs from ``published``."""
    values = [
        row.value
        for result in counting
        for row in result.rebuild.measurements.all()
        if row.launch_configuration_id == configuration.pk and row.value
    ]
    return next((value for value in values if value != published), values[0] if values else None)


def katana_inside_initrd(counting: Sequence[Result]) -> str | None:
    """Where in the initrd the katana component lies; None unless every counting rebuild reproduced both and saw it.

    Only then does what was seen in the rebuilt initrd hold for the published one, which is measured.
    """
    places = {_katana_place(result) for result in counting}
    return places.pop() if len(places) == 1 else None


def _katana_place(result: Result) -> str | None:
    rows = result.evidence.comparisons
    if not {Role.KATANA, Role.INITRD} <= {row.role for row in rows if row.outcome is RebuildOutcome.REPRODUCED}:
        return None
    rebuild = result.rebuild
    katana = next((row.sha256 for row in rebuild.components.all() if row.role == Role.KATANA), None)
    return next((row.path for row in rebuild.files.all() if row.sha256 == katana and row.role == Role.INITRD), None)


def _operator_result(rebuild: Rebuild, release: Release, published: Iterable[PublishedComponent]) -> OperatorResult:
    comparisons = compare(published, rebuilt_digests(rebuild))
    why_not = not_counted(rebuild, release)
    return OperatorResult(
        operator=rebuild.rebuilder.operator.name if rebuild.rebuilder is not None else "",
        comparisons=comparisons,
        outcome=overall_outcome(comparisons),
        # What does not count is not read: its signer must not reach the verdict in any way.
        opaque=() if why_not else opaque_inputs_of(rebuild),
        not_counted=why_not,
        environment=rebuild.environment,
        copied=frozenset() if why_not else copied_components(rebuild),
    )


def copied_components(rebuild: Rebuild) -> frozenset[Role]:
    """The components whose rebuilt bytes are an input's, as its operator signed."""
    return frozenset(Role(row.role) for row in rebuild.components.all() if row.origin_kind != OriginKind.BUILT)


def _rows(release: Release) -> list[Rebuild]:
    """What ``with_evidence`` loaded; a release loaded otherwise is a mistake that must not pass for no evidence."""
    rows: list[Rebuild] = release.results  # type: ignore[attr-defined]
    return rows


def _operator(rebuild: Rebuild) -> int:
    return rebuild.rebuilder.operator_id if rebuild.rebuilder is not None else 0
