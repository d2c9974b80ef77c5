"""Coloured digits: a class that a colour gives away in the source, and in the target does not.

scikit-learn's digits in two classes, `0 to 4` and `5 to 9`, each red (the first channel) or green
(the second), as in Coloured MNIST (Arjovsky et al. 2019, "Invariant risk minimization"), whose
labels are noisy where these are not. In the source's 900 digits the colour is the class's own, red
of the lower digits, in a stated share of each class; in the target's 897 both colours are alike
often in each class. The four groups are class and colour: a model that goes by the colour has a
worst-group error near 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raysel.tasks.data import Dataset, Images, Indices
from raysel.tasks.groups import groups_of
from raysel.tasks.readers.embedded_digits import enlarged, grey_digits

CLASSES = ("0 to 4", "5 to 9")
COLOURS = ("red", "green")

_SEEDS = (0, 1797)  # not those of a split, whose parts would begin with the agreeing digits
_SOURCE = 900


def coloured_digits(cue: float) -> Dataset:
    """Images [3, 16, 16]: red, green, and a blue channel of zeros.

    Which digits are the source's does not depend on the cue, and a stronger cue changes colours of
    the source alone: those that have their class's colour keep it.

    Args:
        cue: share of each class of the source that has the class's colour, 0.5 to 1.
    """
    grey, digits = grey_digits()
    labels = (digits > 4).astype(np.int64)
    order = np.random.default_rng(_SEEDS).permutation(len(labels))
    source, target = order[:_SOURCE], order[_SOURCE:]
    colours = np.empty_like(labels)
    for label in (0, 1):
        for part, share in ((source, cue), (target, 0.5)):
            own = part[labels[part] == label]
            agreeing = np.arange(len(own)) < round(share * len(own))
            colours[own] = np.where(agreeing, label, 1 - label)
    small = np.zeros((len(labels), 3, *grey.shape[1:]), np.float32)
    small[np.arange(len(labels)), colours] = grey
    pools = np.full(len(labels), "train", dtype="<U6")
    pools[source] = "source"

    def load_images(indices: Indices) -> Images:
        return enlarged(small[indices])

    height, width = enlarged(small[:1]).shape[2:]
    return Dataset(
        classes=CLASSES,
        labels=labels,
        channels=3,
        image_size=(height, width),
        load_images=load_images,
        official_splits=pools,
        groups=groups_of({"class": _named(CLASSES, labels), "colour": _named(COLOURS, colours)}),
    )


def _named(names: tuple[str, ...], numbers: NDArray[np.int64]) -> list[str]:
    return [names[number] for number in numbers]
