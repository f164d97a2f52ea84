"""Runs the attestation benchmarks and writes their part of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attestations.local_sigstore import Logging
from builds.bench import attestation_peers as peers
from builds.bench import attestations as bench
from builds.bench.attestation_store import BUNDLES_OF_A_RELEASE
from builds.domain.errors import PortalError

_PARAGRAPHS = """\
Rates are verifications a second, so above 1 is faster than the reference. A bundle is verified and judged against
a policy of every clause; the reference, `sigstore-python` called bare, verifies it and looks neither at subjects nor
at a publisher. Bundles are minted by the local Sigstore, whose authorities have P-384 keys as Fulcio's have. Cold
start is a whole process each, ours with Django's settings; there, below 1 is faster.

A release with {components} components and {bundles} bundles, from their bytes through database, verification and
policy to its standing: **{release:.0f} ms**; `sigstore-python` alone takes {bare:.0f} ms for as many bundles.

{stored} stored bundles judged anew after a policy changed: **{seconds:.1f} s**, {rate:.0f} a second. Memory from the
first thousand to the last grew by {grown:.1f} MiB; the peak was {peak:.0f} MiB.
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done: verifications asked for at once, rounds, whole processes, and bundles stored."""

    count: int = 200
    rounds: int = 9
    cold_rounds: int = 7
    stored: int = 10_000


def measure(work: Path, cache: Path, sizes: Sizes, say: Callable[[str], None]) -> str:
    """The attestation part of the page; ``cache`` keeps what is fetched. A peer that is missing is named."""
    rows = ["| What | Ours | Reference | Ratio | Bound |", "| --- | --- | --- | --- | --- |"]
    notes: list[str] = []
    samples = {style: bench.make_sample(work / style, style) for style in (Logging.REKOR_V1, Logging.REKOR_V2)}
    for style, sample in samples.items():
        for processes in (1, 2):
            say(f"verifying {style} bundles, {processes} at a time")
            rate = bench.compare(
                bench.ours_command(sample),
                bench.bare_command(sample),
                processes=processes,
                count=sizes.count,
                rounds=sizes.rounds,
            )
            rows.append(_row(f"{style}, {processes} at a time / `sigstore-python` bare", rate, ">= 0.9"))
    first = samples[Logging.REKOR_V1]
    say("other verifiers, cold starts")
    cold = bench.cold(first, bench.bare_command(first), sizes.cold_rounds, given="1\n")
    rows.append(cold.row("cold start of `verify_bundle` / of `sigstore-python` bare", "-"))
    rows += _peer_rows(first, cache, sizes, notes)
    say(f"{sizes.stored} stored bundles judged anew")
    figures = bench.measure_store(work / "store", sizes.stored)
    bundles = sum(BUNDLES_OF_A_RELEASE)
    text = _PARAGRAPHS.format(
        components=len(BUNDLES_OF_A_RELEASE),
        bundles=bundles,
        release=figures.release_seconds * 1000,
        bare=bench.bare_release_seconds(first, bundles) * 1000,
        stored=figures.stored,
        seconds=figures.reverify_seconds,
        rate=figures.stored / figures.reverify_seconds,
        grown=figures.grown_mib,
        peak=figures.peak_mib,
    )
    return "\n".join([*rows, "", *notes, text])


def _peer_rows(sample: bench.Sample, cache: Path, sizes: Sizes, notes: list[str]) -> list[str]:
    rows = []
    try:
        script = peers.sigstore_js(cache)
        command = ["node", str(script), str(sample.root), str(sample.bundle)]
        rate = bench.compare(bench.ours_command(sample), command, processes=1, count=sizes.count, rounds=sizes.rounds)
        rows.append(_row("rekor-v1, 1 at a time / `@sigstore/verify` from npm", rate, "-"))
    except PortalError as error:
        notes.append(f"`@sigstore/verify` was not measured: {error.what}.\n")
    try:
        command = bench.cosign_command(peers.cosign(cache), sample)
        rows.append(
            bench.cold(sample, command, sizes.cold_rounds).row(
                "cold start of `verify_bundle` / of Debian's `cosign`", "-"
            )
        )
    except PortalError as error:
        notes.append(f"cosign was not measured: {error.what}.\n")
    return rows


def _row(what: str, rate: bench.Rate, bound: str) -> str:
    return (
        f"| {what} | {rate.ours:.0f}/s | {rate.reference:.0f}/s | **{rate.ratio:.3f}** "
        f"({min(rate.ratios):.3f} to {max(rate.ratios):.3f}) | {bound} |"
    )
