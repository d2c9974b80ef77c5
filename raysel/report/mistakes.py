"""Which pictures of the test part the confirmed models take for another class, by name.

Every confirm run of a sweep is tested on the same examples in the same order, so that runs and
strategies can be set side by side, picture by picture. What every run of every strategy gets wrong
has a wrong label most often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raysel.common.errors import OperationalError, UserError
from raysel.common.text import and_more
from raysel.common.user_files import lies_there
from raysel.record.layout import SweepFolder
from raysel.spec.sweep import Spec
from raysel.sweep.confirm_answers import answers_of
from raysel.sweep.ranking import best_run
from raysel.sweep.results import SweepResults
from raysel.sweep.split import digest_of, read_split
from raysel.tasks.datasets import is_pictures, open_pictures
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.image_io import BadImage
from raysel.tasks.split_file import identity, what_changed
from raysel.training.answers import FILE, Answers
from raysel.training.confusion import read_confusion


@dataclass(frozen=True)
class WrongPicture:
    """A picture of the test part that a strategy's runs take for another class.

    Attributes:
        picture: its file; of embedded data their name and the example's number.
        given: the class that the data give it.
        taken: the class that most of the wrong runs take it for.
        wrong, runs: how many of the strategy's runs are wrong, of how many.
        confidence: mean probability of the wrong class in these runs; None of older runs.
        file: whether `picture` is a file, or within one (`photos.zip/elm/1.jpg`).
    """

    picture: str
    given: str
    taken: str
    wrong: int
    runs: int
    confidence: float | None
    file: bool = False


@dataclass(frozen=True)
class Answered:
    """What a model says of one picture of the test part, right or wrong.

    Attributes:
        picture, given, taken, confidence: as of `WrongPicture`, of one run.
        wrong, runs: how many of the strategy's runs are wrong, of how many.
    """

    picture: str
    given: str
    taken: str
    confidence: float | None
    wrong: int
    runs: int


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of one strategy beside another's.

    Attributes:
        strategy: whose they are.
        other: the strategy beside it: what the verdict compares the winner with, the baseline for
            others; None where there is none.
        examples: of the test part.
        worst: what the strategy gets wrong, in most of its runs first, then by confidence.
        only_ours, only_theirs: wrong in most runs of the one and right in most of the other.
        everywhere: wrong in every run of every strategy.
        lost: runs whose answers cannot be read, or are another run's.
        model: what the strategy's best run says of every picture, in their order; of the winner
            the exported model is that run's. Empty where its answers are lost.
        unnamed: why pictures are called by their place; None where they have their names.
        data: the pictures; None of embedded data, and where they are not here.
        places: name of a picture in the lists -> its place in `data`.
    """

    strategy: str
    other: str | None
    examples: int
    worst: tuple[WrongPicture, ...] = ()
    only_ours: tuple[WrongPicture, ...] = ()
    only_theirs: tuple[WrongPicture, ...] = ()
    everywhere: tuple[WrongPicture, ...] = ()
    lost: tuple[str, ...] = ()
    unnamed: str | None = None
    model: tuple[Answered, ...] = field(default=(), repr=False)
    data: ImageDataset | None = field(default=None, repr=False)
    places: Mapping[str, int] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = asdict(replace(self, data=None, places={}))
        return {key: value for key, value in values.items() if key not in ("data", "places")}

    def image(self, row: WrongPicture) -> Image.Image | None:
        """A picture, by the data set's own reader; None where it is not here or cannot be read."""
        place = self.places.get(row.picture)
        if self.data is None or place is None:
            return None
        try:
            return self.data.read(place)
        except (BadImage, OSError):
            return None


def mistakes(
    results: SweepResults, folder: SweepFolder, spec: Spec, strategy: str | None = None
) -> Mistakes:
    """The mistakes of a strategy of a sweep; of its winner if none is named.

    Raises:
        OperationalError: nothing was confirmed, or no answers of its runs can be read.
    """
    name = strategy or results.verdict.winner
    runs = {row.strategy: [run.id for run in row.runs] for row in results.confirm}
    read = answers_of((run for row in results.confirm for run in row.runs), folder.trial)
    answers = {
        arm: [one for run in ids if (one := read[run]) is not None] for arm, ids in runs.items()
    }
    if name is None or not answers.get(name):
        raise OperationalError(folder.name, _why_no_answers(folder, runs.get(name or "", ())))
    verdict = results.verdict
    beside = verdict.against if name == verdict.winner else verdict.baseline
    other = beside if beside != name and answers.get(beside or "") else None
    named = _Named(folder, spec, results, len(answers[name][0].labels))
    ours = _share_wrong(answers[name])
    every = [one for some in answers.values() for one in some]
    whole = np.logical_and.reduce([one.wrong for one in every])
    found = Mistakes(
        strategy=name,
        other=other,
        examples=len(ours),
        worst=named.rows(answers[name], ours > 0),
        everywhere=named.rows(every, whole),
        lost=tuple(run for run, one in read.items() if one is None),
        model=named.answered(read[_best_run(results, name)], answers[name]),
        unnamed=named.unnamed,
        data=named.data,
        places=named.places,
    )
    if other is None:
        return found
    theirs = _share_wrong(answers[other])
    return replace(
        found,
        only_ours=named.rows(answers[name], (ours > 0.5) & (theirs < 0.5)),
        only_theirs=named.rows(answers[other], (theirs > 0.5) & (ours < 0.5)),
    )


def _best_run(results: SweepResults, strategy: str) -> str:
    runs = next(row.runs for row in results.confirm if row.strategy == strategy)
    return best_run(runs, results.objective.metric).id


def _why_no_answers(folder: SweepFolder, runs: Sequence[str]) -> str:
    """Why none of a strategy's runs has answers: none was confirmed, their files are gone, or they
    are from before answers were kept."""
    if not runs:
        return "has no answers: nothing was confirmed"
    if all(read_confusion(folder.trial(run)) is None for run in runs):
        gone = f"the answers of {and_more(runs, 3)} are gone from {folder.trials}"
        return f"{gone}, and no copy of them is kept; a new sweep of its file has them again"
    if damaged := [run for run in runs if lies_there(folder.trial(run) / FILE)]:
        how = f"{FILE} is damaged, or another run's"
        broken = f"the answers of {and_more(damaged, 3)} cannot be used ({how})"
        return f"{broken}, and no copy of them is kept; a new sweep of its file has them again"
    return "has no answers of confirmed models: they are kept since raysel compares pictures"


def _share_wrong(answers: Sequence[Answers]) -> NDArray[np.float64]:
    """[n] share of runs that take each example for another class."""
    result: NDArray[np.float64] = np.mean([one.wrong for one in answers], axis=0)
    return result


class _Named:
    """The names of the test part's pictures and of the classes.

    Attributes:
        unnamed: why a place stands for the name of a picture.
        data: the pictures, where they are here.
        places: name -> place in the data set, of pictures whose places are known.
    """

    def __init__(self, folder: SweepFolder, spec: Spec, results: SweepResults, count: int) -> None:
        split, lost = _split_of(folder, results, count)
        places = None if split is None else [int(place) for place in split["parts"]["test"]]
        self.data, changed = (None, "") if split is None else _pictures(spec, split)
        self._are_files = self.data is not None and self.data.names is not None
        self.unnamed = None
        if is_pictures(spec.task) and (lost or changed):
            again = f"{folder.split} {lost}: {folder.command('reconcile')} writes it again"
            self.unnamed = again if lost else f"the data of {spec.task.name} {changed}"
        self._names = [f"{spec.task.name} {place}" for place in places or range(count)]
        if self._are_files and self.data is not None and places is not None:
            self._names = [self.data.where(place) for place in places]
        self.places = dict(zip(self._names, places or (), strict=False))
        here = None if self.data is None else self.data.classes
        self._classes = _classes(folder, results) or here

    def rows(
        self, answers: Sequence[Answers], chosen: NDArray[np.bool_]
    ) -> tuple[WrongPicture, ...]:
        """The chosen examples, wrong in the most runs first, then by confidence."""
        rows = [self._row(answers, int(index)) for index in np.flatnonzero(chosen)]
        return tuple(sorted(rows, key=lambda row: (-row.wrong / row.runs, -(row.confidence or 0))))

    def answered(self, one: Answers | None, every: Sequence[Answers]) -> tuple[Answered, ...]:
        """What one run says of every example, beside how many of all runs are wrong."""
        if one is None:
            return ()
        wrong = np.sum([other.wrong for other in every], axis=0)
        return tuple(
            Answered(
                picture=self._names[index],
                given=self._class(int(one.labels[index])),
                taken=self._class(int(one.predicted[index])),
                confidence=None if one.confidence is None else float(one.confidence[index]),
                wrong=int(wrong[index]),
                runs=len(every),
            )
            for index in range(len(one.labels))
        )

    def _row(self, answers: Sequence[Answers], index: int) -> WrongPicture:
        wrong = [one for one in answers if one.wrong[index]]
        taken = Counter(int(one.predicted[index]) for one in wrong).most_common(1)[0][0]
        known = [
            float(one.confidence[index])
            for one in wrong
            if one.confidence is not None and one.predicted[index] == taken
        ]
        return WrongPicture(
            picture=self._names[index],
            given=self._class(int(wrong[0].labels[index])),
            taken=self._class(taken),
            wrong=len(wrong),
            runs=len(answers),
            confidence=sum(known) / len(known) if known else None,
            file=self._are_files,
        )

    def _class(self, index: int) -> str:
        return str(index) if self._classes is None else self._classes[index]


def _classes(folder: SweepFolder, results: SweepResults) -> Sequence[str] | None:
    """The names of the classes, of whichever confirm run has them."""
    confusions = (read_confusion(folder.trial(run.id)) for run in results.confirm_runs)
    return next((found[0] for found in confusions if found is not None), None)


def _split_of(
    folder: SweepFolder, results: SweepResults, count: int
) -> tuple[dict[str, Any] | None, str]:
    """The content of the sweep's `split.json`; or None, and what is wrong with it."""
    found = read_split(folder.split)
    try:
        places = [] if isinstance(found, str) else [int(p) for p in found["parts"]["test"]]
    except (ValueError, KeyError, TypeError):
        places = []
    if isinstance(found, str) or not places:
        return None, "cannot be read"
    if len(places) != count:
        tested = f"its test part has {len(places):,} examples, not {count:,}"
        return None, f"is another split's ({tested})"
    if results.split and digest_of(found) != results.split:
        return None, "is another split's"
    return found, ""


def _pictures(spec: Spec, split: Mapping[str, Any]) -> tuple[ImageDataset | None, str]:
    """The pictures of the task; or None, and why: nothing for embedded data."""
    if not is_pictures(spec.task):
        return None, ""
    try:
        data = open_pictures(spec.task)
    except (OSError, UserError, OperationalError):
        return None, "are not here"
    changed = what_changed(split, identity(data.labels, data.classes, data.names))
    if changed is None and max(split["parts"]["test"]) >= len(data):
        changed = f"{len(data)} pictures"  # of an older split, which does not say how many
    return (None, f"have changed since the sweep: {changed}") if changed else (data, "")
