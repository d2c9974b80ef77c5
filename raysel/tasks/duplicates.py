"""One picture in several places of a data set: found, counted, refused or dropped.

What is compared is a key of each example: the hash of its decoded picture, or, before anything
is decoded, the file itself (two paths may lead to one).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from raysel.common.errors import Problem
from raysel.spec.task import Duplicates
from raysel.tasks.data import Indices, Labels
from raysel.tasks.data_summary import DuplicateCounts

KEEP_ORDER = ("test", "validation", "train", "source_validation", "source_train")
"""In which part a picture is kept where it is dropped from the others, the first first."""

_SHOWN = 3

_PART = {"source_train": "source", "source_validation": "source validation"}


@dataclass(frozen=True)
class Occurrence:
    """Where an example is: its part, and its index in the data set."""

    part: str
    index: int


@dataclass(frozen=True)
class DuplicateFinder:
    """The pictures of a data set that are in several places of its parts.

    Attributes:
        groups: all places of each such picture, at least two.
        labels: [N] of the data set, before any shift.
        classes: name of each class.
        where: from an index to the place of the picture, for a person.
    """

    groups: tuple[tuple[Occurrence, ...], ...]
    labels: Labels
    classes: Sequence[str]
    where: Callable[[int], str]

    def problems(self) -> list[Problem]:
        """Why the data set is refused; copies within one part are no reason."""
        across = [group for group in self.groups if _is_across(group)]
        labelled = [group for group in self.groups if self._has_two_labels(group)]
        messages = []
        if across:
            count = f"{len(across)} pictures are" if len(across) > 1 else "1 picture is"
            messages.append(
                f"{count} in more than one part, so that errors would look smaller than they are:"
                f" {self._listed(across)}. Take copies away, or write task.duplicates: drop (kept"
                " once, in test before validation before train) or keep"
            )
        if labelled:
            count = f"{len(labelled)} pictures have" if len(labelled) > 1 else "1 picture has"
            messages.append(
                f"{count} more than one label: {self._listed(labelled)}. Correct the labels, or"
                " write task.duplicates: drop (all copies of them) or keep"
            )
        return [Problem("task.data", line) for line in messages]

    def dropped(self) -> dict[str, set[int]]:
        """Indices to leave out, by part: all copies but the one in the first part of
        `KEEP_ORDER`; all copies where the right label is not known."""
        dropped: dict[str, set[int]] = {}
        for group in self.groups:
            kept = min(group, key=lambda place: (KEEP_ORDER.index(place.part), place.index))
            for place in group:
                if place != kept or self._has_two_labels(group):
                    dropped.setdefault(place.part, set()).add(place.index)
        return dropped

    def counts(self, policy: Duplicates) -> DuplicateCounts:
        """How many there are, and what `policy` does to them."""
        dropped = sum(map(len, self.dropped().values())) if policy == "drop" else 0
        across = sum(map(_is_across, self.groups))
        return DuplicateCounts(
            across=across,
            within=len(self.groups) - across,
            two_labels=sum(map(self._has_two_labels, self.groups)),
            dropped=dropped,
            policy=policy,
            examples=tuple(self._describe(group) for group in self.groups[:_SHOWN]),
        )

    def _has_two_labels(self, group: Sequence[Occurrence]) -> bool:
        return len({int(self.labels[place.index]) for place in group}) > 1

    def _listed(self, groups: Sequence[Sequence[Occurrence]]) -> str:
        more = len(groups) - _SHOWN
        shown = "; ".join(map(self._describe, groups[:_SHOWN]))
        return shown if more <= 0 else f"{shown}; and {more} more"

    def _describe(self, group: Sequence[Occurrence]) -> str:
        """A place of each part and label, then others up to `_SHOWN`."""
        labelled = self._has_two_labels(group)
        kinds = [(place.part, int(self.labels[place.index])) for place in group]
        first = [place for row, place in enumerate(group) if kinds[row] not in kinds[:row]]
        others = [place for place in group if place not in first]
        shown = first + others[: max(_SHOWN - len(first), 0)]
        more = f" and {len(group) - len(shown)} more" if len(group) > len(shown) else ""
        return " = ".join(self._place(place, labelled) for place in shown) + more

    def _place(self, place: Occurrence, labelled: bool) -> str:
        label = f', "{self.classes[self.labels[place.index]]}"' if labelled else ""
        return f"{self.where(place.index)} ({_PART.get(place.part, place.part)}{label})"


def find(
    parts: Mapping[str, Indices],
    key: Callable[[str, int], Hashable],
    labels: Labels,
    classes: Sequence[str],
    where: Callable[[int], str],
) -> DuplicateFinder:
    """The pictures that have several places.

    Args:
        parts: indices of each part's examples in the data set.
        key: from a part and a row of it to what copies have in common; None is no copy of
            anything.
    """
    places: dict[Hashable, list[Occurrence]] = {}
    for part, indices in parts.items():
        for row, index in enumerate(indices.tolist()):
            found = key(part, row)
            if found is not None:
                places.setdefault(found, []).append(Occurrence(part, index))
    groups = tuple(tuple(group) for group in places.values() if len(group) > 1)
    return DuplicateFinder(groups, labels, classes, where)


def _is_across(group: Sequence[Occurrence]) -> bool:
    return len({place.part for place in group}) > 1
