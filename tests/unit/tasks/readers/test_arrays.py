"""MedMNIST's archives and others of the same kind, as NumPy writes them."""

import numpy as np
import pytest

from raysel.common.errors import UserError
from raysel.spec.task import TaskSpec
from raysel.tasks.load_task import load_task
from raysel.tasks.readers.arrays import arrays


def _medmnist(path, shape=(28, 28), width=1, **changes):
    """MedMNIST's keys: pixels [n, h, w] or [n, h, w, 3], labels [n, 1]."""
    rng = np.random.default_rng(0)
    content = {}
    for part, count in (("train", 30), ("val", 10), ("test", 12)):
        content[f"{part}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        content[f"{part}_labels"] = np.tile(np.arange(count)[:, None] % 3, (1, width)).astype(
            np.uint8
        )
    np.savez(path, **(content | changes))
    return path, content


def _refused(path) -> str:
    with pytest.raises(UserError) as caught:
        arrays(path, path.name)
    (problem,) = caught.value.problems
    return problem.message.replace(str(path), "FILE")


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (28, 28, 1)])
def test_medmnists_parts_are_kept_and_grey_becomes_rgb(tmp_path, shape):
    path, content = _medmnist(tmp_path / "bloodmnist.npz", shape)
    data = arrays(path, "bloodmnist.npz")
    counts = dict(zip(*np.unique(data.official_splits, return_counts=True), strict=True))
    assert counts == {"train": 30, "validation": 10, "test": 12}
    assert data.classes == ("0", "1", "2") and data.labels[:4].tolist() == [0, 1, 2, 0]
    first = content["val_images"][0].reshape(28, 28, -1)
    np.testing.assert_array_equal(np.asarray(data.read(30)), np.broadcast_to(first, (28, 28, 3)))


def test_keras_names_are_known_too(tmp_path):
    x, y = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 2
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    data = arrays(tmp_path / "mnist.npz", "mnist")
    assert data.official_splits.tolist() == ["train"] * 6 + ["test"] * 2
    np.savez(tmp_path / "hot.npz", x_train=x, y_train=np.eye(2)[y])
    assert arrays(tmp_path / "hot.npz", "hot").labels.tolist() == y.tolist()
    np.savez(tmp_path / "whole.npz", images=x, labels=y)
    assert arrays(tmp_path / "whole.npz", "whole").official_splits is None


def test_a_task_is_learnt_from_it(tmp_path):
    path, content = _medmnist(tmp_path / "x.npz")
    spec = TaskSpec(data=str(path), image_size=28, duplicates="keep", cache=str(tmp_path / "c"))
    task = load_task(
        spec.model_copy(update={"split": spec.split.model_copy(update={"train": "all"})})
    )
    assert (len(task.train), len(task.validation), len(task.test)) == (30, 10, 12)
    seen = task.train.centres(np.arange(30))[..., 0]
    np.testing.assert_array_equal(seen, content["train_images"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_labels": np.eye(3)[np.arange(30) % 3] * 0}, "FILE: train_labels has 3 labels"),
        ({"width": 14}, "FILE: train_labels has 14 labels a picture; raysel does single-label"),
        ({"shape": (28, 28, 28)}, "FILE: train_images is 30 x 28 x 28 x 28: neither grey nor RGB"),
        (
            {"shape": (3, 32, 32)},
            "FILE: train_images is 30 x 3 x 32 x 32: neither grey nor RGB pictures; their channels"
            " stand first: save train_images.transpose(0, 2, 3, 1)",
        ),
        (
            {"train_labels": np.zeros((30, 28, 28), np.uint8)},
            "FILE: train_labels has masks (segmentation); raysel does single-label classification",
        ),
        (
            {"train_labels": np.linspace(0, 1, 30)},
            "FILE picture 2: label 0.034482758620689655 is a real number, which is a regression",
        ),
        ({"train_labels": np.zeros(29, int)}, "FILE: 29 train_labels and 30 train_images"),
        (
            {"train_images": np.zeros((30, 28, 28), np.float32)},
            "FILE: train_images holds float32, and no bytes (uint8, 0 to 255)",
        ),
        (
            {"val_images": np.zeros((10, 32, 32), np.uint8)},
            "FILE: its parts have pictures of several sizes (28x28, 32x32, 28x28)",
        ),
    ],
)
def test_what_is_not_pictures_with_one_class_each_is_one_line(tmp_path, changes, said):
    assert _refused(_medmnist(tmp_path / "x.npz", **changes)[0]).startswith(said)


def test_other_arrays_pickles_and_damage_are_one_line(tmp_path):
    np.savez(tmp_path / "x.npz", weights=np.zeros(3))
    assert _refused(tmp_path / "x.npz").startswith("FILE holds weights, and not train_images and")
    np.savez(tmp_path / "x.npz", x_train=np.array([{}], object), y_train=np.zeros(1))
    assert "cannot be read" in _refused(tmp_path / "x.npz")
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04")
    assert "cannot be read" in _refused(tmp_path / "x.npz")


def test_numbers_may_be_given_names(tmp_path):
    path, _ = _medmnist(tmp_path / "x.npz")
    data = arrays(path, "x", ("basophil", "eosinophil", "platelet"))
    assert data.classes == ("basophil", "eosinophil", "platelet")
    assert data.labels[:4].tolist() == [0, 1, 2, 0]
    with pytest.raises(UserError, match=r"picture 3: label 2 is outside 0 \.\. 1"):
        arrays(path, "x", ("a", "b"))
