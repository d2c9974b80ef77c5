from raysel.training.confusion import read_confusion, write_confusion

CLASSES = ["cat", 'a "dog", wet', "42"]
MATRIX = [[5, 1, 0], [0, 7, 2], [3, 0, 4]]


def test_a_matrix_comes_back_with_its_classes(tmp_path):
    write_confusion(tmp_path, MATRIX, CLASSES)
    assert read_confusion(tmp_path) == (CLASSES, MATRIX)


def test_a_row_is_a_true_class(tmp_path):
    write_confusion(tmp_path, MATRIX, CLASSES)
    lines = (tmp_path / "confusion.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == 'true class,cat,"a ""dog"", wet",42'
    assert lines[1] == "cat,5,1,0"


def test_a_run_without_one_has_none(tmp_path):
    assert read_confusion(tmp_path) is None
