"""Two releases of one project beside each other: what changed, what did not, and what nobody can say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from builds.domain.condition_words import words_of
from builds.domain.conditions import Condition
from builds.domain.digest import Digest, FileDigests
from builds.domain.likeness import Likeness, Row, likeness, listed
from builds.domain.roles import Role
from builds.domain.sealing import BOOTED, LaunchChange, LaunchFacts, Sealing
from builds.domain.verdict import Decision


@dataclass(frozen=True, slots=True)
class ComponentFacts:
    """A published component: its file's digests, None while nobody could read it, and the digest claimed for it."""

    role: Role
    content: FileDigests | None
    claimed: Digest | None


@dataclass(frozen=True, slots=True)
class ComponentChange:
    """One component in both releases; None where a release has no such component."""

    role: Role
    before: ComponentFacts | None
    after: ComponentFacts | None

    @property
    def digests(self) -> tuple[Digest | None, Digest | None]:
        """Of both sides by one algorithm, as far as they are known: of the files, else as claimed."""
        one, other = (side.content if side is not None else None for side in (self.before, self.after))
        if one is not None and other is not None:
            return one.sha256, other.sha256
        return _named(self.before), _named(self.after)

    @property
    def likeness(self) -> Likeness:
        if self.before is None:
            return Likeness.ADDED
        if self.after is None:
            return Likeness.REMOVED
        one, other = self.digests
        if one is not None and other is not None and one.algorithm is not other.algorithm:
            return Likeness.UNKNOWN
        return likeness(one, other)

    @property
    def sizes(self) -> tuple[int | None, int | None]:
        """In bytes; None while not known."""
        one, other = (
            side.content.size if side is not None and side.content is not None else None
            for side in (self.before, self.after)
        )
        return one, other

    @property
    def growth(self) -> int | None:
        """By how many bytes it grew, negative when it shrank; None unless both sizes are known."""
        one, other = self.sizes
        return other - one if one is not None and other is not None else None


def _named(side: ComponentFacts | None) -> Digest | None:
    if side is None:
        return None
    return side.claimed or (side.content.sha256 if side.content is not None else None)


@dataclass(frozen=True, slots=True, order=True)
class MaterialFacts:
    """A build input pinned by digest; ``sha256`` in hex."""

    name: str
    architecture: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class MaterialChange:
    """One material by name and architecture; both sides only where each release has exactly one of that name."""

    name: str
    architecture: str
    before: MaterialFacts | None
    after: MaterialFacts | None

    @property
    def likeness(self) -> Likeness:
        if self.before is None:
            return Likeness.ADDED
        return Likeness.REMOVED if self.after is None else likeness(self.before.sha256, self.after.sha256)

    @property
    def same_version(self) -> bool:
        """Other bytes under the same name and version, which no honest archive gives out."""
        return self.before is not None and self.after is not None and self.before.version == self.after.version


@dataclass(frozen=True, slots=True)
class MaterialsChange:
    """All materials; ``known`` is False when those of a release are not known, and then nothing is listed."""

    known: bool
    same: int
    added: tuple[MaterialChange, ...] = ()
    removed: tuple[MaterialChange, ...] = ()
    other_version: tuple[MaterialChange, ...] = ()
    other_bytes: tuple[MaterialChange, ...] = ()
    """The same version by name, with another digest."""

    @property
    def likeness(self) -> Likeness:
        if not self.known:
            return Likeness.UNKNOWN
        return Likeness.CHANGED if self.different else Likeness.SAME

    @property
    def different(self) -> int:
        return sum(map(len, (self.added, self.removed, self.other_version, self.other_bytes)))


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """What is compared of one release. Empty texts and None are unknown where nothing else is said."""

    tag: str
    commit: str
    decision: Decision
    conditions: tuple[Condition, ...]
    components: tuple[ComponentFacts, ...]
    materials: tuple[MaterialFacts, ...] | None
    launches: tuple[LaunchFacts, ...]
    recipe_sha256: str
    base_image: str | None
    """``name@sha256:hex``; "" when its recipe pulls none."""
    policy_sha256: str
    """Of the policy document that its newest signed verdict names."""


@dataclass(frozen=True, slots=True)
class ConditionChange:
    key: str
    before: Condition
    after: Condition

    @property
    def changed(self) -> bool:
        return self.before.state is not self.after.state


@dataclass(frozen=True, slots=True)
class ReleaseComparison:
    """Everything side by side; ``sentence`` says it in words."""

    before: ReleaseFacts
    after: ReleaseFacts
    components: tuple[ComponentChange, ...]
    materials: MaterialsChange
    launches: tuple[LaunchChange, ...]

    @property
    def itself(self) -> bool:
        return self.before.tag == self.after.tag

    @property
    def conditions(self) -> tuple[ConditionChange, ...]:
        later = {condition.key: condition for condition in self.after.conditions}
        return tuple(
            ConditionChange(one.key, one, later[one.key]) for one in self.before.conditions if one.key in later
        )

    @property
    def commit(self) -> Row:
        return Row("Commit", self.before.commit, self.after.commit)

    @property
    def recipe(self) -> Row:
        return Row("Recipe", self.before.recipe_sha256 or None, self.after.recipe_sha256 or None)

    @property
    def base(self) -> Row:
        return Row("Base image", _pulled(self.before.base_image), _pulled(self.after.base_image))

    @property
    def policy(self) -> Row:
        return Row("Policy", self.before.policy_sha256 or None, self.after.policy_sha256 or None)

    @property
    def sentence(self) -> str:
        return compose(self)


def _pulled(base_image: str | None) -> str | None:
    return "none is pulled" if base_image == "" else base_image


def compare_releases(before: ReleaseFacts, after: ReleaseFacts) -> ReleaseComparison:
    """Hold two releases against each other; swapping them swaps every row and nothing else."""
    components = _components(before.components, after.components)
    return ReleaseComparison(
        before=before,
        after=after,
        components=components,
        materials=compare_materials(before.materials, after.materials),
        launches=_launches(before.launches, after.launches, components),
    )


def _components(before: Iterable[ComponentFacts], after: Iterable[ComponentFacts]) -> tuple[ComponentChange, ...]:
    one, other = ({entry.role: entry for entry in side} for side in (before, after))
    return tuple(ComponentChange(role, one.get(role), other.get(role)) for role in Role if role in one or role in other)


def compare_materials(before: Sequence[MaterialFacts] | None, after: Sequence[MaterialFacts] | None) -> MaterialsChange:
    """By name and architecture; what has one version on each side is one change, anything else comes and goes."""
    if before is None or after is None:
        return MaterialsChange(known=False, same=0)
    one, other = set(before), set(after)
    gone, come = _by_identity(one - other), _by_identity(other - one)
    pairs: list[MaterialChange] = []
    for identity in sorted(gone.keys() | come.keys()):
        lost, won = gone.get(identity, []), come.get(identity, [])
        if len(lost) == len(won) == 1:
            pairs.append(MaterialChange(*identity, lost[0], won[0]))
        else:
            pairs += [MaterialChange(*identity, entry, None) for entry in lost]
            pairs += [MaterialChange(*identity, None, entry) for entry in won]
    changed = [pair for pair in pairs if pair.before is not None and pair.after is not None]
    return MaterialsChange(
        known=True,
        same=len(one & other),
        added=tuple(pair for pair in pairs if pair.before is None),
        removed=tuple(pair for pair in pairs if pair.after is None),
        other_version=tuple(pair for pair in changed if not pair.same_version),
        other_bytes=tuple(pair for pair in changed if pair.same_version),
    )


def _by_identity(materials: Iterable[MaterialFacts]) -> dict[tuple[str, str], list[MaterialFacts]]:
    found: dict[tuple[str, str], list[MaterialFacts]] = defaultdict(list)
    for entry in sorted(materials):
        found[entry.name, entry.architecture].append(entry)
    return found


def _launches(
    before: Sequence[LaunchFacts], after: Sequence[LaunchFacts], components: Iterable[ComponentChange]
) -> tuple[LaunchChange, ...]:
    """Configurations of one name belong together, then those that are alone with the same machine on each side."""
    files = [entry.likeness for entry in components if entry.role in BOOTED]
    one, other = ({entry.name: entry for entry in side} for side in (before, after))
    pairs = [(one[name], other[name]) for name in one if name in other]
    lone = [entry for entry in before if entry.name not in other]
    left = [entry for entry in after if entry.name not in one]
    for entry in list(lone):
        fitting = [found for found in left if found.machine == entry.machine]
        if len(fitting) == 1 and sum(found.machine == entry.machine for found in lone) == 1:
            pairs.append((entry, fitting[0]))
            lone.remove(entry)
            left.remove(fitting[0])
    found = [LaunchChange(a, b, _booted(files, a, b)) for a, b in pairs]
    found += [LaunchChange(entry, None, Likeness.UNKNOWN) for entry in lone]
    found += [LaunchChange(None, entry, Likeness.UNKNOWN) for entry in left]
    return tuple(sorted(found, key=lambda change: change.name))


def _booted(files: Sequence[Likeness], before: LaunchFacts, after: LaunchFacts) -> Likeness:
    found = {*files, likeness(before.command_line, after.command_line)}
    if len(files) < len(BOOTED):
        found.add(Likeness.UNKNOWN)
    if found == {Likeness.SAME}:
        return Likeness.SAME
    return Likeness.CHANGED if found & {Likeness.CHANGED, Likeness.ADDED, Likeness.REMOVED} else Likeness.UNKNOWN


def compose(comparison: ReleaseComparison) -> str:
    """What changed between two releases, in plain sentences; nothing unknown is called the same."""
    before, after = comparison.before, comparison.after
    if comparison.itself:
        return f"{after.tag} is compared with itself."
    commits = (
        f"Both are built from commit {after.commit}."
        if before.commit == after.commit
        else f"{after.tag} is built from another commit than {before.tag}."
    )
    parts = [commits, _components_sentence(comparison), _materials_sentence(comparison.materials)]
    for row in (comparison.recipe, comparison.base):
        if row.likeness is not Likeness.SAME:
            verb = "is another one" if row.likeness is Likeness.CHANGED else "is not known of both"
            parts.append(f"The {row.name.lower()} {verb}.")
    parts += [*_launch_sentences(comparison.launches), _decision_sentence(comparison)]
    return " ".join(filter(None, parts))


_COMPONENT_WORDS = {
    Likeness.CHANGED: "changed",
    Likeness.ADDED: "came new",
    Likeness.REMOVED: "are gone",
    Likeness.UNKNOWN: "cannot be compared",
    Likeness.SAME: "are the same bytes",
}


def _components_sentence(comparison: ReleaseComparison) -> str:
    if not comparison.components:
        return "Neither names a component."
    groups: dict[Likeness, list[str]] = {word: [] for word in _COMPONENT_WORDS}
    for entry in comparison.components:
        groups[entry.likeness].append(entry.role.value)
    if groups[Likeness.SAME] and sum(map(bool, groups.values())) == 1:
        return "All components are the same bytes."
    told = [f"{_COMPONENT_WORDS[word]}: {listed(roles)}" for word, roles in groups.items() if roles]
    return f"Components that {'; that '.join(told)}."


def _materials_sentence(materials: MaterialsChange) -> str:
    if not materials.known:
        return "The materials of one of them are not known, so that nothing is said of what else changed in the build."
    if not materials.different:
        return f"The {materials.same} materials are the same." if materials.same else "Neither has a locked material."
    counts = [
        f"{len(materials.added)} added",
        f"{len(materials.removed)} removed",
        f"{len(materials.other_version)} of another version",
    ]
    if materials.other_bytes:
        counts.append(f"{len(materials.other_bytes)} of the same version with other bytes")
    return f"Materials: {', '.join(counts)}, {materials.same} the same."


_MOST_LAUNCHES = 5


def _launch_sentences(launches: Sequence[LaunchChange]) -> list[str]:
    if not launches:
        return ["No launch measurement was published with either, so that nothing is known of sealed data."]
    told = {
        Sealing.CLOSED: "The launch measurement differs for {}: data sealed under one will not open under the other.",
        Sealing.OPENS: "The launch measurement is the same for {}: data sealed under it opens under both.",
        Sealing.FIRMWARE_ONLY: "The launch measurement is the same for {}, and covers the firmware only: data sealed"
        " under it opens for any kernel.",
        Sealing.NOT_COMPARABLE: "Not comparable, since the launch configuration is another or has no counterpart: {}.",
        Sealing.UNKNOWN: "Whether the launch measurement changed is unknown for {}.",
    }
    found = ((words, [entry.name for entry in launches if entry.sealing is word]) for word, words in told.items())
    return [words.format(listed(names, _MOST_LAUNCHES)) for words, names in found if names]


def _decision_sentence(comparison: ReleaseComparison) -> str:
    before, after = comparison.before, comparison.after
    moved = [
        f'"{words_of(entry.key).title}" was {entry.before.state.value}, is {entry.after.state.value}'
        for entry in comparison.conditions
        if entry.changed
    ]
    changed = f" ({'; '.join(moved)})" if moved else ""
    if before.decision is after.decision:
        return f"Decision for both: {after.decision.value}{changed}."
    return f"Decision: {before.decision.value} for {before.tag}, {after.decision.value} for {after.tag}{changed}."
