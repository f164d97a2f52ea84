from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from builds.domain.comparison import (
    PublishedComponent,
    RebuildOutcome,
    Subject,
    compare,
    compare_component,
    overall_outcome,
)
from builds.domain.digest import Digest, FileDigests
from builds.domain.roles import Role

hexes = st.sampled_from("0123")


def file_digests(seed: str) -> FileDigests:
    return FileDigests(int(seed, 16) + 1, Digest.sha256(seed * 64), Digest.sha384(seed * 96))


files = st.builds(file_digests, hexes)
claims = st.one_of(st.none(), hexes.map(lambda h: Digest.sha256(h * 64)), hexes.map(lambda h: Digest.sha384(h * 96)))
published_components = st.builds(
    PublishedComponent,
    role=st.sampled_from(Role),
    claimed=claims,
    claim_subject=st.sampled_from(Subject),
    content=st.one_of(st.none(), files),
    container=st.one_of(st.none(), files),
)


def honest(role: Role = Role.KERNEL, seed: str = "a") -> PublishedComponent:
    content = file_digests(seed)
    return PublishedComponent(role, content.sha256, Subject.CONTENT, content, None)


def test_the_same_bytes_are_reproduced() -> None:
    assert compare_component(honest(), file_digests("a")).outcome is RebuildOutcome.REPRODUCED


def test_other_bytes_are_mismatched() -> None:
    row = compare_component(honest(), file_digests("b"))
    assert row.outcome is RebuildOutcome.MISMATCHED
    assert (row.published, row.rebuilt) == (Digest.sha256("a" * 64), Digest.sha256("b" * 64))


def test_a_component_the_rebuild_did_not_make_is_missing() -> None:
    row = compare_component(honest(), None)
    assert row.outcome is RebuildOutcome.MISSING
    assert row.rebuilt is None


def test_a_file_that_contradicts_its_manifest_is_not_reproduced_by_rebuilding_the_manifest() -> None:
    altered = replace(honest(seed="a"), content=file_digests("b"))
    assert altered.contradicts_manifest
    assert compare_component(altered, file_digests("a")).outcome is RebuildOutcome.MISMATCHED
    assert compare_component(altered, file_digests("b")).outcome is RebuildOutcome.MISMATCHED


def test_a_manifest_that_speaks_of_the_container_is_compared_by_the_content() -> None:
    component = PublishedComponent(
        Role.DISK, file_digests("c").sha256, Subject.CONTAINER, file_digests("a"), file_digests("c")
    )
    assert not component.contradicts_manifest
    assert compare_component(component, file_digests("a")).outcome is RebuildOutcome.REPRODUCED
    assert compare_component(component, file_digests("c")).outcome is RebuildOutcome.MISMATCHED


def test_a_component_of_which_nothing_is_known_is_never_reproduced() -> None:
    unknown = PublishedComponent(Role.DISK, None, Subject.CONTENT, None, None)
    assert compare_component(unknown, file_digests("a")).outcome is RebuildOutcome.MISMATCHED


@given(published_components, st.one_of(st.none(), files))
def test_reproduced_means_equal_to_every_statement_about_the_content(
    published: PublishedComponent, rebuilt: FileDigests | None
) -> None:
    row = compare_component(published, rebuilt)
    if row.outcome is not RebuildOutcome.REPRODUCED:
        return
    assert rebuilt is not None
    assert published.content is None or published.content == rebuilt
    if published.claimed is not None and published.claim_subject is Subject.CONTENT:
        assert rebuilt.get(published.claimed.algorithm) == published.claimed
    assert row.published == row.rebuilt


@given(st.lists(published_components, max_size=5, unique_by=lambda component: component.role))
def test_rows_come_in_the_order_of_roles_and_none_is_dropped(components: list[PublishedComponent]) -> None:
    rows = compare(components, {})
    assert [row.role for row in rows] == [role for role in Role if role in {c.role for c in components}]
    assert all(row.outcome is RebuildOutcome.MISSING for row in rows)


def test_overall_a_mismatch_outweighs_a_missing_file_and_nothing_is_no_outcome() -> None:
    reproduced = compare_component(honest(), file_digests("a"))
    missing = compare_component(honest(), None)
    mismatched = compare_component(honest(), file_digests("b"))
    assert overall_outcome([]) is None
    assert overall_outcome([reproduced]) is RebuildOutcome.REPRODUCED
    assert overall_outcome([reproduced, missing]) is RebuildOutcome.MISSING
    assert overall_outcome([missing, mismatched, reproduced]) is RebuildOutcome.MISMATCHED
