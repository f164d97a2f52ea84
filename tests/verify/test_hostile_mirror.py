"""Mirrors that mean harm: none of them is ever allowed, and each is refused by the name of what it did."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attestations.domain.mirror import (
    ChangeFeed,
    Child,
    MeasurementShard,
    Node,
    Ref,
    ReleaseShard,
    Root,
    Tree,
)
from attestations.mirror_tree import MirrorTree
from builds.domain.dsse import IN_TOTO_PAYLOAD
from builds.verify import web
from builds.verify.cli import main
from builds.verify.evidence import EvidenceFile, Kind, read_evidence
from tests.support.false_portal import false_portal
from tests.support.mirrors import objects
from tests.support.operators import new_signer
from tests.verify.mirrored import UNSIGNED, Mirrored
from tests.verify.world import TAG

type Attack = Callable[[Mirrored], object]


def swapped(mirrored: Mirrored) -> None:
    """A verdict of another time, signed by the portal too."""
    mirrored.blob(Kind.VERDICT).write_bytes(mirrored.world.evidence().of_kind(Kind.VERDICT)[0].data)


def truncated(mirrored: Mirrored) -> None:
    path = mirrored.blob(Kind.STATEMENT)
    path.write_bytes(path.read_bytes()[:-1])


def longer(mirrored: Mirrored) -> None:
    with mirrored.blob(Kind.DOCUMENT).open("ab") as file:
        file.write(b" " * 2**24)


def withheld(kind: Kind) -> Attack:
    return lambda mirrored: mirrored.blob(kind).unlink()


def root_of(mirrored: Mirrored) -> Path:
    """The one document of the index that names trees."""
    return next(
        mirrored.directory / path for path, data in objects(mirrored.directory).items() if b"mirror/root/v1" in data
    )


def without_root(mirrored: Mirrored) -> None:
    root_of(mirrored).unlink()


def of_another_portal(mirrored: Mirrored) -> None:
    """Another portal's root in the place of this one's."""
    path = root_of(mirrored)
    path.write_bytes(path.read_bytes().replace(b"portal.example", b"portal.exempel"))


def named_of_another_portal(mirrored: Mirrored) -> None:
    mirrored.publish(portal="https://other.example/")


def expired(mirrored: Mirrored) -> None:
    mirrored.issued -= timedelta(hours=7)
    mirrored.publish()


def of_tomorrow(mirrored: Mirrored) -> None:
    mirrored.issued += timedelta(days=1)
    mirrored.publish()


def by_another_key(mirrored: Mirrored) -> None:
    mirrored.publish(signer=new_signer())


def no_checkpoint(mirrored: Mirrored) -> None:
    """Something else that the portal signed."""
    mirrored.publish(payload_type=IN_TOTO_PAYLOAD)


def checkpoint_is(data: bytes) -> Attack:
    return lambda mirrored: mirrored.checkpoint.write_bytes(data)


def unsigned(mirrored: Mirrored) -> None:
    held = json.loads(mirrored.checkpoint.read_bytes())
    held["signatures"] = [{"sig": ""}]
    mirrored.checkpoint.write_bytes(json.dumps(held).encode())


def signed_twice(mirrored: Mirrored) -> None:
    held = json.loads(mirrored.checkpoint.read_bytes())
    held["signatures"] *= 2
    mirrored.checkpoint.write_bytes(json.dumps(held).encode())


def shard_at_anothers_place(mirrored: Mirrored) -> None:
    """A node that leads every question to a shard which cannot hold the answer."""

    def change(root: Root, tree: MirrorTree) -> Root:
        empty = tree.put_index(ReleaseShard(prefix="", releases=()).encode())
        children = tuple(Child(prefix=f"{number:02x}", ref=empty) for number in range(256))
        top = tree.put_index(Node(prefix="", children=children).encode())
        return root.model_copy(update={"releases": Tree(digits=2, entries=1, top=top)})

    mirrored.publish(change=change)


def lying_shard(**wrong: object) -> Attack:
    """A shard as no portal writes it, below a checkpoint that holds."""

    def change(root: Root, tree: MirrorTree) -> Root:
        right = json.loads(mirrored_shard(tree))
        right.update(wrong)
        top = tree.put_index(json.dumps(right).encode())
        return root.model_copy(update={"releases": Tree(digits=0, entries=1, top=top)})

    def mirrored_shard(tree: MirrorTree) -> bytes:
        return held[0].shard(tree).encode()

    held: list[Mirrored] = []

    def attack(mirrored: Mirrored) -> None:
        held.append(mirrored)
        mirrored.publish(change=change)

    return attack


def deep_below_the_signature(mirrored: Mirrored) -> None:
    def change(root: Root, tree: MirrorTree) -> Root:
        top = tree.put_index(b'{"a":' * 10_000 + b"1" + b"}" * 10_000)
        return root.model_copy(update={"releases": Tree(digits=0, entries=1, top=top)})

    mirrored.publish(change=change)


ATTACKS: dict[str, tuple[Attack, str]] = {
    "a blob is swapped": (swapped, "mirror-damaged"),
    "a blob is truncated": (truncated, "mirror-damaged"),
    "a blob is bigger than said": (longer, "mirror-damaged"),
    "the verdict is withheld": (withheld(Kind.VERDICT), "mirror-withholds"),
    "a statement is withheld": (withheld(Kind.STATEMENT), "mirror-withholds"),
    "the policy is withheld": (withheld(Kind.POLICY), "mirror-withholds"),
    "the root is withheld": (without_root, "mirror-withholds"),
    "the root is another portal's": (of_another_portal, "mirror-damaged"),
    "checkpoint and root name two portals": (named_of_another_portal, "malformed-mirror"),
    "the checkpoint expired": (expired, "mirror-stale"),
    "the checkpoint is of tomorrow": (of_tomorrow, "mirror-stale"),
    "the checkpoint is by another key": (by_another_key, "mirror-not-the-portals"),
    "what is signed is no checkpoint": (no_checkpoint, "malformed-mirror"),
    "the checkpoint is gone": (lambda mirrored: mirrored.checkpoint.unlink(), "mirror-unreachable"),
    "the checkpoint is empty": (checkpoint_is(b""), "malformed-envelope"),
    "the checkpoint is no JSON": (checkpoint_is(b"\xff"), "malformed-envelope"),
    "the checkpoint is 10,000 deep": (checkpoint_is(b"[" * 10_000), "malformed-envelope"),
    "the checkpoint is endless": (checkpoint_is(b" " * 2**20), "limit-exceeded"),
    "the checkpoint is unsigned": (unsigned, "malformed-envelope"),
    "the checkpoint is signed twice": (signed_twice, "malformed-envelope"),
    "a shard stands at another's place": (shard_at_anothers_place, "malformed-mirror"),
    "a shard lies about its prefix": (lying_shard(prefix="ab"), "malformed-mirror"),
    "a shard says more than the format": (lying_shard(more=[]), "malformed-mirror"),
    "a shard is another document": (lying_shard(format="https://tee-portal.org/mirror/node/v1"), "malformed-mirror"),
    "a document is 10,000 deep": (deep_below_the_signature, "malformed-mirror"),
}


@pytest.mark.parametrize(("attack", "code"), ATTACKS.values(), ids=ATTACKS)
def test_a_hostile_mirror_is_never_allowed_and_is_told_by_name(
    mirrored: Mirrored, capsys: pytest.CaptureFixture[str], attack: Attack, code: str
) -> None:
    assert mirrored.release() == 0
    mirrored.sequence += 1
    attack(mirrored)
    capsys.readouterr()
    assert mirrored.release() == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{code}: ")
    # What a portal's operator or a rebuilder could do is no advice for who deploys.
    assert not re.search("settings|rebuilder wrote|with https://", said)


def test_what_is_larger_than_any_file_may_be_is_not_asked_for(
    mirrored: Mirrored, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(root: Root, tree: MirrorTree) -> Root:
        return root.model_copy(update={"releases": Tree(digits=0, entries=1, top=Ref(sha256="a" * 64, size=2**40))})

    mirrored.publish(change=change)
    assert mirrored.release() == 2
    said = capsys.readouterr().err
    assert said.startswith("limit-exceeded: ")
    assert "settings" not in said
    assert len(mirrored.asked) == 2


def test_a_key_that_was_replaced_is_believed_no_more(mirrored: Mirrored, capsys: pytest.CaptureFixture[str]) -> None:
    new = new_signer()
    assert mirrored.release(key=new) == 2
    assert "mirror-not-the-portals" in capsys.readouterr().err
    mirrored.publish(signer=new)
    assert mirrored.release() == 2
    # The verdict itself is by the older key still, and named by the newer one.
    assert mirrored.release(key=new) == 0


def test_a_verdict_that_no_key_of_its_evidence_signed_is_denied(mirrored: Mirrored) -> None:
    world = mirrored.world
    evidence = world.evidence(signer=new_signer())
    mirrored.publish(evidence=evidence)
    assert mirrored.release() == 1
    assert mirrored.run("bundle", f"enclave/{TAG}", "-o", str(world.evidence_file)) == 0
    # As it was saved, and with a key that whoever saved it made up.
    assert world.run() == 1
    made_up = EvidenceFile.of(Kind.PORTAL_KEY, "/portal.pub", new_signer().public.pem.encode())
    saved = read_evidence(world.evidence_file)
    files = [made_up, *(file for file in saved.files if file.kind is not Kind.PORTAL_KEY)]
    world.save(saved.model_copy(update={"files": tuple(files)}))
    assert world.run() == 1


def test_an_earlier_keys_verdict_is_denied_without_the_checkpoint_that_names_it(mirrored: Mirrored) -> None:
    world, new = mirrored.world, new_signer()
    mirrored.publish(signer=new)
    assert mirrored.run("bundle", f"enclave/{TAG}", "-o", str(world.evidence_file), key=new) == 0
    world_key = world.portal
    world.portal = new
    assert world.run() == 0
    saved = read_evidence(world.evidence_file)
    chain = {Kind.CHECKPOINT, Kind.INDEX}
    world.save(saved.model_copy(update={"files": tuple(file for file in saved.files if file.kind not in chain)}))
    assert world.run() == 1
    older = next(file for file in replace(world, portal=world_key).evidence().files if file.kind is Kind.VERDICT)
    files = tuple(older if file.kind is Kind.VERDICT else file for file in saved.files)
    world.save(saved.model_copy(update={"files": files}))
    assert world.run() == 1


@pytest.mark.parametrize(
    ("keys", "named"), [(("b" * 16, "a" * 16), "order"), (("a" * 16, "a" * 16), "order"), (("a" * 15,), "pattern")]
)
def test_a_shard_of_measurements_out_of_order_is_refused(
    mirrored: Mirrored, capsys: pytest.CaptureFixture[str], keys: tuple[str, ...], named: str
) -> None:
    def change(root: Root, tree: MirrorTree) -> Root:
        shard = MeasurementShard.model_construct(prefix="", values=tuple((key, (f"enclave/{TAG}",)) for key in keys))
        return root.model_copy(update={"measurements": Tree(digits=0, entries=1, top=tree.put_index(shard.encode()))})

    mirrored.publish(change=change)
    assert mirrored.measurement(UNSIGNED) == 2
    said = capsys.readouterr().err
    assert "malformed-mirror" in said
    assert named in said


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_changed_byte_of_anything_that_is_read_is_ever_allowed(mirrored: Mirrored, data: st.DataObject) -> None:
    assert mirrored.release() == 0
    asked = mirrored.asked
    path = mirrored.directory / data.draw(st.sampled_from(asked)).removeprefix("/")
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    changed = bytearray(before)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(changed))
    try:
        assert mirrored.release() in {1, 2}
    finally:
        path.write_bytes(before)


def refused(mirrored: Mirrored, address: str) -> int:
    given = ["--portal-key", mirrored.world.key_file(mirrored.world.portal), "--state", str(mirrored.state)]
    return main(["release", f"enclave/{TAG}", "--files", str(mirrored.world.files), "--mirror", address, *given])


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://127.0.0.1:1/", "https://other.example/x"])
def test_a_redirect_is_not_followed(mirrored: Mirrored, target: str) -> None:
    with false_portal(lambda _: b"", status=302, Location=target) as server:
        assert refused(mirrored, server.address) == 2
        assert server.asked == ["GET /checkpoint.json"]


def test_a_bomb_is_not_unpacked(mirrored: Mirrored, capsys: pytest.CaptureFixture[str]) -> None:
    bomb = gzip.compress(b" " * 2**24)
    with false_portal(lambda _: bomb, Content_Encoding="gzip") as server:
        assert refused(mirrored, server.address) == 2
    said = capsys.readouterr().err
    assert said.startswith("not-a-portal: the answer is compressed")
    assert "Ask another mirror" in said


@pytest.mark.parametrize("headers", [False, True])
def test_a_mirror_that_sends_a_little_now_and_then_ends_with_the_time_for_all(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], headers: bool
) -> None:
    monkeypatch.setattr(web, "_ALL_SECONDS", 0.3)
    data = mirrored.checkpoint.read_bytes()
    with false_portal(lambda _: data, drips=not headers, drips_headers=headers) as server:
        assert refused(mirrored, server.address) == 2
    assert capsys.readouterr().err.startswith("mirror-unreachable: collecting took longer")


@pytest.mark.parametrize("address", ["http://mirror.example", "file:///srv/mirror", "mirror", "http://[", ""])
def test_only_https_is_asked_and_http_of_this_machine(
    mirrored: Mirrored, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(mirrored, address) == 2
    assert "not-a-portal" in capsys.readouterr().err


def test_the_order_of_a_feed_has_no_part_in_a_decision(mirrored: Mirrored) -> None:
    """What is not read for a question cannot be missing for it."""

    def change(root: Root, tree: MirrorTree) -> Root:
        nowhere = Ref(sha256="0" * 64, size=1)
        feed = tree.put_index(ChangeFeed(first=0, pages=(nowhere,)).encode())
        return root.model_copy(update={"changes": feed})

    mirrored.publish(change=change)
    assert mirrored.release() == 0
