"""By whose word a launch configuration gives a launch measurement: publisher, published files, rebuilt files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Says(StrEnum):
    """What one of the three says when it is asked for a configuration's value."""

    THIS = "this value"
    ANOTHER = "another value"
    BOTH = "this value and another"
    """Only of rebuilt files: operators whose results count do not agree."""
    NOTHING = "nothing"
    """Not published, not recomputable, or no rebuild that counts gave one."""


@dataclass(frozen=True, slots=True)
class SaidBy:
    """What each of the three says about one value of one launch configuration."""

    publisher: Says
    published_files: Says
    rebuilt_files: Says

    @property
    def agree(self) -> bool:
        """Whether all three give exactly this value: the one case that may be shown as good."""
        return {self.publisher, self.published_files, self.rebuilt_files} == {Says.THIS}

    @property
    def speaks_for_it(self) -> bool:
        """Whether at least one of the three gives it."""
        return bool({self.publisher, self.published_files, self.rebuilt_files} & {Says.THIS, Says.BOTH})

    @property
    def sentence(self) -> str:
        """What each says, so that one who contradicts is not told as one who is silent."""
        if self.agree:
            return "The publisher names this value, and both the published and the rebuilt files give it."
        if not self.speaks_for_it:
            return "Only results that do not count give this value. Nothing speaks for it."
        return (
            f"The publisher names {_PUBLISHER[self.publisher]}; {_FILES[self.published_files]};"
            f" {_REBUILT[self.rebuilt_files]}."
        )


def says(value: str, stated: str | None) -> Says:
    """What a source that states one value, or None, says about ``value``; both 96 hex characters."""
    if stated is None:
        return Says.NOTHING
    return Says.THIS if stated == value else Says.ANOTHER


_PUBLISHER = {Says.THIS: "this value", Says.ANOTHER: "another value", Says.NOTHING: "no value"}
_FILES = {
    Says.THIS: "the published files give this one",
    Says.ANOTHER: "the published files give another one",
    Says.NOTHING: "what the published files give is not known",
}
_REBUILT = {
    Says.THIS: "rebuilt files give this one",
    Says.ANOTHER: "rebuilt files give another one",
    Says.BOTH: "rebuilt files of one operator give this one, those of another do not",
    Says.NOTHING: "no rebuild that counts gave one so far",
}
