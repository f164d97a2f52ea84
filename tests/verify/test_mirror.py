"""Deciding by a mirror alone: what it gives, how fresh it is, and what this machine remembers of it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attestations.domain.mirror import MeasurementShard, Ref, ReleaseEntry, ReleaseShard, Root, Tree, release_key
from attestations.mirror_tree import MirrorTree
from builds.pipeline.regular_files import held_lock
from builds.verify import memory
from builds.verify.cli import main
from builds.verify.evidence import Kind, read_evidence
from builds.verify.memory import Equivocation, RolledBack, Seen, remember
from tests.support.mirrors import served
from tests.verify.mirrored import BORROWED, FIRMWARE_ONLY, UNSIGNED, WITH_DEBUG_SWAP, Mirrored
from tests.verify.world import TAG, World, rewrite

type Findings = Callable[[], dict[str, dict[str, Any]]]


@pytest.fixture
def findings(capsys: pytest.CaptureFixture[str]) -> Findings:
    """The findings of the last run with ``--json``, by axis."""
    return lambda: {entry["axis"]: entry for entry in json.loads(capsys.readouterr().out)["findings"]}


def test_a_release_is_allowed_by_a_mirror_and_the_portals_key_alone(mirrored: Mirrored, findings: Findings) -> None:
    assert mirrored.release("--json") == 0
    found = findings()
    assert found["checkpoint"]["state"] == found["freshness"]["state"] == "ok"
    assert mirrored.asked[0] == "/checkpoint.json"
    assert len(mirrored.asked) == len(set(mirrored.asked))


def test_a_verdict_that_never_changed_is_as_fresh_as_the_checkpoint_that_names_it(mirrored: Mirrored) -> None:
    mirrored.world.time = datetime.now(UTC).replace(microsecond=0) - timedelta(days=400)
    mirrored.publish()
    assert mirrored.release("--max-age", "1h") == 0
    mirrored.issued -= timedelta(hours=2)
    mirrored.sequence += 1
    mirrored.publish()
    assert mirrored.release("--max-age", "1h") == 1
    assert mirrored.release("--max-age", "3h") == 0


def test_what_was_saved_from_a_mirror_stays_as_fresh_without_a_network(mirrored: Mirrored, findings: Findings) -> None:
    world = mirrored.world
    world.time = datetime.now(UTC).replace(microsecond=0) - timedelta(days=400)
    mirrored.publish()
    assert mirrored.run("bundle", f"enclave/{TAG}", "-o", str(world.evidence_file)) == 0
    saved = read_evidence(world.evidence_file)
    assert mirrored.evidence is not None
    chain = {Kind.CHECKPOINT, Kind.INDEX}
    assert tuple(file for file in saved.files if file.kind not in chain) == mirrored.evidence.files
    findings_before = world.run("--max-age", "1h")
    assert findings_before == 0
    assert (
        main(["measurement", UNSIGNED, "--project", "enclave", "--evidence", str(world.evidence_file), *key(world)])
        == 0
    )


def key(world: World) -> list[str]:
    return ["--portal-key", world.key_file(world.portal)]


@pytest.mark.parametrize("kind", [Kind.CHECKPOINT, Kind.INDEX])
def test_saved_evidence_whose_chain_is_broken_is_never_fresh(mirrored: Mirrored, kind: Kind) -> None:
    world = mirrored.world
    assert mirrored.run("bundle", f"enclave/{TAG}", "-o", str(world.evidence_file)) == 0
    assert world.run("--max-age", "1d") == 0
    place = next(number for number, file in enumerate(read_evidence(world.evidence_file).files) if file.kind is kind)
    rewrite(world.evidence_file, lambda held: held["files"].pop(place))
    # Without a checkpoint the verdict's own age counts; with one that leads nowhere, none does.
    assert world.run("--max-age", "1d") == (0 if kind is Kind.CHECKPOINT else 2)
    assert world.run("--max-age", "30m") == 1


def test_saved_evidence_with_a_verdict_that_was_replaced_is_denied(mirrored: Mirrored, findings: Findings) -> None:
    world = mirrored.world
    assert mirrored.run("bundle", f"enclave/{TAG}", "-o", str(world.evidence_file)) == 0
    older = next(file for file in world.evidence().files if file.kind is Kind.VERDICT)
    saved = read_evidence(world.evidence_file)
    files = tuple(older if file.kind is Kind.VERDICT else file for file in saved.files)
    world.save(saved.model_copy(update={"files": files}))
    assert world.run() == 1


def test_without_the_portals_key_nothing_is_asked(mirrored: Mirrored, capsys: pytest.CaptureFixture[str]) -> None:
    with served(mirrored.directory) as server:
        for action in (["release", f"enclave/{TAG}", "--files", str(mirrored.world.files)], ["measurement", "a" * 96]):
            assert main([*action, "--mirror", server.address, "--state", str(mirrored.state)]) == 2
        assert server.asked == []
    assert "unusable-key" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["published", UNSIGNED])
def test_a_measurement_finds_its_release_and_its_launch(mirrored: Mirrored, findings: Findings, value: str) -> None:
    value = mirrored.world.value if value == "published" else value
    assert mirrored.measurement(value, "--json") == 0
    found = findings()["measurement"]
    assert found["state"] == "ok"
    vcpus = 5 if value == UNSIGNED else 4
    assert f"direct_kernel, {vcpus} vCPUs" in found["reason"]
    # Checkpoint, root, one shard for each question, the release's documents, its values and its evidence.
    assert len(mirrored.asked) == 6 + 8


def test_a_mirror_allows_no_measurement_of_nobody_knows_whose_image(mirrored: Mirrored, findings: Findings) -> None:
    value = mirrored.world.value
    assert mirrored.run("measurement", value, "--json") == 2
    found = findings()
    assert found["measurement"]["state"] == "ok"
    assert "add --release PROJECT/TAG, or --project NAME" in found["expected image"]["reason"]
    assert mirrored.run("measurement", value, "--release", f"enclave/{TAG}") == 0
    assert mirrored.run("measurement", value, "--project", "other") == 2


def test_the_portals_computation_does_not_count_for_who_counts_own_rebuilders(mirrored: Mirrored) -> None:
    pinned = [*mirrored.world.pin("ada"), "--min-operators", "1"]
    assert mirrored.measurement(mirrored.world.value, *pinned) == 0
    assert mirrored.measurement(UNSIGNED, *pinned) == 2


def test_a_value_of_firmware_alone_is_denied(mirrored: Mirrored, findings: Findings) -> None:
    assert mirrored.measurement(FIRMWARE_ONLY, "--json") == 1
    assert "covers only ovmf" in findings()["measurement"]["reason"]


@pytest.mark.parametrize(
    ("line", "code", "why"),
    [
        ("console=ttyS0 init=/bin/sh", 1, "another first program than the image's init: init=/bin/sh"),
        ("console=ttyS0 trust=all", 1, "it adds trust=all, and nobody vouches for what that does"),
        ("console=ttyS0 quiet", 0, "command line 'console=ttyS0 quiet'"),
    ],
)
def test_what_another_release_of_the_project_boots_with_is_allowed_for_this_one_only_where_it_is_harmless(
    mirrored: Mirrored, findings: Findings, line: str, code: int, why: str
) -> None:
    value = next(value for value, borrowed in BORROWED.items() if borrowed == line)
    assert mirrored.measurement(value, "--json") == code
    assert why in findings()["measurement"]["reason"]


def test_a_computed_value_of_guest_features_that_nobody_signed_is_denied(
    mirrored: Mirrored, findings: Findings
) -> None:
    assert mirrored.measurement(WITH_DEBUG_SWAP, "--json") == 1
    assert "with guest features 0x21, but with 0x1" in findings()["measurement"]["reason"]


def test_a_computed_value_of_a_release_whose_command_line_nobody_signed_is_not_checked(
    mirrored: Mirrored, findings: Findings
) -> None:
    world = mirrored.world
    world.statements.clear()
    for name in ("ada", "ben"):
        world.rebuilt_by(name, measurements=[])
    mirrored.publish()
    assert mirrored.measurement(UNSIGNED, "--json") == 2
    assert "Not enough rebuilders signed any command line" in findings()["measurement"]["reason"]


def test_a_value_with_the_same_first_digits_as_a_known_one_is_not_that_one(mirrored: Mirrored) -> None:
    assert mirrored.measurement(UNSIGNED[:16] + "f" * 80) == 2


@pytest.mark.parametrize("asked", [["measurement", "a" * 96], ["release", "enclave/v9", "--files", "."]])
def test_what_was_never_published_is_not_known_and_no_mismatch(
    mirrored: Mirrored, capsys: pytest.CaptureFixture[str], asked: list[str]
) -> None:
    assert mirrored.run(*asked) == 2
    assert "not-published-here" in capsys.readouterr().err


def test_a_measurement_that_only_older_releases_allow_is_not_denied(mirrored: Mirrored) -> None:
    def crowded(root: Root, tree: MirrorTree) -> Root:
        names = tuple(f"enclave/{TAG}" for _ in range(1))
        shard = MeasurementShard(prefix="", values=((UNSIGNED[:16], names),), more=(UNSIGNED[:16],))
        return root.model_copy(update={"measurements": Tree(digits=0, entries=1, top=tree.put_index(shard.encode()))})

    mirrored.world.passed = False
    mirrored.publish(change=crowded)
    assert mirrored.measurement(UNSIGNED) == 2


def test_a_release_that_waits_to_be_judged_is_not_allowed(mirrored: Mirrored, findings: Findings) -> None:
    mirrored.judged = False
    mirrored.publish()
    assert mirrored.release("--json") == 2
    assert findings()["checkpoint"]["state"] == "could not check"


def test_a_denied_release_is_denied(mirrored: Mirrored) -> None:
    mirrored.world.passed = False
    mirrored.publish()
    assert mirrored.release() == 1


def test_a_mirror_that_goes_back_is_refused_for_good(mirrored: Mirrored, capsys: pytest.CaptureFixture[str]) -> None:
    older = mirrored.checkpoint.read_bytes()
    mirrored.sequence += 1
    mirrored.publish()
    assert mirrored.release() == 0
    mirrored.checkpoint.write_bytes(older)
    for _ in range(2):
        assert mirrored.release() == 2
        assert "mirror-rolled-back" in capsys.readouterr().err
    # Another machine has seen nothing, and the checkpoint has not expired.
    mirrored.state = mirrored.state.with_name("another.json")
    assert mirrored.release() == 0


def test_two_checkpoints_of_one_number_are_refused_by_name(
    mirrored: Mirrored, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mirrored.release() == 0
    assert mirrored.release() == 0
    mirrored.judged = False
    mirrored.publish()
    assert mirrored.release() == 2
    assert "mirror-equivocates" in capsys.readouterr().err


@pytest.mark.parametrize(
    "held", [b"", b"{}", b"[" * 20_000, b'{"format": "x", "keys": {}}', b"{" + b" " * 2**21 + b"}"]
)
def test_a_memory_that_cannot_be_read_is_not_taken_for_an_empty_one(mirrored: Mirrored, held: bytes) -> None:
    mirrored.state.parent.mkdir()
    mirrored.state.write_bytes(held)
    assert mirrored.release() == (0 if held == b"{}" else 2)
    assert held == b"{}" or mirrored.state.read_bytes() == held


def test_a_memory_that_cannot_be_written_lets_nothing_through(
    mirrored: Mirrored, capsys: pytest.CaptureFixture[str]
) -> None:
    mirrored.state.parent.write_text("no directory")
    assert mirrored.release() == 2
    assert "unusable-state" in capsys.readouterr().err


def test_a_link_in_the_place_of_the_memorys_lock_empties_nothing(
    mirrored: Mirrored, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    mirrored.state.parent.mkdir()
    mirrored.state.with_name(".seen.json.lock").symlink_to(victim)
    assert mirrored.release() == 2
    assert "unusable-lock" in capsys.readouterr().err
    assert victim.read_text() == "precious"


def test_a_memory_that_another_run_never_gives_back_lets_nothing_through(
    mirrored: Mirrored, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_LOCK_SECONDS", 0.2)
    mirrored.state.parent.mkdir()
    with held_lock(mirrored.state.with_name(".seen.json.lock")):
        assert mirrored.release() == 2
    assert capsys.readouterr().err.startswith("state-busy: ")
    assert mirrored.release() == 0


@pytest.mark.parametrize(("name", "code"), [("seen.json", "unusable-state"), (".seen.json.lock", "unusable-lock")])
def test_a_pipe_in_the_place_of_the_memory_is_waited_on_by_nobody(
    mirrored: Mirrored, capsys: pytest.CaptureFixture[str], name: str, code: str
) -> None:
    mirrored.state.parent.mkdir()
    os.mkfifo(mirrored.state.with_name(name))
    assert mirrored.release() == 2
    assert capsys.readouterr().err.startswith(f"{code}: ")


@pytest.mark.parametrize("make", [os.mkdir, lambda path: path.symlink_to("elsewhere.json")])
def test_a_memory_that_is_no_file_is_told_with_the_option_that_names_another(
    mirrored: Mirrored, capsys: pytest.CaptureFixture[str], make: Callable[[Path], None]
) -> None:
    mirrored.state.parent.mkdir()
    make(mirrored.state)
    assert mirrored.release() == 2
    said = capsys.readouterr().err
    assert said.startswith("unusable-state: ")
    assert "--state FILE" in said


def test_the_memory_lies_where_the_user_keeps_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert memory.usual_place() == tmp_path / "tee-portal-verify" / "seen.json"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert memory.usual_place() == tmp_path / ".local/state/tee-portal-verify/seen.json"


def test_many_at_once_never_forget_the_newest(tmp_path: Path) -> None:
    place = tmp_path / "seen.json"
    numbers = [number for number in range(1, 41) for _ in range(2)]

    def see(number: int) -> None:
        try:
            remember(place, "a" * 64, Seen(sequence=number, payload=f"{number:064x}"))
        except RolledBack:
            return

    threads = [threading.Thread(target=see, args=(number,)) for number in numbers[::-1] + numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    remember(place, "b" * 64, Seen(sequence=1, payload="0" * 64))
    remember(place, "a" * 64, Seen(sequence=40, payload=f"{40:064x}"))
    with pytest.raises(RolledBack):
        remember(place, "a" * 64, Seen(sequence=39, payload=f"{39:064x}"))
    with pytest.raises(Equivocation):
        remember(place, "a" * 64, Seen(sequence=40, payload="f" * 64))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".seen.json.lock", "seen.json"]


def test_a_tree_in_shards_is_read_by_way_of_its_nodes(mirrored: Mirrored) -> None:
    from attestations.domain.mirror import Child, Node  # noqa: PLC0415

    def deep(root: Root, tree: MirrorTree) -> Root:
        own = release_key("enclave", TAG)
        shard: Ref = tree.put_index(mirrored.shard(tree, own[:3]).encode())
        other = "f" * 64 if own[:3] != "fff" else "0" * 64
        entry = ReleaseEntry(key=other, project="x", tag="v1", judged=True, document=shard)
        empty = ReleaseShard.model_construct(prefix=other[:3], releases=(entry,))
        below = tree.put_index(Node(prefix=own[:2], children=(Child(prefix=own[:3], ref=shard),)).encode())
        far = tree.put_index(empty.encode())
        nodes = sorted([Child(prefix=own[:2], ref=below), Child(prefix=other[:2], ref=far)], key=lambda at: at.prefix)
        top = tree.put_index(Node(prefix="", children=tuple(nodes)).encode())
        return root.model_copy(update={"releases": Tree(digits=3, entries=2, top=top)})

    mirrored.publish(change=deep)
    assert mirrored.release() == 0
    assert mirrored.run("release", "enclave/none", "--files", ".") == 2
