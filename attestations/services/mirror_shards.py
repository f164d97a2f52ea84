"""Shards of the mirror's indexes, and the nodes that lead to them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from attestations.domain.mirror import (
    Child,
    Digits,
    Document,
    MalformedMirror,
    Node,
    Ref,
    Tree,
    parse,
)
from attestations.mirror_tree import MirrorTree

_TWO = 2


def put_tree(
    tree: MirrorTree, digits: Digits, entries: int, shards: Iterable[tuple[str, Ref]], *, empty: Document
) -> Tree:
    """Put the nodes above shards, which come in the order of their prefixes; ``empty`` stands where there is none."""
    if digits == 0:
        top = next((ref for _, ref in shards), None)
        return Tree(digits=digits, entries=entries, top=top if top is not None else tree.put_index(empty.encode()))
    if digits == _TWO:
        return Tree(digits=digits, entries=entries, top=_node(tree, "", shards))
    below = ((prefix, _node(tree, prefix, found)) for prefix, found in groupby(shards, lambda shard: shard[0][:_TWO]))
    return Tree(digits=digits, entries=entries, top=_node(tree, "", below))


def keep_tree(tree: MirrorTree, known: Tree) -> dict[str, Ref] | None:
    """Name everything of an index that was put by an earlier publication: its shards by their prefixes, in their order.

    None when any of it has to be made again.
    """
    if known.digits == 0:
        return {"": known.top} if tree.keep_document(known.top) is not None else None
    found: dict[str, Ref] = {}
    levels = 1 if known.digits == _TWO else 2
    return found if _keep_node(tree, known.top, levels, found) else None


def _keep_node(tree: MirrorTree, ref: Ref, levels: int, found: dict[str, Ref]) -> bool:
    data = tree.keep_document(ref)
    if data is None:
        return False
    try:
        node = parse(Node, data)
    except MalformedMirror:
        # Of another version of the program.
        return False
    if levels > 1:
        return all(_keep_node(tree, child.ref, levels - 1, found) for child in node.children)
    found |= {child.prefix: child.ref for child in node.children}
    return all(tree.keep(child.ref.index_path, child.ref.size) for child in node.children)


def _node(tree: MirrorTree, prefix: str, children: Iterable[tuple[str, Ref]]) -> Ref:
    found = tuple(Child(prefix=name, ref=ref) for name, ref in children)
    return tree.put_index(Node(prefix=prefix, children=found).encode())
