"""What verifying costs: against sigstore-python called bare, and beside other verifiers of the same bundle."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from attestations.local_sigstore import GitHubWorkflow, Logging, TrustDomain
from builds.bench import attestation_peers as peers
from builds.bench.attestation_store import StoreFigures
from builds.bench.timing import Pair, in_turn, timed
from builds.domain.digest import Digest
from builds.domain.errors import PortalError
from tee_portal.env import BASE_DIR

WORKFLOW = GitHubWorkflow(commit="5f" * 20)
_FILE = b"what the bundle is about"
_DIGEST = Digest.sha256(hashlib.sha256(_FILE).hexdigest())


class BenchmarkFailed(PortalError):
    """A side of a comparison did not do its work."""

    code = "benchmark-failed"


@dataclass(frozen=True, slots=True)
class Rate:
    """Verifications a second of ours and of a reference, and how ours compares, run by run in turn."""

    ours: float
    reference: float
    ratios: list[float]

    @property
    def ratio(self) -> float:
        return median(self.ratios)


@dataclass(frozen=True, slots=True)
class Sample:
    """Files of one bundle on disk: the bundle, its trust root, the file it is about, and its style."""

    style: Logging
    bundle: Path
    root: Path
    artifact: Path


def make_sample(folder: Path, style: Logging) -> Sample:
    """Mint a bundle in the given style and write all that a verifier needs."""
    folder.mkdir(parents=True, exist_ok=True)
    domain = TrustDomain()
    sample = Sample(style, folder / "bundle.json", folder / "trusted_root.json", folder / "artifact")
    sample.bundle.write_bytes(domain.attest({"artifact": _DIGEST}, WORKFLOW, logging=style))
    sample.root.write_bytes(domain.trusted_root())
    sample.artifact.write_bytes(_FILE)
    return sample


def ours_command(sample: Sample) -> list[str]:
    module = "builds.bench.attestation_verifier"
    return [sys.executable, "-m", module, str(sample.root), str(sample.bundle), str(_DIGEST), WORKFLOW.commit]


def bare_command(sample: Sample) -> list[str]:
    script = peers.SCRIPTS / "bare_sigstore.py"
    return [sys.executable, str(script), str(sample.root), str(sample.bundle)]


@contextmanager
def verifiers(command: list[str], processes: int) -> Iterator[Callable[[int], float]]:
    """Warm verifiers; asked for a number, each verifies that often, and the slowest one's seconds are given."""
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(command, cwd=BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(processes)
        ]

        def ask(count: int) -> float:
            for child in children:
                assert child.stdin is not None  # noqa: S101 - opened as a pipe above
                child.stdin.write(f"{count}\n")
                child.stdin.flush()
            return max(_answer(child) for child in children)

        try:
            yield ask
        finally:
            for child in children:
                assert child.stdin is not None  # noqa: S101 - as above
                child.stdin.close()


def _answer(child: subprocess.Popen[str]) -> float:
    assert child.stdout is not None  # noqa: S101 - opened as a pipe
    line = child.stdout.readline()
    if not line:
        raise BenchmarkFailed(f"a verifier ended with status {child.wait()}", where=str(child.args)[:200])
    return float(line)


def compare(ours: list[str], reference: list[str], *, processes: int, count: int, rounds: int) -> Rate:
    """Both sides warm, asked in turn; rates are over all processes."""
    with verifiers(ours, processes) as ask_ours, verifiers(reference, processes) as ask_reference:
        pair = in_turn(lambda: ask_ours(count), lambda: ask_reference(count), rounds)
    total = count * processes
    ratios = [theirs / mine for mine, theirs in zip(pair.ours, pair.reference, strict=True)]
    return Rate(total / median(pair.ours), total / median(pair.reference), ratios)


def cold(sample: Sample, reference: list[str], rounds: int, *, given: str | None = None) -> Pair:
    """One verification by whole processes: our command, and the reference with ``given`` on its stdin."""
    identity = ["--repository", WORKFLOW.repository, "--workflow", WORKFLOW.workflow, "--commit", WORKFLOW.commit]
    target = ["--artifact", str(sample.artifact), "--trusted-root", str(sample.root)]
    ours = [sys.executable, "manage.py", "verify_bundle", str(sample.bundle), *target, *identity]
    return in_turn(lambda: timed(lambda: _run(ours)), lambda: timed(lambda: _run(reference, given)), rounds)


def cosign_command(program: Path, sample: Sample) -> list[str]:
    """cosign's own whole check of the same bundle, offline."""
    return [
        str(program),
        "verify-blob-attestation",
        *("--bundle", str(sample.bundle)),
        *("--trusted-root", str(sample.root)),
        *("--certificate-identity", WORKFLOW.san),
        *("--certificate-oidc-issuer", WORKFLOW.issuer),
        *("--type", "slsaprovenance1"),
        str(sample.artifact),
    ]


def _run(command: list[str], given: str | None = None) -> None:
    done = subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, input=given or "", check=False)
    if done.returncode != 0:
        problem = (done.stderr or done.stdout).strip()[-300:]
        raise BenchmarkFailed(f"exit {done.returncode}: {problem}", where=command[0])


def measure_store(folder: Path, count: int) -> StoreFigures:
    """A release from bundles to standing, and ``count`` bundles judged anew, in a private database."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "TEE_PORTAL_DATA_DIR": str(folder),
        "DATABASE_URL": f"sqlite:///{folder / 'bench.sqlite3'}",
    }
    command = [sys.executable, "manage.py", "bench_store", str(count)]
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkFailed(done.stderr.strip()[-400:], where="bench_store")
    return StoreFigures(**json.loads(done.stdout.splitlines()[-1]))


def bare_release_seconds(sample: Sample, bundles: int) -> float:
    """As many bundles verified by sigstore-python alone, without database or policy."""
    with verifiers(bare_command(sample), 1) as ask:
        ask(bundles)
        return median(ask(bundles) for _ in range(9))
