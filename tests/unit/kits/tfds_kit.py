"""A small data set that TensorFlow Datasets wrote, and how it did.

`tests/records/tfds_pond.tar.xz` is `write(folder)` by tensorflow-datasets 4.9.10; the test of
`test_tfds.py` writes it anew where the library is installed.
"""

import tarfile
from pathlib import Path

import numpy as np

RECORDED = Path(__file__).parents[2] / "records" / "tfds_pond.tar.xz"
CLASSES = ("newt", "axolotl")
SITES = ("north", "south", "east")
PARTS = {"train": range(12), "test": range(100, 104)}


def pixels(number: int) -> np.ndarray:
    """[5, 6, 3] of one picture."""
    return np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)


def recorded(folder: Path) -> Path:
    """Unpack the recorded data set; returns its folder."""
    with tarfile.open(RECORDED) as tar:
        tar.extractall(folder, filter="data")
    return folder / "pond" / "1.0.0"


def write(folder: Path, file_format: str = "tfrecord") -> Path:
    """Write the data set by the library itself; returns its folder."""
    import tensorflow_datasets as tfds

    class Pond(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = folder

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=CLASSES),
                "site": tfds.features.Text(),
                "box": tfds.features.BBoxFeature(),
                "depth": np.float32,
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {part: self._generate_examples(numbers) for part, numbers in PARTS.items()}

        def _generate_examples(self, numbers):
            for number in numbers:
                yield (
                    number,
                    {
                        "image": pixels(number),
                        "label": number % 2,
                        "site": SITES[number % 3],
                        "box": tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
                        "depth": number / 2,
                    },
                )

    builder = Pond(data_dir=folder, file_format=file_format)
    builder.download_and_prepare()
    return Path(builder.data_dir)
