"""Where each part of a release's chain stands in its picture: plain numbers and short texts, for a template to draw.

Lengths are in user units of the SVG, of which one is about a CSS pixel at full width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from builds.domain.chain import Chain, Step
from builds.domain.marks import Mark
from builds.domain.printable import in_brief, xml_text

_LONGEST = 20
"""Characters of a line that a box is wide enough for."""
_SHAPES = {
    Mark.HOLDS: "\N{CHECK MARK}",
    Mark.BROKEN: "\N{MULTIPLICATION X}",
    Mark.UNKNOWN: "\u25d4",
    Mark.UNUSED: "\u25cb",
}

_WIDE = 1200
_BOX, _GAP, _HEIGHT = 160, 100, 112
_TALL, _TALL_BOX, _TALL_GAP = 340, 96, 48


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text with the point that it starts at, or is centred on."""

    x: int
    y: int
    words: str


@dataclass(frozen=True, slots=True)
class Box:
    """A step: a rectangle with its title, details and state in it, all of one link."""

    x: int
    y: int
    width: int
    height: int
    title: Text
    lines: tuple[Text, ...]
    state: Text
    mark: Mark
    evidence: str

    @property
    def inner(self) -> tuple[int, int, int, int]:
        """x, y, width and height of the second line around it, which a broken step has."""
        return self.x + 4, self.y + 4, self.width - 8, self.height - 8


@dataclass(frozen=True, slots=True)
class Arrow:
    """A tie between two steps: a line from ``(x, y)`` to ``(to_x, to_y)`` with its title and state beside it."""

    x: int
    y: int
    to_x: int
    to_y: int
    title: Text
    state: Text
    mark: Mark
    evidence: str

    @property
    def is_upright(self) -> bool:
        return self.x == self.to_x

    @property
    def strokes(self) -> list[tuple[int, int, int, int]]:
        """The lines to draw: two beside each other for a broken tie."""
        # They end where the head begins.
        across, down = (3, 0) if self.is_upright else (0, 3)
        to_x, to_y = self.to_x - 3 * down, self.to_y - 3 * across
        sides = (-1, 1) if self.mark is Mark.BROKEN else (0,)
        return [(self.x + by * across, self.y + by * down, to_x + by * across, to_y + by * down) for by in sides]

    @property
    def head(self) -> str:
        """The arrow's head as the points of a polygon."""
        x, y = self.to_x, self.to_y
        wings = [(x - 6, y - 9), (x + 6, y - 9)] if self.is_upright else [(x - 9, y - 6), (x - 9, y + 6)]
        return " ".join(f"{across},{down}" for across, down in [(x, y), *wings])


@dataclass(frozen=True, slots=True)
class Drawing:
    """A whole picture; ``parts`` are in reading order, a step, its tie to the next, the next step."""

    name: str
    width: int
    height: int
    parts: tuple[Box | Arrow, ...]

    @classmethod
    def wide(cls, chain: Chain) -> Self:
        """From left to right."""
        return cls("wide", _WIDE, _HEIGHT + 8, _in_order(chain, _wide_box, _wide_arrow))

    @classmethod
    def tall(cls, chain: Chain) -> Self:
        """From top to bottom, for narrow screens."""
        height = len(chain.steps) * _TALL_BOX + len(chain.ties) * _TALL_GAP + 8
        return cls("tall", _TALL, height, _in_order(chain, _tall_box, _tall_arrow))


def _in_order(
    chain: Chain, box: Callable[[int, Step], Box], arrow: Callable[[int, Step], Arrow]
) -> tuple[Box | Arrow, ...]:
    parts: list[Box | Arrow] = []
    for place, step in enumerate(chain.steps):
        parts.append(box(place, step))
        if place < len(chain.ties):
            parts.append(arrow(place, chain.ties[place]))
    return tuple(parts)


def _wide_box(place: int, step: Step) -> Box:
    return _box(step, place * (_BOX + _GAP) + 2, 4, _BOX - 4, _HEIGHT)


def _tall_box(place: int, step: Step) -> Box:
    return _box(step, 2, place * (_TALL_BOX + _TALL_GAP) + 4, _TALL - 4, _TALL_BOX)


def _box(step: Step, x: int, y: int, width: int, height: int) -> Box:
    left = x + 10
    return Box(
        x=x,
        y=y,
        width=width,
        height=height,
        title=Text(left, y + 24, _shown(step.title)),
        lines=tuple(Text(left, y + 43 + 16 * row, _shown(line)) for row, line in enumerate(step.lines[:2])),
        state=Text(left, y + height - 13, _state(step)),
        mark=step.state.mark,
        evidence=step.evidence,
    )


def _wide_arrow(place: int, tie: Step) -> Arrow:
    start = place * (_BOX + _GAP) + _BOX
    middle, y = start + _GAP // 2, 4 + _HEIGHT // 2
    return _arrow(tie, (start + 2, y, start + _GAP - 2, y), Text(middle, y - 12, tie.title), Text(middle, y + 22, ""))


def _tall_arrow(place: int, tie: Step) -> Arrow:
    start = place * (_TALL_BOX + _TALL_GAP) + _TALL_BOX + 4
    x, beside = 40, 62
    title, state = Text(beside, start + 20, tie.title), Text(beside, start + 37, "")
    return _arrow(tie, (x, start + 2, x, start + _TALL_GAP - 2), title, state)


def _arrow(tie: Step, ends: tuple[int, int, int, int], title: Text, state: Text) -> Arrow:
    return Arrow(
        *ends,
        title=Text(title.x, title.y, _shown(title.words)),
        state=Text(state.x, state.y, _state(tie)),
        mark=tie.state.mark,
        evidence=tie.evidence,
    )


def _state(step: Step) -> str:
    return f"{_SHAPES[step.state.mark]} {_shown(step.state.words)}"


def _shown(text: str) -> str:
    """A text of any origin as one short line that XML can hold."""
    return in_brief(xml_text(text), _LONGEST)
