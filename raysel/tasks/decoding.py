"""The parts of a data set of pictures, decoded into the node's image cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

import raysel
from raysel.common.errors import UserError, user_error
from raysel.common.locations import user_cache
from raysel.spec.task import Augmentation, Duplicates, ShiftSpec, TaskSpec
from raysel.tasks.augmentation import NEEDS_WHOLE
from raysel.tasks.cached_examples import CachedExamples
from raysel.tasks.data import DrawnSplit, Indices, Labels
from raysel.tasks.data_summary import DataSummary, pages_in_words
from raysel.tasks.draws import SplitIndices
from raysel.tasks.duplicates import DuplicateFinder, find
from raysel.tasks.geometry import Geometry
from raysel.tasks.image_cache import (
    Decode,
    Decoded,
    OtherCache,
    Progress,
    copying,
    find_cache,
    key_of,
    open_cache,
)
from raysel.tasks.image_dataset import ImageDataset, content_of
from raysel.tasks.image_io import SEVERAL_PAGES
from raysel.tasks.model_input import ModelInput
from raysel.tasks.shifts import SHIFTS, shift_labels, shift_pixels
from raysel.tasks.splits import Splits
from raysel.tasks.value_range import ValueRanges

CIFAR_F = "cifar10f"
"""CIFAR-10 whose target labels are flipped."""

TARGET = ("train", "validation", "test")
DRAWN, DRAWN_VALIDATION = "drawn", "drawn validation"
"""Everything that the draws of the confirm phase take, as training and as evaluation see it."""

_SHOWN = 5  # unreadable pictures named in a message

Reopen = Callable[[TaskSpec], ImageDataset]
"""Opens the data set again, on another node."""


@dataclass(frozen=True)
class DecodedParts:
    """The parts as trials get them, and what decoding has shown.

    Attributes:
        parts: by name; those that are empty from the start are not in it.
        unreadable: part, index, file and reason of every picture that cannot be read.
        several_pages: files of more than one page or frame, of which the first is read.
        finder: the pictures that are in several places.
        dropped: part, index and file of every copy that was left out.
    """

    parts: Mapping[str, CachedExamples]
    unreadable: Sequence[Mapping[str, object]]
    several_pages: Sequence[str]
    finder: DuplicateFinder
    policy: Duplicates
    dropped: Sequence[Mapping[str, object]]
    notes: tuple[str, ...]

    def summary(self, before: DataSummary) -> DataSummary:
        """`before` with what decoding has shown."""
        messages = [f"{bad['file']} {bad['reason']}" for bad in self.unreadable]
        sizes = {name.replace("_", " "): len(part) for name, part in self.parts.items()}
        counts = self.finder.counts(self.policy)
        return before.after_decoding(sizes, messages, len(self.several_pages), counts)


class PartDecoder:
    """Decodes the parts of a data set, each picture once a node.

    Args:
        model: what the model expects of a picture, at the task's size.
        splits: the parts.
        with_source: whether the source's parts are needed.
        reopen: opens the data set again on another node; it is pickled.
        progress: called with the number of decoded pictures of a part.
        source_augmentation: of the source's training part; as the task's, if nothing is given.
    """

    def __init__(
        self,
        spec: TaskSpec,
        model: ModelInput,
        pictures: ImageDataset,
        splits: Splits,
        with_source: bool,
        reopen: Reopen,
        progress: Progress | None = None,
        source_augmentation: Augmentation | None = None,
    ) -> None:
        self._source_augmentation = source_augmentation or spec.augmentation
        self._spec, self._model, self._reopen = spec, model, reopen
        self._pictures, self._progress = pictures, progress
        self._splits = {
            name: indices
            for name, indices in vars(splits).items()
            if len(indices) and (with_source or name in TARGET)
        }
        self._unreadable: list[dict[str, object]] = []
        self._several_pages: list[str] = []
        self._contents: dict[str, NDArray[np.uint8]] = {}
        self._decoded: dict[str, tuple[Indices, Geometry, ShiftSpec | None]] = {}

    def is_decoded(self) -> bool:
        """Whether this node has every part already, so that `decode` reads no picture."""
        cache = cache_folder(self._spec)
        return all(
            find_cache(cache, self._key(name, indices)) is not None
            for name, indices in self._splits.items()
        )

    def decode(self) -> DecodedParts:
        """Every part, decoded here if it was not before.

        Raises:
            UserError: too many pictures cannot be read, copies are refused, or a part lacks a
                class once both are left out.
        """
        self._unreadable, self._several_pages = [], []
        self._contents = contents = dict[str, NDArray[np.uint8]]()
        parts: dict[str, CachedExamples] = {}
        for name, indices in self._splits.items():
            parts[name], contents[name] = self._part(name, indices)
        self._refuse_too_many()
        pictures = self._pictures
        finder = find(
            {name: part.indices for name, part in parts.items()},
            lambda part, row: contents[part][row].tobytes(),
            pictures.labels,
            pictures.classes,
            pictures.where,
        )
        policy = self._spec.duplicates_policy
        if policy == "error" and (problems := finder.problems()):
            raise UserError(*problems)
        dropped = finder.dropped() if policy == "drop" else {}
        parts = {name: _without(part, dropped.get(name, set())) for name, part in parts.items()}
        self._refuse_lost_classes(parts, dropped)
        counts = finder.counts(policy)
        copies = (f"copies of one picture: {counts}",) if finder.groups else ()
        return DecodedParts(
            parts=parts,
            unreadable=self._unreadable,
            several_pages=self._several_pages,
            finder=finder,
            policy=policy,
            dropped=[
                {"part": name, "index": index, "file": pictures.where(index)}
                for name, indices in dropped.items()
                for index in sorted(indices)
            ],
            notes=(*self._unreadable_note(), *self._pages_note(), *copies),
        )

    def decode_draws(self, draws: Sequence[SplitIndices]) -> tuple[DrawnSplit, ...]:
        """The parts of each draw, to be called after `decode`; a picture that several take, or a
        part of the search, is decoded once.

        Pictures that cannot be read are left out, and so is every further copy of one picture and
        every copy of a test picture, which may lie in training and validation part of one draw.
        """
        everything = np.unique(np.concatenate([np.r_[d.train, d.validation] for d in draws]))
        training, contents = self._part(DRAWN, everything)
        seen = {row.tobytes() for row in self._contents.get("test", ())}
        training = training.only(_first_copies(contents, seen))
        evaluation = replace(training, augmentation="none", auto_augment="none")
        if training.geometry != self._geometry(DRAWN_VALIDATION):
            evaluation, _ = self._part(DRAWN_VALIDATION, everything)
        known = partial(np.intersect1d, training.indices)
        return tuple(
            DrawnSplit(_of(training, d.train), _of(evaluation, known(d.validation))) for d in draws
        )

    def _augmentation(self, name: str) -> Augmentation:
        if not _is_trained_on(name):
            return "none"
        return self._spec.augmentation if _is_target(name) else self._source_augmentation

    def _geometry(self, name: str) -> Geometry:
        whole = self._augmentation(name) in NEEDS_WHOLE
        return Geometry(self._model, whole)

    def _shift(self, name: str) -> ShiftSpec | None:
        return image_shift(self._spec, self._pictures) if _is_target(name) else None

    def _key(self, name: str, indices: Indices) -> str:
        seed = self._spec.split.seed
        return _key(self._pictures, indices, self._geometry(name), self._shift(name), seed)

    def _part(self, name: str, indices: Indices) -> tuple[CachedExamples, NDArray[np.uint8]]:
        """The examples of a part without those that cannot be read, and each one's content."""
        spec, pictures, seed = self._spec, self._pictures, self._spec.split.seed
        geometry, shift, cache = self._geometry(name), self._shift(name), cache_folder(spec)
        key = self._key(name, indices)
        alike = [(k, i) for k, (i, *same) in self._decoded.items() if same == [geometry, shift]]
        how = (geometry, shift, pictures.ranges, alike)
        decode = _decoder(pictures, indices, geometry, shift, seed)
        decode = copying(decode, indices, cache, alike)
        found = open_cache(cache, key, len(indices), decode, self._progress)
        self._decoded[key] = (indices, geometry, shift)
        lost = dict(found.bad)
        for row, reason in lost.items():
            index = int(indices[row])
            where = pictures.where(index)
            self._unreadable.append({"part": name, "index": index, "file": where, "reason": reason})
        self._several_pages += [pictures.where(int(indices[row])) for row in found.several_pages]
        rows = np.array([row for row in range(len(indices)) if row not in lost], np.int64)
        labels = pictures.labels[indices[rows]]
        examples = CachedExamples(
            cache=cache,
            key=key,
            sha256=found.sha256,
            make_decoder=partial(_reopened_decoder, self._reopen, spec, indices, *how),
            count=len(indices),
            rows=rows,
            indices=indices[rows],
            labels=_target_labels(spec, labels, indices[rows], pictures, name),
            geometry=geometry,
            augmentation=self._augmentation(name),
            auto_augment=spec.auto_augment if name in ("train", DRAWN) else "none",
            groups=pictures.groups and pictures.groups.only(indices[rows]),
        )
        return examples, found.contents[rows]

    @property
    def _count(self) -> int:
        return sum(map(len, self._splits.values()))

    def _refuse_too_many(self) -> None:
        """Stop before training where too many pictures cannot be read."""
        allowed, bad = self._spec.max_unreadable_fraction, len(self._unreadable)
        if bad <= allowed * self._count:
            return
        raise user_error(
            "task.data",
            f"{bad} of {self._count} pictures cannot be read ({bad / self._count:.1%}, more than"
            f" task.max_unreadable_fraction: {allowed:g}): {self._unreadable_examples()}",
        )

    def _refuse_lost_classes(
        self, parts: Mapping[str, CachedExamples], dropped: Mapping[str, set[int]]
    ) -> None:
        """Stop where a part lacks a class, or every picture, once some are left out."""
        for name, part in parts.items():
            if name not in TARGET or len(part) == len(self._splits[name]):
                continue
            labels = self._pictures.labels[part.indices]
            counts = np.bincount(labels, minlength=len(self._pictures.classes))
            if (counts > 0).all() or (name == "test" and len(part)):
                continue
            lost = self._pictures.classes[int(np.argmin(counts))]
            message = f'no picture of class "{lost}" can be read: {self._unreadable_examples()}'
            if dropped.get(name):
                message = f'no picture of class "{lost}" is left once its copies are dropped'
            raise user_error(f"task.split.{name}", message)

    def _unreadable_note(self) -> Sequence[str]:
        """The pictures that cannot be read, in a line."""
        bad = len(self._unreadable)
        if not bad:
            return ()
        count = f"{bad} of {self._count} pictures cannot be read and are left out"
        return (f"{count}: {self._unreadable_examples()}",)

    def _pages_note(self) -> Sequence[str]:
        files = self._several_pages
        if not files:
            return ()
        more = ", …" if len(files) > _SHOWN else ""
        return (f"{pages_in_words(len(files))} ({', '.join(files[:_SHOWN])}{more})",)

    def _unreadable_examples(self) -> str:
        bad = self._unreadable
        shown = "; ".join(f"{one['file']} {one['reason']}" for one in bad[:_SHOWN])
        more = len(bad) - _SHOWN
        return shown if more <= 0 else f"{shown}; and {more} more"


def _is_trained_on(part: str) -> bool:
    return part in ("train", "source_train", DRAWN)


def _is_target(part: str) -> bool:
    return part in (*TARGET, DRAWN, DRAWN_VALIDATION)


def _of(part: CachedExamples, indices: Indices) -> CachedExamples:
    """The examples of a part that have these places in the data set."""
    return part.only(np.flatnonzero(np.isin(part.indices, indices)))


def _first_copies(contents: NDArray[np.uint8], seen: set[bytes]) -> Indices:
    """Rows whose content is neither in `seen` nor in an earlier row."""
    fresh = []
    for row, content in enumerate(map(bytes, contents)):
        if content not in seen:
            seen.add(content)
            fresh.append(row)
    return np.array(fresh, np.int64)


def _without(part: CachedExamples, indices: set[int]) -> CachedExamples:
    """The examples of a part without those of some indices."""
    if not indices:
        return part
    return part.only(np.flatnonzero(~np.isin(part.indices, sorted(indices))))


def image_shift(spec: TaskSpec, pictures: ImageDataset) -> ShiftSpec | None:
    """The shift that the target's pictures still need; None if it leaves pixels as they are."""
    if pictures.shifted or spec.data == CIFAR_F:
        return None
    return spec.shift if SHIFTS[spec.shift.kind].of_image is not None else None


def _target_labels(
    spec: TaskSpec, labels: Labels, indices: Indices, pictures: ImageDataset, name: str
) -> Labels:
    shift = spec.shift
    if spec.data == CIFAR_F:
        shift = ShiftSpec(kind="label_flip")
    if not _is_target(name) or pictures.shifted or SHIFTS[shift.kind].of_label is None:
        return labels
    return shift_labels(labels, indices, shift, spec.split.seed, len(pictures.classes))


def _decoder(
    pictures: ImageDataset, indices: Indices, geometry: Geometry, shift: ShiftSpec | None, seed: int
) -> Decode:
    def decode(row: int) -> Decoded:
        index = int(indices[row])
        picture = pictures.read(index)
        content, more = content_of(picture), SEVERAL_PAGES in picture.info
        if shift is None:
            return Decoded(geometry.stored(picture), content, more)
        # put on the kept pixels and rounded to 8 bits, as CIFAR-10-C was made; a shift is of
        # pixels, so those of all parts have one size
        pixels = shift_pixels(geometry.at_size(picture), index, shift, seed, geometry.input.size)
        return Decoded(pixels, content, more)

    return decode


def _reopened_decoder(
    reopen: Reopen,
    spec: TaskSpec,
    indices: Indices,
    geometry: Geometry,
    shift: ShiftSpec | None,
    ranges: ValueRanges,
    alike: Sequence[OtherCache],
) -> Decode:
    """`_decoder` on another node, from that node's copy of the data set."""
    pictures = replace(reopen(spec), ranges=ranges)
    decode = _decoder(pictures, indices, geometry, shift, spec.split.seed)
    return copying(decode, indices, cache_folder(spec), alike)


def _key(
    pictures: ImageDataset, indices: Indices, geometry: Geometry, shift: ShiftSpec | None, seed: int
) -> str:
    facts = {
        "geometry": asdict(geometry),
        "shift": None
        if shift is None
        else [shift.model_dump(mode="json"), seed, geometry.input.size],
        "ranges": pictures.ranges.to_json(),
        "versions": [raysel.__version__, PIL.__version__],
    }
    places = [(int(index) if shift else None) for index in indices]
    prints = (
        (place, *pictures.fingerprint(int(i))) for place, i in zip(places, indices, strict=True)
    )
    return key_of(facts, prints)


def cache_folder(spec: TaskSpec) -> Path:
    """Where the image caches of a node are: `task.cache`, or below the user's cache folder."""
    if spec.cache is not None:
        return Path(spec.cache).absolute()
    return user_cache() / "images"
