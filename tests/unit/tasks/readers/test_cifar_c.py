import numpy as np
import pictures_kit as kit
import pytest

from raysel.common.errors import UserError
from raysel.tasks.readers.cifar_c import CORRUPTIONS, cifar10c


def _reported(*arguments) -> str:
    with pytest.raises(UserError) as caught:
        cifar10c(*arguments)
    (problem,) = caught.value.problems
    return str(problem)


def test_a_severity_is_a_fifth_of_the_rows(tmp_path):
    kit.cifar10c(tmp_path, ("fog",), each=40)
    rows = np.load(tmp_path / "CIFAR-10-C" / "fog.npy")
    for severity in (1, 5):
        pictures = cifar10c(tmp_path, "fog", severity, 0)
        assert len(pictures) == 40
        for place in (0, 39):
            wanted = rows[40 * (severity - 1) + place]
            np.testing.assert_array_equal(np.asarray(pictures.read(place)), wanted)
    assert pictures.shifted
    assert pictures.labels.tolist() == [n % 10 for n in range(40)]


def test_the_clean_training_pictures_are_the_source_where_they_are_there(tmp_path, monkeypatch):
    kit.without_checksums(monkeypatch)
    kit.counted(monkeypatch, "cifar10", 10, 100, 20)
    kit.cifar10c(tmp_path, ("fog",), each=40)
    assert cifar10c(tmp_path, "fog", 5, 0).official_splits is None
    kit.cifar10(tmp_path, each_batch=20)
    pictures = cifar10c(tmp_path, "fog", 5, 0)
    assert pictures.official_splits is not None
    assert pictures.official_splits.tolist() == ["train"] * 40 + ["source"] * 100
    first = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8)[0]
    np.testing.assert_array_equal(
        np.asarray(pictures.read(40)), first.reshape(3, 32, 32).transpose(1, 2, 0)
    )


def test_there_are_the_14_corruptions_of_the_papers_among_the_19():
    papers = (
        *("frost", "gaussian_blur", "gaussian_noise", "glass_blur", "impulse_noise"),
        *("jpeg_compression", "motion_blur", "pixelate", "saturate", "shot_noise", "snow"),
        *("spatter", "speckle_noise", "zoom_blur"),
    )
    assert len(CORRUPTIONS) == 19
    assert set(papers) < set(CORRUPTIONS)


def test_missing_files_are_one_line_that_says_where_to_get_them(tmp_path):
    reported = _reported(tmp_path, "fog", 5, 0)
    assert reported == (
        f"task.data: cifar10c is not in {tmp_path}/ (expected {tmp_path}/CIFAR-10-C/labels.npy)."
        " Get CIFAR-10-C.tar (2.9 GB) from https://zenodo.org/records/2535967 and unpack it in"
        f" {tmp_path}/"
    )
    kit.cifar10c(tmp_path, ("fog",))
    assert f"(expected {tmp_path}/CIFAR-10-C/snow.npy)" in _reported(tmp_path, "snow", 5, 0)


def test_an_unknown_corruption_is_reported_with_the_nearest(tmp_path):
    assert _reported(tmp_path, "frst", 5, 0) == (
        'task.shift.kind: cifar10c has no corruption "frst"; did you mean "frost"?'
    )


def test_an_array_of_another_kind_is_refused(tmp_path):
    kit.cifar10c(tmp_path, ("fog",), each=10)
    folder = tmp_path / "CIFAR-10-C"
    np.save(folder / "fog.npy", np.zeros((50, 32, 32, 3), np.float32))
    assert "fog.npy must be uint8 [n, h, w, 3], not float32 [50, 32, 32, 3]" in _reported(
        tmp_path, "fog", 5, 0
    )
    np.save(folder / "fog.npy", np.zeros((45, 32, 32, 3), np.uint8))
    assert "45 pictures and [50] labels are not five severities" in _reported(tmp_path, "fog", 5, 0)
    for content in (b"nothing", b""):
        (folder / "fog.npy").write_bytes(content)
        assert "is not a NumPy array" in _reported(tmp_path, "fog", 5, 0)


def test_an_array_that_would_run_code_is_not_loaded(tmp_path):
    kit.cifar10c(tmp_path, ("fog",), each=10)
    objects = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "CIFAR-10-C" / "fog.npy", objects, allow_pickle=True)
    assert "is not a NumPy array" in _reported(tmp_path, "fog", 5, 0)


def test_a_label_outside_the_range_is_reported(tmp_path):
    kit.cifar10c(tmp_path, ("fog",), each=40)
    labels = np.tile(np.arange(40) % 10, 5).astype(np.uint8)
    labels[-1] = 10
    np.save(tmp_path / "CIFAR-10-C" / "labels.npy", labels)
    assert "label 10 of cifar10c[39] is outside 0 .. 9" in _reported(tmp_path, "fog", 5, 0)
