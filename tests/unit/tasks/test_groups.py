"""Groups of a table, in every part, and the tables that are known by their heads."""

import numpy as np
import pictures_kit as kit
import pytest
from table_kit import table

from raysel.common.errors import UserError
from raysel.spec.task import TaskSpec
from raysel.tasks.groups import groups_of
from raysel.tasks.load_task import load_task
from raysel.tasks.opened_task import open_task
from raysel.tasks.readers.table import TableOptions, picture_table


def test_groups_are_the_combinations_that_occur():
    groups = groups_of({"y": ["a", "b", "a", "a"], "place": ["x", "x", "z", "x"]})
    assert groups.names == ("a, x", "a, z", "b, x")
    assert groups.numbers.tolist() == [0, 2, 1, 0]
    assert groups.counts() == {"a, x": 2, "a, z": 1, "b, x": 1}


def test_a_groups_error_is_its_share_of_wrong_examples_and_empty_groups_have_none():
    groups = groups_of({"place": ["x", "x", "y", "z"]}).only(np.array([0, 1, 2]))
    assert groups.errors(np.array([True, False, False])) == {"x": 0.5, "y": 0.0}


def _spec(root, **data):
    return TaskSpec(
        data={"csv": str(root / "table.csv"), **data},
        split={"train": 8, "validation": 4, "test": 4},
        image_size=8,
        cache=str(root / "cache"),
    )


@pytest.fixture
def grouped(tmp_path):
    """Two classes on two backgrounds, five pictures each, in a table."""
    rows = ["file,label,background,camera"]
    for number in range(20):
        kit.picture(tmp_path / f"{number:02d}.png", number, 8, 8)
        rows.append(f"{number:02d}.png,{'ab'[number % 2]},{'xy'[number // 10]},{number}")
    (tmp_path / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def test_every_part_has_the_groups_of_its_own_pictures(grouped):
    task = load_task(_spec(grouped, group_column=["label", "background"]))
    with task.test.opened() as test:
        for part in (task.train, task.validation, test):
            names = [part.groups.names[number] for number in part.groups.numbers]
            assert names == [f"{'ab'[i % 2]}, {'xy'[i // 10]}" for i in part.indices]


def test_what_was_read_says_the_groups(grouped):
    task = open_task(_spec(grouped, group_column="background"))
    lines = dict(task.summary().lines())
    assert lines["groups"].startswith("2 by background; in train smallest ")
    assert task.has_groups() and not open_task(_spec(grouped)).has_groups()
    assert any("background" in note for note in open_task(_spec(grouped)).notes())
    assert not any("background" in note for note in task.notes())


def test_a_part_without_a_group_is_said(grouped):
    task = open_task(_spec(grouped, group_column="camera"))
    assert "; validation has none of " in dict(task.summary().lines())["groups"]


@pytest.mark.parametrize(
    ("column", "rows", "said"),
    [
        ("place", "a,x,p\nb,y,q\n", 'has no column "place"; did you mean "label"?'),
        ("spot", "a,x,p\nb,y,p\n", "spot has the one value p; groups need two"),
        ("spot", "a,x,p\nb,y,\n", 'line 3: "spot" is empty: no group'),
        (
            "spot",
            "".join(f"a{n},{'xy'[n % 2]},{n}\n" for n in range(1001)),
            "spot has 1,001 values in 1,001 rows; a group is a value that many pictures share",
        ),
    ],
)
def test_what_is_no_group_is_one_line(tmp_path, column, rows, said):
    with pytest.raises(UserError) as caught:
        table(tmp_path, f"file,label,spot\n{rows}", group_columns=(column,))
    (found,) = caught.value.problems
    assert said in str(found)


def _published(tmp_path, text, files, name="metadata.csv", **options):
    for file in files:
        kit.picture(tmp_path / file, hash(file) % 1000, 8, 8)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return picture_table(tmp_path / name, tmp_path, TableOptions(**options))


WATERBIRDS = """\
img_id,img_filename,y,split,place,place_filename
1,001.Albatross/a.jpg,1,0,1,/o/ocean/1.jpg
2,001.Albatross/b.jpg,1,1,0,/b/forest/2.jpg
3,002.Wren/c.jpg,0,0,0,/b/forest/3.jpg
4,002.Wren/d.jpg,0,2,1,/o/ocean/4.jpg
"""


def test_waterbirds_table_is_known_by_its_head(tmp_path):
    files = ["001.Albatross/a.jpg", "001.Albatross/b.jpg", "002.Wren/c.jpg", "002.Wren/d.jpg"]
    data = _published(tmp_path, WATERBIRDS, files)
    assert data.classes == ("landbird", "waterbird") and data.labels.tolist() == [1, 1, 0, 0]
    assert data.official_splits.tolist() == ["train", "validation", "train", "test"]
    names = [data.groups.names[number] for number in data.groups.numbers]
    expected = ["waterbird, water", "waterbird, land", "landbird, land", "landbird, water"]
    assert names == expected
    assert data.notes == ("read as Waterbirds: label y, groups by y and place",)


CELEBA = """\
image_id,5_o_Clock_Shadow,Blond_Hair,Male,Smiling,Young
000001.jpg,-1,1,-1,1,1
000002.jpg,-1,-1,1,-1,1
000003.jpg,1,-1,-1,1,-1
"""


def test_celebas_parts_are_in_a_file_beside_its_attributes(tmp_path):
    (tmp_path / "list_eval_partition.csv").write_text(
        "image_id,partition\n000001.jpg,0\n000002.jpg,1\n000003.jpg,2\n", encoding="utf-8"
    )
    files = [f"img_align_celeba/00000{n}.jpg" for n in (1, 2, 3)]
    data = _published(tmp_path, CELEBA, files, "list_attr_celeba.csv")
    assert data.classes == ("Blond_Hair", "not Blond_Hair")
    assert data.official_splits.tolist() == ["train", "validation", "test"]
    expected = ("Blond_Hair, not Male", "not Blond_Hair, Male", "not Blond_Hair, not Male")
    assert data.groups.names == expected
    other = _published(tmp_path, CELEBA, (), "list_attr_celeba.csv", label_column="Smiling")
    assert other.classes == ("Smiling", "not Smiling")
    assert other.groups.columns == ("Smiling", "Male")


def test_celeba_without_its_parts_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"its parts are in list_eval_partition\.csv, which is not"):
        _published(tmp_path, CELEBA, (), "list_attr_celeba.csv")


CAMELYON = """\
,patient,node,x_coord,y_coord,tumor,slide,center,split
0,004,4,3328,21792,1,0,0,0
1,004,4,3200,22272,0,0,0,1
2,010,1,100,200,1,10,1,0
3,012,2,300,400,0,20,2,0
4,017,1,500,600,0,1,0,0
"""


def test_camelyons_hospitals_are_its_parts_and_its_own_validation_is_left_out(tmp_path):
    def patch(patient, node, x, y):
        place = f"patient_{patient}_node_{node}"
        return f"patches/{place}/patch_{place}_x_{x}_y_{y}.png"

    files = [
        patch("004", 4, 3328, 21792),
        patch("010", 1, 100, 200),
        patch("012", 2, 300, 400),
        patch("017", 1, 500, 600),
    ]
    data = _published(tmp_path, CAMELYON, files)
    assert [str(path.relative_to(tmp_path)) for path in data.sources] == files
    assert data.official_splits.tolist() == ["train", "validation", "test", "train"]
    assert data.classes == ("normal", "tumor") and data.groups.columns == ("slide",)
    assert data.notes[1].startswith("1 rows of id_val and id_test are left out")


def test_iwildcams_groups_are_its_locations(tmp_path):
    text = (
        "split,location_remapped,y,filename\ntrain,0,0,a.jpg\ntrain,1,1,b.jpg\nid_test,0,1,c.jpg\n"
        "val,2,1,d.jpg\ntest,3,0,e.jpg\n"
    )
    files = [f"train/{name}.jpg" for name in "abcde"]
    data = _published(tmp_path, text, files)
    assert data.groups.columns == ("location_remapped",) and len(data) == 4
    assert data.official_splits.tolist() == ["train", "train", "validation", "test"]


def test_a_number_that_a_published_table_does_not_have_is_named(tmp_path):
    text = WATERBIRDS.replace("b.jpg,1,1,0", "b.jpg,1,7,0")
    with pytest.raises(UserError, match="line 3: split is 7; Waterbirds has 0, 1, 2"):
        _published(tmp_path, text, ())
