"""Class folders in zip and tar archives, and webdataset's samples, read where they lie."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pictures_kit as kit
import pytest
from PIL import Image

from raysel.common.errors import UserError
from raysel.spec.data_choice import FileData, FolderData
from raysel.spec.task import TaskSpec
from raysel.tasks.load_task import load_task
from raysel.tasks.opened_task import absolute, open_task
from raysel.tasks.readers.archive import archives
from raysel.tasks.stored_images import ZipMember


def _png(seed: int = 0, size: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(kit.pixels(seed, size, size)).save(file, "png")
    return file.getvalue()


def _archive(path: Path, files: dict[str, bytes]) -> Path:
    """A zip or tar with these members, in this order."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, content in files.items():
                opened.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _read(path: Path, files: dict[str, bytes]):
    return archives([_archive(path, files)], path.name)


def _refused(path: Path, files: dict[str, bytes]) -> str:
    with pytest.raises(UserError) as caught:
        _read(path, files)
    (problem,) = caught.value.problems
    return problem.message.replace(str(path), "FILE")


both = pytest.mark.parametrize("ending", [".zip", ".tar"])
FOLDERS = {f"{name}/{n}.png": _png(10 * i + n) for i, name in enumerate("ab") for n in range(2)}
MANY = {f"{name}/{n}.png": _png(100 + 50 * i + n) for i, name in enumerate("ab") for n in range(10)}
ALL = {"train": 0.6, "validation": 0.2, "test": 0.2}


@both
def test_class_folders_are_those_of_the_archive(tmp_path, ending):
    data = _read(tmp_path / f"photos{ending}", FOLDERS)
    assert data.classes == ("a", "b") and data.labels.tolist() == [0, 0, 1, 1]
    assert data.official_splits is None and data.name == f"photos{ending}"
    assert data.where(2) == f"{tmp_path}/photos{ending}/b/0.png"
    for index, seed in enumerate((0, 1, 10, 11)):
        np.testing.assert_array_equal(np.asarray(data.read(index)), kit.pixels(seed, 8, 8))


@both
def test_a_common_folder_hidden_files_and_a_systems_are_left_out(tmp_path, ending):
    files = {f"photos/{name}": content for name, content in FOLDERS.items()}
    files |= {"__MACOSX/photos/a/._0.png": b"x", "photos/README.txt": b"x", "photos/a/.x.png": b"x"}
    data = _read(tmp_path / f"photos{ending}", files)
    assert data.classes == ("a", "b") and len(data) == 4
    assert sum(left.count for left in data.left_out) == 3


@both
def test_folders_above_the_classes_are_parts(tmp_path, ending):
    files = {f"set/train/{name}": content for name, content in FOLDERS.items()}
    files |= {"set/val/b/9.png": _png(99), "set/test/a/8.png": _png(98)}
    data = _read(tmp_path / f"photos{ending}", files)
    assert data.official_splits.tolist() == ["train"] * 4 + ["test", "validation"]
    assert data.labels.tolist() == [0, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "FILE is empty"),
        ({"../a/1.png": b"x", "../b/1.png": b"x"}, "FILE holds no picture but 2 files hidden (the"),
        ({"a/x.txt": b"x"}, 'FILE holds no picture but 1 file ".txt"'),
        ({"a/1.png": b"x", "a/2.png": b"x"}, 'FILE has one class alone, "a"'),
        (
            {"train/a/1.png": b"", "train/b/1.png": b"", "other/c/1.png": b""},
            'FILE holds the parts "train" beside "other": a part, or a class?',
        ),
        (
            {"train/a/1.png": b"", "train/b/1.png": b"", "val/c/1.png": b""},
            'FILE: "c" is in another part and not in the training part',
        ),
        (
            {"a/x/1.png": b"", "a/y/1.png": b"", "b/1.png": b""},
            'FILE: class "a" holds 2 folders of pictures, "x", "y"; unpack it',
        ),
        (
            {"images/1.png": b"", "masks/1.png": b""},
            "raysel does single-label classification only",
        ),
    ],
)
@both
def test_what_is_no_class_folder_is_one_line(tmp_path, ending, files, said):
    assert said in _refused(tmp_path / f"photos{ending}", files)


def test_a_compressed_a_damaged_and_an_encrypted_archive_are_one_line(tmp_path):
    packed = tmp_path / "photos.tar"
    _archive(tmp_path / "x.tar.gz", FOLDERS).rename(packed)
    with pytest.raises(UserError, match="is compressed: pictures are read by their places"):
        archives([packed], "x")
    (tmp_path / "y.zip").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(UserError, match=r"y\.zip cannot be read: "):
        archives([tmp_path / "y.zip"], "y")
    locked = bytearray(_archive(tmp_path / "z.zip", FOLDERS).read_bytes())
    place = locked.index(b"PK\x01\x02")
    locked[place + 8] |= 1  # of the first entry of the directory
    (tmp_path / "z.zip").write_bytes(locked)
    with pytest.raises(UserError, match=r"z\.zip is encrypted; unpack it"):
        archives([tmp_path / "z.zip"], "z")


@both
def test_a_task_is_learnt_from_an_archive_as_from_its_folder(tmp_path, ending):
    kit.folder(tmp_path / "photos")
    files = {
        str(path.relative_to(tmp_path / "photos")): path.read_bytes()
        for path in sorted((tmp_path / "photos").rglob("*.png"))
    }
    packed = _archive(tmp_path / f"photos{ending}", files)
    tasks = [
        load_task(kit.task(data, tmp_path))
        for data in ({"folder": str(tmp_path / "photos")}, {"file": str(packed)})
    ]
    loose, within = (task.train for task in tasks)
    assert loose.labels.tolist() == within.labels.tolist()
    everything = np.arange(len(loose))
    np.testing.assert_array_equal(loose.centres(everything), within.centres(everything))


def test_a_damaged_member_is_an_unreadable_picture_with_its_name(tmp_path):
    files = MANY | {"a/broken.png": _png()[:40], "b/empty.png": b""}
    spec = kit.task({"file": str(_archive(tmp_path / "p.tar", files))}, tmp_path, split=ALL)
    with pytest.raises(UserError, match="2 of 22 pictures cannot be read") as caught:
        load_task(spec)
    assert f"{tmp_path}/p.tar/a/broken.png is not an image" in str(caught.value)
    assert f"{tmp_path}/p.tar/b/empty.png is empty (0 bytes)" in str(caught.value)


def test_a_member_of_a_changed_archive_has_another_fingerprint(tmp_path):
    member = ZipMember(_archive(tmp_path / "p.zip", FOLDERS), "a/0.png")
    before = member.fingerprint()
    _archive(tmp_path / "p.zip", FOLDERS | {"b/7.png": _png(7)})
    assert member.fingerprint() != before and member.read_bytes() == _png(0)


def test_deep_pictures_of_an_archive_are_scaled_by_their_range(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(file, "png")
    plain, deep = (
        kit.task({"file": str(_archive(tmp_path / name, files))}, tmp_path, split=ALL)
        for name, files in (("p.zip", MANY), ("q.zip", MANY | {"a/deep.png": file.getvalue()}))
    )
    assert load_task(plain).ranges.notes() == ()
    assert "4095" in " ".join(load_task(deep).ranges.notes())


# --- the grammar ---------------------------------------------------------------------------------


def test_a_path_alone_is_read_by_its_ending():
    assert TaskSpec(data="photos.zip").data == FileData(file="photos.zip")
    assert TaskSpec(data="a/train-*.parquet").data == FileData(file="a/train-*.parquet")
    assert TaskSpec(data="photos/roses").data == FolderData(folder="photos/roses")
    assert TaskSpec(data="labels.csv").data.csv == "labels.csv"
    assert TaskSpec(data="digits").data == "digits"


def test_pictures_of_ones_own_start_from_pretrained_weights_and_refuse_copies():
    spec = TaskSpec(data="photos.zip")
    assert (spec.default_weights, spec.duplicates_policy) == ("pretrained", "error")
    assert Path(absolute(spec).data.file).is_absolute() and spec.name == "photos.zip"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("none.zip", "there is no file"),
        ("folder", "is a folder; a folder is given as task.data: {folder: "),
        ("x.rar", "is none of .zip, .tar, .parquet, .npz (archives: unpack them)"),
        ("none-*.parquet", "there is no file"),
        ("{p,x}.r[a]r", "there is no file"),
    ],
)
def test_what_is_no_file_of_pictures_is_one_line(tmp_path, file, said):
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    task = open_task(TaskSpec(data={"file": str(tmp_path / file)}))
    (line,) = [*map(str, task.problems)] or [task.missing]
    assert said in line


def test_class_folders_have_names_already(tmp_path):
    path = _archive(tmp_path / "p.zip", FOLDERS)
    task = open_task(TaskSpec(data={"file": str(path), "classes": ["x", "y"]}))
    assert list(map(str, task.problems)) == [
        f"task.data.classes: {path} holds class folders, which have names; leave it out"
    ]


def test_columns_are_for_parquet_alone(tmp_path):
    path = _archive(tmp_path / "p.zip", FOLDERS)
    task = open_task(TaskSpec(data={"file": str(path), "label_column": "y"}))
    assert list(map(str, task.problems)) == [
        "task.data.label_column: .zip has no columns; leave it out"
    ]


# --- links and repeated names --------------------------------------------------------------------


def test_a_link_in_a_tar_is_the_file_that_it_leads_to(tmp_path):
    """A class of links alone would be missing without a word."""
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in ({f".pool/{n}.png": _png(n) for n in range(2)} | FOLDERS).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, kind, target in (
            ("owl/0.png", tarfile.SYMTYPE, "../.pool/0.png"),
            ("owl/1.png", tarfile.LNKTYPE, ".pool/1.png"),
            ("owl/2.png", tarfile.SYMTYPE, "../elsewhere/2.png"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    found = archives([path], "links")
    assert found.classes == ("a", "b", "owl")
    owls = [source for source in found.sources if "owl" in str(source)]
    assert [owl.read_bytes() for owl in owls] == [_png(0), _png(1)]
    (lost,) = [left for left in found.left_out if "link to no file" in left.reason]
    assert lost.examples == ("links.tar/owl/2.png",)


@both
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_members_of_one_name_the_last_counts_and_the_other_is_left_out(tmp_path, ending):
    """`tar -r` and `zip` add a corrected picture and leave the old one in the archive."""
    path = _archive(tmp_path / f"twice{ending}", FOLDERS)
    better = _png(999)
    if ending == ".zip":
        with zipfile.ZipFile(path, "a") as opened:
            opened.writestr("a/0.png", better)
    else:
        with tarfile.open(path, "a") as tar:
            info = tarfile.TarInfo("a/0.png")
            info.size = len(better)
            tar.addfile(info, io.BytesIO(better))
    found = archives([path], "twice")
    assert [str(source)[len(str(path)) + 1 :] for source in found.sources] == sorted(FOLDERS)
    assert found.sources[0].read_bytes() == better
    assert [(left.reason, left.count) for left in found.left_out] == [
        ("an earlier member of the same name", 1)
    ]
