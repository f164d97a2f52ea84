"""How deep a stranger's JSON is nested, told without a reader whose stack it could fill."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.json_depth import MAX_DEPTH, NestedTooDeep, nests_deeper, refuse_deep

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='[]{}"\\ab'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[{"\\'), inner, max_size=3),
    max_leaves=20,
)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@given(_VALUES)
def test_the_depth_of_any_document_is_told_exactly(value: object) -> None:
    data, depth = json.dumps(value).encode(), _depth(value)
    assert not nests_deeper(data, depth)
    assert depth == 0 or nests_deeper(data, depth - 1)


@given(st.binary())
def test_bytes_that_are_no_json_have_an_answer_too(data: bytes) -> None:
    assert nests_deeper(data, len(data)) is False


def test_one_more_than_allowed_is_refused() -> None:
    refuse_deep(b"[" * MAX_DEPTH, where="the body")
    with pytest.raises(NestedTooDeep, match="more than 32 deep"):
        refuse_deep(b"[" * (MAX_DEPTH + 1), where="the body")


@pytest.mark.parametrize("hostile", [b'"' + b'\\"' * 1_000_000, b'"' * 2_000_000, b"\\" * 2_000_000])
def test_a_string_that_never_ends_is_read_once(hostile: bytes) -> None:
    begun = time.monotonic()
    assert nests_deeper(hostile, 1) is False
    assert time.monotonic() - begun < 5
