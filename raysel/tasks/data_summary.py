"""What was read of a data set, in a few lines: what every verb says first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from raysel.common.text import NAME, and_more, one_line, quoted
from raysel.spec.task import Duplicates
from raysel.tasks.groups import Groups

UNREADABLE = "cannot be read"
"""Reason of the files that a decoder refuses."""

_EXAMPLES = 3


@dataclass(frozen=True)
class ClassCount:
    """A class, and how many pictures of the data set it has."""

    name: str
    pictures: int

    def __str__(self) -> str:
        return f"{_shown(self.name)} {self.pictures:,}"


@dataclass(frozen=True)
class PartCount:
    """A part, how many pictures it has, and where they come from, in words."""

    name: str
    pictures: int
    origin: str


@dataclass(frozen=True)
class LeftOut:
    """Files of a data set that are not taken, for one reason.

    Attributes:
        reason: why, to be read after the count: "hidden", "no image by the ending (.txt)", …
        count: how many files.
        examples: the paths of a few of them, below the data set's folder.
    """

    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class DuplicateCounts:
    """What was found and done.

    Attributes:
        across: pictures that are in several parts.
        within: pictures that are in one part several times.
        two_labels: pictures, of either kind, whose copies have several labels.
        dropped: examples that were left out for it.
        policy: `task.duplicates`, its default settled.
        examples: the places of a few, in words.
    """

    across: int
    within: int
    two_labels: int
    dropped: int
    policy: Duplicates
    examples: tuple[str, ...]

    def __str__(self) -> str:
        counts = {
            "in several parts": self.across,
            "several times in one part": self.within,
            "with several labels": self.two_labels,
        }
        counted = ", ".join(f"{count:,} {words}" for words, count in counts.items() if count)
        if not counted:
            return "none"
        done = f"{self.dropped:,} copies dropped" if self.policy == "drop" else "kept"
        return f"{counted}; {done} (task.duplicates: {self.policy}): {'; '.join(self.examples)}"


@dataclass(frozen=True)
class GroupSummary:
    """The groups of a data set.

    Attributes:
        columns: those whose values make the groups.
        count: how many there are.
        smallest, largest: those with the fewest and the most pictures of the training part.
        absent: part -> names of the groups that it has no picture of; whole parts are left out.
    """

    columns: tuple[str, ...]
    count: int
    smallest: ClassCount
    largest: ClassCount
    absent: dict[str, tuple[str, ...]]

    def __str__(self) -> str:
        text = (
            f"{self.count:,} by {' and '.join(map(_shown, self.columns))}; in train smallest"
            f" {self.smallest}, largest {self.largest}"
        )
        absent = [f"{part} has none of {and_more(names)}" for part, names in self.absent.items()]
        return "; ".join([text, *absent])


def group_summary(groups: Groups, parts: Mapping[str, NDArray[np.int64]]) -> GroupSummary:
    """The groups of a data set that is divided.

    Args:
        groups: of all examples.
        parts: indices of train, validation and test, and of others that are not looked at.
    """
    counts = {part: groups.only(parts[part]).counts() for part in ("train", "validation", "test")}
    train = counts["train"]
    smallest, largest = (pick(train, key=lambda name: train[name]) for pick in (min, max))
    return GroupSummary(
        columns=groups.columns,
        count=len(groups.names),
        smallest=ClassCount(smallest, train[smallest]),
        largest=ClassCount(largest, train[largest]),
        absent={
            part: tuple(name for name, count in own.items() if not count)
            for part, own in counts.items()
            if part != "train" and not all(own.values())
        },
    )


@dataclass(frozen=True)
class DataSummary:
    """What was read of a data set.

    Attributes:
        pictures: of the whole data set.
        class_names: the first few.
        smallest, largest: the classes with the fewest and the most pictures.
        parts: train, validation and test, and the source's where it is used.
        unused: pictures that are in no part.
        left_out: files that were not taken, by reason; unreadable ones once all are decoded.
        decoded: whether the pictures were decoded: else what cannot be read and what is there
            several times is not known yet.
        duplicates: pictures in several places; None where nothing was compared.
        several_pages: files of more than one page or frame, of which the first is read; known
            once all are decoded.
        groups: what the groups are, and how many pictures the smallest ones have; None without.
    """

    name: str
    pictures: int
    class_count: int
    class_names: tuple[str, ...]
    smallest: ClassCount
    largest: ClassCount
    parts: tuple[PartCount, ...]
    unused: int
    left_out: tuple[LeftOut, ...] = ()
    decoded: bool = True
    duplicates: DuplicateCounts | None = None
    several_pages: int = 0
    groups: GroupSummary | None = None

    def lines(self) -> list[tuple[str, str]]:
        """A heading and its line each, for a person."""
        lines = [("data", self._whole()), ("parts", self._parts())]
        if self.groups is not None:
            lines.append(("groups", str(self.groups)))
        if self.left_out:
            lines.append(("left out", _left_out(self.left_out)))
        if self.duplicates is not None and (self.duplicates.across or self.duplicates.within):
            lines.append(("copies", str(self.duplicates)))
        if self.several_pages:
            lines.append(("pages", pages_in_words(self.several_pages)))
        if not self.decoded:
            found = "unreadable pictures, copies and files of several pages"
            lines.append(("", f"not decoded yet: run, finetune and plan find {found}"))
        return [(head, one_line(line)) for head, line in lines]

    def text(self) -> list[str]:
        """The same as lines of text."""
        return [f"{head:8} {line}" for head, line in self.lines()]

    def _whole(self) -> str:
        names = ", ".join(map(_shown, self.class_names))
        more = self.class_count - len(self.class_names)
        classes = f"{names} and {more:,} more" if more > 0 else names
        sizes = f"each {self.smallest.pictures:,}"
        if self.smallest.pictures != self.largest.pictures:
            sizes = f"smallest {self.smallest}, largest {self.largest}"
        return (
            f"{self.name}: {self.pictures:,} pictures, {self.class_count:,} classes"
            f" ({classes}), {sizes}"
        )

    def _parts(self) -> str:
        groups = groupby(self.parts, key=lambda part: part.origin)
        counted = [
            f"{', '.join(f'{part.name} {part.pictures:,}' for part in parts)} ({origin})"
            for origin, parts in groups
        ]
        return "; ".join(counted + ([f"{self.unused:,} in no part"] if self.unused else []))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DataSummary:
        """What `to_dict` gave, also after it was JSON.

        Raises:
            ValueError: it is something else.
        """
        return TypeAdapter(cls).validate_python(data)

    def after_decoding(
        self,
        parts: Mapping[str, int],
        unreadable: Sequence[str],
        several_pages: int,
        duplicates: DuplicateCounts,
    ) -> DataSummary:
        """The same with what decoding has shown.

        Args:
            parts: pictures that are left of each part.
            unreadable: each file that cannot be read, and why.
            several_pages: how many files have more than one page or frame.
        """
        lost = LeftOut(UNREADABLE, len(unreadable), tuple(unreadable[:_EXAMPLES]))
        return replace(
            self,
            parts=tuple(replace(part, pictures=parts[part.name]) for part in self.parts),
            left_out=(*self.left_out, *([lost] if unreadable else ())),
            decoded=True,
            duplicates=duplicates,
            several_pages=several_pages,
        )


def _shown(name: str) -> str:
    """A class's name in a list: in quotes where it would read as several or as none."""
    shown = one_line(name, NAME)
    return quoted(shown) if "," in shown or shown != shown.strip() or not shown else shown


def pages_in_words(files: int) -> str:
    """How many files have more than one page or frame (TIFF, GIF, WebP, APNG), in a sentence."""
    have = "file has" if files == 1 else "files have"
    return f"{files:,} {have} more than one page or frame; the first one is read"


def _left_out(files: Sequence[LeftOut]) -> str:
    total = sum(one.count for one in files)
    reasons = [
        f"{one.count:,} {one.reason} ({', '.join(one.examples)}"
        f"{', …' if one.count > len(one.examples) else ''})"
        for one in files
    ]
    return f"{total:,} file{'s' * (total != 1)}: {'; '.join(reasons)}"
