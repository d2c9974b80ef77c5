"""The papers' printed numbers, and what is said of ours beside them."""

import pytest
from results_kit import typed

from raysel.report.page import page
from raysel.report.published_tables import compare, published_tables
from raysel.spec.reader import parse
from raysel.strategies import registered

FILE = """\
name: pets
task: {data: pets, split: {train: 0.9, validation: 0.1, test: all}}
model: {name: wide_resnet50_2.tv_in1k, weights: pretrained}
strategies: {full: , suffix: {layers: 2}, bvg_ls: }
confirm: {epoch: last}
"""

PUBLISHED_TRAINING = {
    **{"epochs": 50, "batch_size": 128, "optimizer": "sgd", "learning_rate": 0.01},
    **{"momentum": 0.9, "schedule": "constant"},
}


def confirmed(strategy, mean, low=None, high=None, parameters=None, **training):
    entry = {
        "strategy": strategy,
        "trial": f"t-{strategy}",
        "test_error": {"mean": mean, "low": low, "high": high, "n": 3},
    }
    config = {"parameters": parameters or {}, "training": {**PUBLISHED_TRAINING, **training}}
    return entry, {"id": f"t-{strategy}", "config": config}


def outcome(*entries):
    confirm, trials = zip(*entries, strict=True)
    return {"confirm": list(confirm), "trials": list(trials)}


def values(data, models, table):
    (found,) = [
        t for t in published_tables() if (t.data, t.table) == (data, table) and models in t.models
    ]
    return {row.name: row.error_rate for row in found.rows}


def test_table_3_is_as_printed():
    """Table 3: WRN-50-2 on Pets, and the averages over the seven data sets."""
    assert values("pets", "wide_resnet50_2", "Table 3")["BVG-LS"] == pytest.approx(0.0626)
    sets = ("flowers102", "pets", "dtd", "aircraft", "food101", "sun397", "cifar100")
    rows = [values(data, "wide_resnet50_2", "Table 3") for data in sets]
    printed = {
        **{"Full": 22.59, "L2-6": 21.55, "L3-6": 20.64, "L4-6": 19.87, "L5-6": 20.42},
        **{"LP": 33.55, "BVG-LS": 16.84},
    }
    for name, average in printed.items():
        # D40: L2-6 is 21.556 and printed 21.55
        found = sum(row[name] for row in rows) / 7 * 100
        assert found == pytest.approx(average, abs=0.01)


@pytest.mark.parametrize(
    ("model", "printed"),
    [
        ("vit_small_patch16_224", (18.91, 25.84, 15.66)),
        ("vit_base_patch16_224", (14.19, 19.90, 15.05)),
        ("convnext_tiny", (14.07, 23.65, 14.05)),
    ],
)
def test_table_4_averages_to_what_is_printed(model, printed):
    tables = [t for t in published_tables() if t.table == "Table 4" and model in t.models]
    assert len(tables) == 7
    for index, average in enumerate(printed):
        mean = sum(t.rows[index].error_rate for t in tables) / 7 * 100
        assert mean == pytest.approx(average, abs=0.01)


def test_table_5_averages_over_six_sets():
    tables = [t for t in published_tables() if t.table == "Table 5"]
    assert sum(t.rows[0].error_rate for t in tables) / 6 * 100 == pytest.approx(19.22, abs=0.01)


def test_accuracies_become_error_rates():
    found = values("cifar10f", "cifar_wrn_28_10", "Table 1")
    assert found["Cross-val"] == pytest.approx(0.064)
    assert "Surprise" not in found
    assert len(values("cifar10c", "cifar_wrn_28_10", "Table 1")) == 10


def test_every_row_is_a_strategys():
    rows = [row for table in published_tables() for row in table.rows]
    assert {row.strategy for row in rows} <= set(registered())
    for row in rows:
        names = {parameter.name for parameter in registered()[row.strategy].parameters}
        assert set(row.parameters) <= names
    for table in published_tables():
        for strategy, stated in table.settings.items():
            known = {parameter.name for parameter in registered()[strategy].parameters}
            assert set(stated) <= known


def test_ours_stands_beside_theirs():
    found = outcome(
        confirmed("bvg_ls", 0.07, 0.06, 0.08),
        confirmed("full", 0.12, 0.11, 0.13),
        confirmed("suffix", 0.08, parameters={"layers": 2}),
    )
    (table,) = compare(typed(found), parse(FILE, ()))
    rows = {row.published: row for row in table.rows}
    assert list(rows) == ["Full", "L5-6", "BVG-LS"]
    assert rows["BVG-LS"].difference == pytest.approx(0.07 - 0.0626)
    assert rows["BVG-LS"].inside is True
    assert rows["Full"].inside is False  # 15.14 %
    assert rows["L5-6"].inside is None  # one seed
    assert all(row.differs == () for row in table.rows)


def test_what_of_the_training_differs_is_reported():
    found = outcome(confirmed("bvg_ls", 0.07, epochs=5, learning_rate=0.00213))
    (table,) = compare(typed(found), parse(FILE, ("confirm.epoch=best", "task.split.test=100")))
    assert table.rows[0].differs == (
        "learning_rate 0.00213 (theirs 0.01)",
        "epochs 5 (theirs 50)",
    )
    assert "ours is tested at the best epoch by validation" in table.remarks
    assert not any("found best" in remark for remark in table.remarks)
    assert "ours is tested on 100 examples of the test part" in table.remarks
    assert any("20.35 %" in remark for remark in table.remarks)
    axis = parse(FILE, ("training.shots={categorical: [1, 5]}",))
    assert any("found best" in remark for remark in compare(typed(found), axis)[0].remarks)


@pytest.mark.parametrize(
    ("override", "reported"),
    [
        ("task.shift.kind=label_noise", "shift label_noise (theirs none)"),
        ("model.head=mlp", "head mlp (theirs linear)"),
        ("model.partition=fine", "partition fine (theirs coarse)"),
    ],
)
def test_what_of_data_or_model_differs_is_reported_beside_the_number(override, reported):
    (table,) = compare(typed(outcome(confirmed("bvg_ls", 0.07))), parse(FILE, (override,)))
    assert table.rows[0].differs == (reported,)


def test_what_of_the_strategys_parameters_differs_is_reported_beside_the_number():
    ours = {"ema_decay": 0.5, "ema_init": "debiased", "update_layers": 1}
    (table,) = compare(typed(outcome(confirmed("bvg_ls", 0.07, parameters=ours))), parse(FILE, ()))
    assert table.rows[0].differs == (
        "ema_decay 0.5 (theirs 0.9)",
        "ema_init debiased (theirs paper)",
    )
    ours = {"ema_decay": 0.9, "ema_init": "debiased", "threshold": None}  # None is the paper's
    found = outcome(confirmed("bvg_ls_threshold", 0.07, parameters=ours))
    (table,) = compare(typed(found), parse(FILE, ()))
    assert table.rows[0].differs == ()


@pytest.mark.parametrize(
    ("data", "kind", "severity", "reported"),
    [
        ("cifar10c", "frost", 5, ["shift frost (theirs the mean of 14)"]),
        (
            *("cifar10c", "brightness", 1),
            ["shift brightness (theirs the mean of 14 others)", "severity 1 (theirs 5)"],
        ),
        ("cifar10f", "none", 5, []),
        ("cifar10f", "label_flip", 5, []),
    ],
)
def test_one_corruption_beside_the_mean_of_14_is_reported(data, kind, severity, reported):
    text = FILE.replace("wide_resnet50_2.tv_in1k", "cifar_wrn_28_10")
    shift = (f"task.data={data}", f"task.shift.kind={kind}", f"task.shift.severity={severity}")
    found = outcome(confirmed("full", 0.2))
    found["trials"][0]["config"]["training"] = {}
    (table,) = compare(typed(found), parse(text, shift))
    assert list(table.rows[0].differs) == reported


@pytest.mark.parametrize("override", ["task.data=digits", "model.name=resnet50.tv_in1k"])
def test_other_data_or_another_model_has_nothing_to_stand_beside(override):
    assert compare(typed(outcome(confirmed("bvg_ls", 0.07))), parse(FILE, (override,))) == []


def test_the_page_shows_the_comparison(results):
    text = FILE.replace("name: pets", "name: digits")
    results["confirm"][0]["strategy"] = "bvg_ls"
    shown = page(typed(results), {}, text)
    assert "Beside the paper" in shown
    assert "Bias-Variance Guided Layer Selection, Table 3" in shown
    assert "6.26" in shown
    assert "Beside the paper" not in page(typed(results), {}, None)
