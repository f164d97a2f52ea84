"""What the agent's subcommands do; each says on the terminal what came of it and returns the exit code.

0: done, and nothing speaks against it. 1: a negative finding. 2 is for what could not be done, and comes as an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from builds.domain.answers import ListedRelease
from builds.domain.comparison import ComponentComparison, RebuildOutcome, compare, overall_outcome
from builds.domain.dsse import MAX_ENVELOPE_BYTES
from builds.domain.errors import LimitExceeded, MalformedInput, PortalError
from builds.domain.evidence import MeasurementState, judge_measurement
from builds.domain.job import JobMeasurement, RebuildJob
from builds.domain.provenance import measured_for
from builds.domain.requests import ENROLMENT_PAYLOAD, Enrolment, Proof, ReleaseName
from builds.pipeline.proof import proof_place
from builds.pipeline.reproduce import SignedRebuild
from builds.pipeline.signing import FileSigner
from builds.rebuilder.agent import Agent
from builds.rebuilder.home import NotWritten, key_path
from builds.rebuilder.portal_client import PortalClient

type Say = Callable[[str], None]


class NoSuchRelease(PortalError):
    """The portal has no release of that name that can be rebuilt, or several."""

    code: ClassVar[str] = "no-such-release"
    default_todo: ClassVar[str] = "Look at the portal's list of releases; name the project with --project."


@dataclass(frozen=True, slots=True)
class Applicant:
    """What an operator says of itself when it enrols a key."""

    operator: str
    name: str
    contact: str
    affiliation: str
    proof: Proof
    rebuilder: str
    not_after: datetime | None


def find_release(client: PortalClient, tag: str, project: str | None) -> ReleaseName:
    found = list(client.releases(project=project, tag=tag))
    if len(found) != 1:
        what = "there is no release" if not found else "several projects have a release"
        raise NoSuchRelease(f"{what} {tag} that can be rebuilt", where=client.address)
    return _name(found[0])


def _name(release: ListedRelease) -> ReleaseName:
    return ReleaseName(project=release.project, tag=release.tag)


def rebuild(agent: Agent, client: PortalClient, release: ReleaseName, output: Path | None, say: Say) -> int:
    """Rebuild one release without claiming anything, compare, and write the signed statement."""
    job = client.job(ListedRelease(project=release.project, tag=release.tag))
    if output is not None and not output.parent.is_dir():
        raise NotWritten("there is no such directory", where=str(output.parent))
    say(f"rebuilding {job.project} {job.tag} from commit {job.commit}{_expected(job)}")
    signed = agent.rebuild_alone(job, lambda text: say(f"  {text.rstrip()}"))
    path = agent.keep(job, signed, output)
    agrees = _compared(job, signed, say)
    say(f"signed statement: {path}")
    say(f"public key:       {key_path(path)}")
    say(f"hand it in with:  tee-portal-rebuilder submit {path} --portal {client.address}")
    return 0 if agrees else 1


def submit(client: PortalClient, path: Path, say: Say) -> int:
    """Hand in a statement that was written before."""
    answer = client.submit(_statement_bytes(path))
    say(f"{answer.statement} was taken: {client.address}{answer.address}")
    say(f"the portal compared it: {answer.outcome or 'there is nothing to compare with'}")
    if answer.not_counted:
        say(f"it does not count: {answer.not_counted}")
    return 0 if answer.outcome == RebuildOutcome.REPRODUCED.value and not answer.not_counted else 1


def _statement_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ENVELOPE_BYTES + 1)
    except OSError as error:
        raise MalformedInput(f"cannot be read: {error.strerror}", where=str(path)) from error
    if not 0 < len(data) <= MAX_ENVELOPE_BYTES:
        raise LimitExceeded(f"the file is empty or larger than {MAX_ENVELOPE_BYTES} bytes", where=str(path))
    return data


def follow(
    agent: Agent, client: PortalClient, project: str, say: Say, *, is_done: Callable[[ReleaseName], bool]
) -> int:
    """Rebuild every release of a project that this home has no statement of yet; 1 when any gave none."""
    missing = 0
    releases = list(client.releases(project=project))
    if not releases:
        raise NoSuchRelease(
            f"project {project} is not known, or has no release that can be rebuilt", where=client.address
        )
    for release in releases:
        if agent.stopping:
            break
        name = _name(release)
        if is_done(name):
            say(f"{name.project} {name.tag} was rebuilt here before")
        elif agent.work(name) == 0:
            missing += 1
    return 1 if missing else 0


def enroll(
    client: PortalClient, signer: FileSigner, applicant: Applicant, endorser: FileSigner | None, say: Say
) -> ReleaseName | None:
    """Make the key known to the portal; returns the release to rebuild as a trial, None when there is none yet."""
    public = signer.public
    request = Enrolment(
        portal=client.audience,
        key=public.name,
        issued_at=datetime.now(UTC),
        public_key=public.pem,
        operator=applicant.operator,
        operator_name=applicant.name,
        contact=applicant.contact,
        affiliation=applicant.affiliation,
        proof=applicant.proof,
        rebuilder=applicant.rebuilder,
        not_after=applicant.not_after,
    )
    payload = request.model_dump_json(by_alias=True).encode()
    endorsement = (endorser.public.name, endorser.sign(ENROLMENT_PAYLOAD, payload)) if endorser is not None else None
    answer = client.enrol(signer.sign(ENROLMENT_PAYLOAD, payload), endorsement)
    say(f"key {answer.key} of rebuilder {answer.rebuilder} of operator {answer.operator}: {answer.state}")
    if answer.state == "pending":
        say("An administrator accepts it once they know who you are. Show it by publishing")
        say(f"  {proof_place(applicant.proof.kind, applicant.proof.location, public.fingerprint)}")
        say(f"  the key's name is {public.name}")
    return _name(answer.trial) if answer.trial is not None else None


def _expected(job: RebuildJob) -> str:
    if job.expected_seconds is None:
        return "; nobody has rebuilt this project here yet, so its time is not known"
    return f"; earlier rebuilds took about {max(1, round(job.expected_seconds / 60))} minutes"


def _compared(job: RebuildJob, signed: SignedRebuild, say: Say) -> bool:
    """Print published and rebuilt side by side; whether every component was reproduced and no measurement differs."""
    rows = compare(job.published, signed.statement.components)
    _print_rows(rows, say)
    states = [_print_measurement(entry, signed, say) for entry in job.measurements]
    outcome = overall_outcome(rows)
    say(f"{job.project} {job.tag}: {outcome or 'there is nothing to compare with'}")
    if MeasurementState.DIFFERS in states:
        say("A published launch measurement is not that of the rebuilt files.")
    return outcome is RebuildOutcome.REPRODUCED and MeasurementState.DIFFERS not in states


def _print_measurement(published: JobMeasurement, signed: SignedRebuild, say: Say) -> MeasurementState:
    built = measured_for(published, signed.statement.measurements)
    value = built.value or None if built is not None else None
    state = judge_measurement(published.published, value, value)
    say(f"launch measurement {published.name} {state}")
    say(f"         published {published.published}")
    say(f"         rebuilt   {value or 'not computed for this launch'}")
    return state


def _print_rows(rows: Iterable[ComponentComparison], say: Say) -> None:
    for row in rows:
        say(f"{row.role:<8} {row.outcome}")
        say(f"         published {row.published or 'unknown'}")
        say(f"         rebuilt   {row.rebuilt or 'missing'}")
        if row.file is not None:
            say(f"         the file  {row.file}, which is not what its manifest says")
