import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.image import imread

from raysel.mlflow_sync.trace_figure import Trace, columns_of, draw, read, trace_of

LAYERS = ["stem", "layer1", "head"]


def write_part(folder, epoch, steps, weights, layers=LAYERS):
    """weights [steps, layers]"""
    folder.mkdir(exist_ok=True)
    count = len(layers)
    table = pa.table(
        {
            "step": np.repeat(np.array(steps, dtype=np.int32), count),
            "epoch": np.full(len(steps) * count, epoch, dtype=np.int32),
            "layer": pa.array(list(layers) * len(steps)).dictionary_encode(),
            "weight": np.array(weights, dtype=np.float32).reshape(-1),
            "score": np.full(len(steps) * count, np.nan, dtype=np.float32),
        }
    )
    pq.write_table(table, folder / f"epoch-{epoch:04d}.parquet")


@pytest.fixture
def parts(tmp_path):
    folder = tmp_path / "trace"
    write_part(folder, 2, [3, 4], [[0, 0, 0.5], [0, 2, 0]])
    write_part(folder, 1, [1, 2], [[1, 0, 0], [0, 1, 0]])
    return folder


def test_parts_are_joined_in_the_order_of_the_steps(parts, tmp_path):
    (parts / ".epoch-0003.parquet").write_bytes(b"half a part of a writer that died")
    table = read(parts)
    assert table["step"].to_pylist() == [s for s in (1, 2, 3, 4) for _ in LAYERS]
    pq.write_table(table, tmp_path / "joined.parquet")
    assert pq.read_table(tmp_path / "joined.parquet").num_rows == 12


def test_a_trace_has_a_row_a_layer_and_a_column_a_step(parts):
    trace = trace_of(read(parts), LAYERS)
    assert trace.layers == tuple(LAYERS)
    assert trace.steps.tolist() == [1, 2, 3, 4]
    assert trace.epochs.tolist() == [1, 1, 2, 2]
    assert trace.weights.tolist() == [[1, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0.5, 0]]


def test_layers_are_in_forward_order_whatever_order_the_rows_have(tmp_path):
    write_part(tmp_path / "t", 1, [1], [[3, 1]], layers=["head", "stem"])
    trace = trace_of(read(tmp_path / "t"), LAYERS)
    assert trace.weights[:, 0].tolist() == [1, 0, 3]  # a layer without rows never moved


def test_finer_layers_than_the_sweeps_keep_their_own_order(tmp_path):
    write_part(tmp_path / "t", 1, [1], [[1, 2, 3]], layers=["stem", "layer1.0", "layer1.1"])
    assert trace_of(read(tmp_path / "t"), LAYERS).layers == ("stem", "layer1.0", "layer1.1")


def test_many_steps_are_averaged_into_few_columns():
    weights = np.array([[1, 0, 1, 1, 0, 0, 1]], dtype=np.float32)
    trace = Trace(("a",), np.arange(7), np.ones(7), weights)
    assert columns_of(trace, columns=7).tolist() == weights.tolist()
    # runs of 2, the last of 1
    assert columns_of(trace, columns=4).tolist() == [[0.5, 1, 0, 1]]


def test_the_picture_shows_who_moved(parts, tmp_path):
    draw(parts, LAYERS, tmp_path / "a.png", "07 full lr=0.01")
    picture = imread(tmp_path / "a.png")[..., :3]
    height, width, _ = picture.shape
    assert 600 <= width <= 1000
    assert 150 <= height <= 400
    grey = np.isclose(picture, 0xEC / 255, atol=0.01).all(axis=2)
    assert 0.1 < grey.mean() < 0.7  # 8 of 12 cells stand still
    write_part(parts, 1, [1, 2], np.ones((2, 3)))
    write_part(parts, 2, [3, 4], np.ones((2, 3)))
    draw(parts, LAYERS, tmp_path / "b.png")
    picture = imread(tmp_path / "b.png")[..., :3]
    assert np.isclose(picture, 0xEC / 255, atol=0.01).all(axis=2).mean() < 0.01


@pytest.mark.parametrize("rows", [1, 200])
def test_one_layer_or_very_many_fit(tmp_path, rows):
    layers = [f"blocks.{index}.a_rather_long_name" for index in range(rows)]
    write_part(tmp_path / "t", 1, [1, 2], np.ones((2, rows)), layers)
    draw(tmp_path / "t", layers, tmp_path / "a.png", "x" * 500)
    assert imread(tmp_path / "a.png").shape[0] < 1200


def test_no_parts_no_steps_and_a_torn_part_are_reported(tmp_path):
    folder = tmp_path / "trace"
    with pytest.raises(FileNotFoundError):
        draw(folder, LAYERS, tmp_path / "a.png")
    write_part(folder, 1, [], np.zeros((0, 3)))
    with pytest.raises(ValueError, match="no steps"):
        draw(folder, LAYERS, tmp_path / "a.png")
    (folder / "epoch-0002.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(pa.ArrowInvalid):
        draw(folder, LAYERS, tmp_path / "a.png")
