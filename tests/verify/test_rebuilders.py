"""Whose rebuilds count, and which of them say nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.operators import new_signer
from tests.support.statements import FINISHED, measured, subject
from tests.verify.printed import reason, states
from tests.verify.world import NAMES, World, rewrite, sha256, sha384


def test_more_operators_than_rebuilt_it_are_too_few(world: World, printed: Callable[[], str]) -> None:
    world.save()
    assert world.run("--min-operators", "3") == 1
    printed()
    assert world.run("--json", *world.pin("ada")) == 1
    assert reason(printed(), "rebuilders") == "1 operator rebuilt exactly these files; 2 needed."
    assert world.run(*world.pin("ada"), "--min-operators", "1") == 0


def test_two_keys_of_one_operator_are_one_operator(world: World) -> None:
    world.statements.clear()
    world.rebuilt_by("ada")
    world.rebuilt_by("ada-2", operator="ada")
    world.save(world.evidence(world.verdict(tally=world.verdict().tally.__class__(1, 2, 0, 0))))
    both = world.pin("ada", "ada-2")
    assert world.run(*both, "--min-operators", "2") == 1
    assert world.run("--min-operators", "2") == 1
    assert world.run(*both, "--min-operators", "1") == 0


def test_two_keys_that_the_user_names_alike_are_one_operator_whatever_the_evidence_says(world: World) -> None:
    world.save()
    named = [f"--rebuilder-key=one={world.key_file(world.signers[name])}" for name in ("ada", "ben")]
    assert world.run(*named, "--min-operators", "2") == 1
    apart = [f"--rebuilder-key={name}={world.key_file(world.signers[name])}" for name in ("ada", "ben")]
    assert world.run(*apart, "--min-operators", "2") == 0


def test_no_more_operators_are_counted_by_the_portals_word_than_it_signed_for(world: World) -> None:
    tally = world.verdict().tally
    world.save(world.evidence(world.verdict(tally=tally.__class__(1, 1, 0, 0))))
    assert world.run("--min-operators", "2") == 1
    assert world.run("--min-operators", "1") == 0


def test_a_statement_about_other_bytes_denies_when_it_counts(world: World, printed: Callable[[], str]) -> None:
    world.save()
    before = world.verdict()
    world.rebuilt_by("cy", subjects=world.other_subjects())
    world.save(world.evidence(before))
    assert world.run("--json") == 0
    assert "Not counted" in reason(printed(), "rebuilder cy")
    assert world.run("--json", *world.pin("ada", "ben", "cy")) == 1
    assert states(printed())["rebuilder cy"] == "failed"


def test_another_measurement_that_rebuilders_of_other_bytes_signed_is_told_beside_the_published_one(
    world: World, printed: Callable[[], str]
) -> None:
    world.rebuilt_by("cy", subjects=world.other_subjects(), measurements=[measured("9" * 96)])
    world.save()
    assert world.run() == 1
    ok, failed = [line for line in printed().splitlines() if line.startswith("measurement")]
    assert ok.split()[:3] == ["measurement", "ok", world.value]
    assert failed.split()[:2] == ["measurement", "failed"]
    assert f"not {'9' * 96}" in failed


@pytest.mark.parametrize("part", [{"tag": "v0.9.0"}, {"project": "other"}, {"commit": "d" * 40}])
def test_a_statement_about_another_release_with_the_same_bytes_denies(world: World, part: dict[str, str]) -> None:
    world.rebuilt_by("cy", **part)
    world.save()
    assert world.run() == 1


RUN = str(uuid.UUID(int=7))


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"network": True}, "A stage had the network"),
        ({"finished": datetime(2999, 1, 1, tzinfo=UTC)}, "ended in the future"),
        ({"recipe": {"origin": "source-tree", "sha256": "0" * 64}}, "from another recipe"),
        ({"epoch": 1}, "from another recipe"),
        ({"materials": []}, "from another recipe"),
        ({"copied": True}, "It built nothing"),
    ],
)
def test_a_statement_that_shows_nothing_of_its_own_is_not_counted_whoever_signed_it(
    world: World, printed: Callable[[], str], parts: dict[str, Any], why: str
) -> None:
    if parts.pop("copied", False):
        data = {role: (world.files / name).read_bytes() for role, name in NAMES.items()}
        parts["subjects"] = [
            subject(role, len(found), sha256(found), sha384(found), "opaque") for role, found in data.items()
        ]
    world.statements.clear()
    # Two that are alike, and a third.
    for name in ("ada", "ben"):
        world.rebuilt_by(name)
    world.rebuilt_by("cy", **parts)
    world.save()
    pinned = world.pin("ada", "ben", "cy")
    assert world.run(*pinned, "--min-operators", "2") == 0
    printed()
    assert world.run("--json", *pinned, "--min-operators", "3") == 1
    assert why in reason(printed(), "rebuilder cy")


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_of_keys_that_signed_the_same_run_none_counts_and_each_is_named(
    world: World, printed: Callable[[], str], hours: int
) -> None:
    world.statements.clear()
    world.rebuilt_by("ada", invocation=RUN)
    world.rebuilt_by("ben")
    world.rebuilt_by("cy", invocation=RUN, finished=FINISHED + timedelta(hours=hours), measurements=[])
    world.save()
    assert world.run("--json", *world.pin_named("ada", "ben", "cy"), "--min-operators", "1") == 1
    text = printed()
    assert reason(text, "rebuilders") == "1 operator rebuilt exactly these files; 1 needed."
    for name, other in (("ada", "cy"), ("cy", "ada")):
        assert states(text)[f"rebuilder {name}"] == "failed"
        assert f"{other} signed the same run, {RUN}" in reason(text, f"rebuilder {name}")
    # Who is not asked for takes nothing away.
    assert world.run(*world.pin_named("ada", "ben"), "--min-operators", "2") == 0


@pytest.mark.parametrize("vcpus", [0, 1000])
def test_a_signed_launch_that_cannot_be_is_its_signers_affair(
    world: World, printed: Callable[[], str], vcpus: int
) -> None:
    world.rebuilt_by("cy", measurements=[{**measured(world.value), "name": "wide", "vcpus": vcpus}])
    world.save()
    for pins in ((), world.pin_named("ada", "ben", "cy")):
        assert world.run("--json", *pins) == 0
        noted = [entry for entry in json.loads(printed())["findings"] if entry["state"] == "noted"]
        (unusable,) = [entry for entry in noted if entry["axis"] == "measurement"]
        assert f"{vcpus} vCPUs: 1 to 512 can be measured" in unusable["reason"]
        assert unusable["saidBy"] == f"key sha256:{world.signers['cy'].public.fingerprint}"


def test_a_release_that_every_rebuilder_could_not_measure_is_not_checked(
    world: World, printed: Callable[[], str]
) -> None:
    problem = {"code": "kernel-hashes-unsupported", "what": "no section", "where": "ovmf.fd", "todo": "-"}
    world.statements.clear()
    for name in ("ada", "ben"):
        world.rebuilt_by(name, measurements=[{**measured(""), "problem": problem}])
    world.save()
    for name in ("expected-measurement.json", "expected-measurement.txt"):
        (world.files / name).unlink()
    rewrite(world.files / "manifest.json", lambda held: held.pop("measurement"))
    world.save()
    assert world.run("--json") == 2
    said = [entry for entry in json.loads(printed())["findings"] if entry["axis"] == "measurement"]
    assert [entry["state"] for entry in said] == ["noted", "could not check"]
    assert "Not as many rebuilders as are needed measured any launch" in said[1]["reason"]


def test_a_newer_statement_about_another_release_hides_no_contradiction(world: World) -> None:
    world.rebuilt_by("cy", subjects=world.other_subjects())
    verdict = world.verdict()
    world.rebuilt_by("cy", finished=datetime.now(UTC), tag="v0.9.0")
    world.save(world.evidence(verdict))
    assert world.run() == 1


def test_a_statement_that_lacks_a_component_or_has_one_too_many_is_not_about_these_files(world: World) -> None:
    verdict = world.verdict()
    short = json.loads(json.dumps(world.other_subjects()))[:1]
    world.rebuilt_by("cy", subjects=short)
    world.save(world.evidence(verdict))
    assert world.run(*world.pin("ada", "ben", "cy")) == 1


def test_a_changed_statement_denies(world: World, printed: Callable[[], str]) -> None:
    name, data = world.statements[0]
    envelope = json.loads(data)
    envelope["payload"] = json.loads(world.rebuilt_by("ada", materials=[]))["payload"]
    world.statements = [(name, json.dumps(envelope).encode()), world.statements[1]]
    world.save()
    assert world.run("--json") == 1
    assert states(printed())["statement of ada"] == "failed"


def test_a_statement_signed_with_another_key_than_it_names_denies(world: World) -> None:
    world.signers["ada"] = new_signer()
    world.statements = [world.statements[1]]
    honest = json.loads(world.rebuilt_by("ada"))
    stranger = json.loads(world.rebuilt_by("cy"))
    honest["signatures"] = stranger["signatures"]
    world.statements = [world.statements[0], ("ada", json.dumps(honest).encode())]
    world.save()
    assert world.run("--min-operators", "1") == 1


def test_a_statement_whose_key_is_nowhere_is_not_checked(world: World) -> None:
    del world.signers["ben"]
    world.save()
    assert world.run("--min-operators", "1") == 2
