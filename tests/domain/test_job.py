"""What a portal may say of a claim: a lease that an agent can live with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builds.domain.job import ClaimedJob, MalformedJob, parse_as
from tests.support.lone_agent import claim_document, job_document


def claimed(**changed: Any) -> ClaimedJob:
    return parse_as(ClaimedJob, json.dumps(claim_document(job_document(), **changed)).encode(), where="portal")


@pytest.mark.parametrize(("lease", "heartbeat"), [(60, 20), (3, 1), (4, 4 / 3), (3600, 1200.0), (1, 1)])
def test_a_lease_of_a_portal_is_taken(lease: float, heartbeat: float) -> None:
    claim = claimed(leaseSeconds=lease, heartbeatSeconds=heartbeat)
    assert (claim.lease_seconds, claim.heartbeat_seconds) == (lease, heartbeat)


@pytest.mark.parametrize(
    ("lease", "heartbeat"), [(1e15, 20), (60, 1e-9), (60, 0.5), (60, 61), (3601, 20), (0, 0), (-1, -1)]
)
def test_a_lease_that_would_hold_an_agent_or_hurry_it_without_end_is_malformed(lease: float, heartbeat: float) -> None:
    with pytest.raises(MalformedJob):
        claimed(leaseSeconds=lease, heartbeatSeconds=heartbeat)


def test_a_lease_beyond_all_numbers_is_malformed() -> None:
    text = json.dumps(claim_document(job_document(), leaseSeconds=60)).replace(
        '"leaseSeconds": 60', '"leaseSeconds": 1e999'
    )
    with pytest.raises(MalformedJob):
        parse_as(ClaimedJob, text.encode(), where="portal")
