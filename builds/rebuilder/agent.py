"""The agent: asks for work, rebuilds it, signs what came of it, and hands that in.

Whatever dies, the statement is not lost: it lies in the outbox until the portal has confirmed it.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from builds.domain.answers import Submitted
from builds.domain.errors import PortalError
from builds.domain.job import ClaimedJob, RebuildJob
from builds.domain.progress import Answer, Progress
from builds.domain.queue import Capability
from builds.domain.requests import CLAIM_PAYLOAD, ClaimRequest, ReleaseName
from builds.pipeline.control import Cancelled
from builds.pipeline.engine import DockerEngine
from builds.pipeline.engine_types import Limits
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.mirror import Mirror
from builds.pipeline.rebuild import Reach
from builds.pipeline.reporting import Pace, Reporter, SinkAway, bounded_report
from builds.pipeline.reproduce import SignedRebuild, Workshop, program_version, reproduce
from builds.pipeline.signing import Signer
from builds.pipeline.unforeseen import named
from builds.rebuilder.home import AgentHome, NotWritten, key_path, write_whole
from builds.rebuilder.portal_client import HeldClaim, Nothing, PortalAway, PortalClient, PortalRefused

_FLUSH_SECONDS = 1.0
_AWAY_SECONDS = 5.0
_LONGEST_PAUSE = 300.0
_CLAIM_GONE = "claim-gone"

type Rebuild = Callable[[RebuildJob, Workshop, Signer, Reporter], SignedRebuild]


class SourceNotAllowed(PortalError):
    """The portal names a source that this machine does not fetch from."""

    code = "source-not-allowed"
    default_todo = "A portal elsewhere has no business with files of this machine; do not trust it."


@dataclass(frozen=True, slots=True)
class Tools:
    """What an agent works with: its engine's address, what builds may use and reach, and where materials come from."""

    docker_host: str
    limits: Limits
    reach: Reach
    mirror: str | None
    keyring: Path

    @property
    def capability(self) -> Capability:
        """What a portal is told of this machine."""
        return Capability(
            memory_bytes=self.limits.memory_bytes,
            disk_bytes=self.limits.disk_bytes,
            network=self.reach.network,
            registry=self.reach.registry,
        )


@dataclass(slots=True)
class _Sink:
    """Tells the portal how a claimed rebuild goes."""

    client: PortalClient
    claim: HeldClaim
    say: Callable[[str], None]

    def send(self, progress: Progress) -> Answer:
        try:
            return Answer(self.client.tell(self.claim, progress))
        except PortalAway as error:
            raise SinkAway(error.what, where=error.where) from error
        except (PortalError, ValueError) as error:
            self.say(f"the portal takes no more progress: {error}")
            return Answer.GONE

    def close(self) -> None:
        """The client is the agent's."""


class _Quiet:
    """Nobody is told: a rebuild without a claim."""

    def send(self, progress: Progress) -> Answer:
        return Answer.GO_ON

    def close(self) -> None:
        """Nothing is open."""


class Agent:
    """One agent in one home, for one portal and one key."""

    def __init__(
        self,
        client: PortalClient,
        signer: Signer,
        home: AgentHome,
        tools: Tools,
        say: Callable[[str], None],
        *,
        rebuild: Rebuild = reproduce,
    ) -> None:
        self._client = client
        self._signer = signer
        self._home = home
        self._tools = tools
        self._say = say
        self._rebuild = rebuild
        self._stop = threading.Event()
        self._reporter: Reporter | None = None
        self._left_something = False

    def stop(self) -> None:
        """End soon: a running build is stopped and its claim given back. May be called from a signal handler."""
        self._stop.set()
        self._client.hurry()
        if self._reporter is not None:
            self._reporter.interrupt()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def work(self, release: ReleaseName | None = None, *, project: str | None = None, once: bool = False) -> int:
        """Claim and rebuild until stopped, or once; returns how many rebuilds were handed in."""
        done = 0
        while not self.stopping:
            if not self.empty_outbox():
                # A new claim could be for the very release whose statement waits.
                self._stop.wait(_AWAY_SECONDS)
                continue
            claimed, pause = self._claim(release, project)
            if claimed is None:
                if once or (release is not None and pause is None):
                    self._say("the portal has no work for this rebuilder now")
                    break
                self._stop.wait(pause or _FLUSH_SECONDS)
                continue
            done += self._claimed(*claimed)
            if once or release is not None:
                break
        return done

    def rebuild_alone(self, job: RebuildJob, log: Callable[[str], None]) -> SignedRebuild:
        """Rebuild without any claim: nobody is told, nothing is handed in."""
        pace = Pace(heartbeat=_LONGEST_PAUSE, flush=_FLUSH_SECONDS, lease=_LONGEST_PAUSE)
        with Reporter(_Quiet(), pace, echo=log) as reporter:
            return self._made(job, reporter, f"alone-{uuid.uuid4()}")

    def keep(self, job: RebuildJob, signed: SignedRebuild, output: Path | None = None) -> Path:
        """Keep the signed statement with its key beside it, in the home or where asked; returns where."""
        path = output or self._home.statement_path(job.project, job.tag)
        write_whole(path, signed.envelope.as_bundle(self._signer.public.hint))
        write_whole(key_path(path), self._signer.public.pem.encode())
        return path

    def hand_in(self, statement: bytes, claim: HeldClaim | None = None) -> Submitted:
        """Submit; a claim that is gone meanwhile makes it a statement without one."""
        try:
            return self._client.submit(statement, claim)
        except PortalRefused as error:
            if claim is None or error.refusal != _CLAIM_GONE:
                raise
            return self._client.submit(statement)

    def empty_outbox(self) -> bool:
        """Hand in what was signed and could not be delivered; the portal takes each once. False while it is away."""
        for path in sorted(self._home.outbox.glob("*.json")):
            try:
                answer = self.hand_in(path.read_bytes())
            except PortalAway as error:
                self._say(f"{path.name} waits: {error}")
                return False
            except PortalRefused as error:
                self._say(f"{path.name} was refused: {error}")
                path.rename(path.with_suffix(".refused"))
                continue
            self._say(f"{path.name} was handed in: {_words(answer)}")
            path.unlink()
        return True

    def _claim(
        self, release: ReleaseName | None, project: str | None
    ) -> tuple[tuple[ClaimedJob, HeldClaim] | None, float | None]:
        """A claimed job with its claim; or None and how long to wait before asking again."""
        token = secrets.token_urlsafe(32)
        request = ClaimRequest(
            portal=self._client.audience,
            key=self._signer.public.name,
            issued_at=datetime.now(UTC),
            token_sha256=hashlib.sha256(token.encode()).hexdigest(),
            capability=self._tools.capability,
            release=release,
            project=project,
            agent=f"tee-portal-rebuilder {program_version()}",
        )
        envelope = self._signer.sign(CLAIM_PAYLOAD, request.model_dump_json(by_alias=True).encode())
        try:
            answer = self._client.claim(
                envelope,
                project=release.project if release is not None else project,
                tag=release.tag if release is not None else None,
            )
        except PortalAway as error:
            self._say(str(error))
            return None, _AWAY_SECONDS
        if isinstance(answer, Nothing):
            return None, None if release is not None else answer.retry_seconds
        return (answer, HeldClaim(answer.rebuild_id, token)), None

    def _claimed(self, claimed: ClaimedJob, claim: HeldClaim) -> int:
        """Rebuild a claimed job to its end; 1 when a statement came of it."""
        job = claimed.job
        self._say(f"claimed {job.project} {job.tag} at commit {job.commit} (rebuild {claimed.rebuild_id})")
        pace = Pace(heartbeat=claimed.heartbeat_seconds, flush=_FLUSH_SECONDS, lease=claimed.lease_seconds)
        sink = _Sink(self._client, claim, self._say)
        with Reporter(sink, pace, stops_when_gone=False, echo=self._say_log) as reporter:
            self._reporter = reporter
            if self.stopping:
                reporter.interrupt()
            try:
                signed = self._made(job, reporter, str(claimed.rebuild_id))
            except Cancelled as error:
                self._say(str(error))
                self._without_result(reporter, lambda: self._client.give_back(claim))
                return 0
            except PortalError as error:
                self._say(f"failed: {error.code}: {error}")
                report = bounded_report(error)
                self._without_result(reporter, lambda: self._client.fail(claim, report))
                return 0
            finally:
                self._reporter = None
            return self._delivered(job, signed, claim)

    def _delivered(self, job: RebuildJob, signed: SignedRebuild, claim: HeldClaim) -> int:
        statement = signed.envelope.as_bundle(self._signer.public.hint)
        waiting = self._home.outbox / f"{signed.statement.metadata.invocation_id}.json"
        # The outbox first: what lies there is handed in whatever becomes of the rest.
        is_waiting = self._wrote(lambda: write_whole(waiting, statement))
        self._wrote(lambda: self.keep(job, signed))
        try:
            answer = self.hand_in(statement, claim)
        except PortalAway as error:
            self._say(f"signed and kept in {waiting}: {error}" if is_waiting else f"signed and not delivered: {error}")
            return int(is_waiting)
        except PortalRefused as error:
            self._say(f"refused: {error}")
            if is_waiting:
                waiting.rename(waiting.with_suffix(".refused"))
            return 0
        waiting.unlink(missing_ok=True)
        self._say(f"{job.project} {job.tag}: {_words(answer)} {self._client.address}{answer.address}")
        return 1

    def _wrote(self, write: Callable[[], object]) -> bool:
        """A statement that cannot be kept here can still be handed in."""
        try:
            write()
        except NotWritten as error:
            self._say(f"{error.code}: {error}")
            return False
        return True

    def _without_result(self, reporter: Reporter, tell: Callable[[], None]) -> None:
        """End a claim that gave nothing; where the portal cannot be told, the lease ends it."""
        reporter.settle()
        try:
            tell()
        except PortalError as error:
            self._say(f"the portal could not be told: {error}")

    def _made(self, job: RebuildJob, reporter: Reporter, build: str) -> SignedRebuild:
        if job.source_url.startswith("file:") and not self._client.is_local:
            raise SourceNotAllowed(f"the source is {job.source_url}", where=self._client.address)
        try:
            return self._built(job, reporter, build)
        except (OSError, ValueError) as error:
            # One job's trouble must not end an agent that others could still use.
            raise named(error, where=f"{job.project} {job.tag}") from error

    def _built(self, job: RebuildJob, reporter: Reporter, build: str) -> SignedRebuild:
        with closing(DockerEngine(self._tools.docker_host)) as engine:
            if self._left_something:
                # One build at a time: what is there was left by one whose engine went away under it.
                self._home.reap(engine)
            self._left_something = True
            workshop = Workshop(
                engine=engine,
                store=MaterialStore(self._home.materials),
                mirror=Mirror(self._tools.mirror),
                limits=self._tools.limits,
                keyring=self._tools.keyring,
                base_cache=self._home.base_cache,
                work=self._home.work / build,
                labels=self._home.labels(build),
                reach=self._tools.reach,
            )
            made = self._rebuild(job, workshop, self._signer, reporter)
            self._left_something = False
            return made

    def _say_log(self, text: str) -> None:
        self._say(f"  {text.rstrip()}")


def _words(answer: Submitted) -> str:
    """What the portal found, in a phrase."""
    outcome = answer.outcome or "nothing to compare with"
    return f"{outcome}, and does not count: {answer.not_counted}" if answer.not_counted else outcome
