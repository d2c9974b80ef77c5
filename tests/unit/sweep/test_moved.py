"""What `moved` of a confirmed strategy says: shares of steps, mean weights, tensors summed up."""

import pytest

from raysel.models.layers import Layer, Partition
from raysel.record.state import TrialState
from raysel.sweep.fold_results import confirm_rows
from raysel.sweep.results import ConfirmedStrategy

LAYERS = Partition(
    (Layer("stem", ("a.weight", "a.bias"), (30, 10)), Layer("head", ("h.weight",), (5,))),
    ("h.weight",),
)


def confirmed(strategy: str, *epochs: dict[str, float]) -> ConfirmedStrategy:
    rows = [
        {"epoch": i, "val/error": 0.2, "val/loss": 1.0, **{f"select/{k}": v for k, v in e.items()}}
        for i, e in enumerate(epochs, 1)
    ]
    end = {"test/error": 0.3, "test/loss": 1.0, "confirm/epoch": 1.0, "confirm/updated_share": 1.0}
    run = TrialState(
        "confirm-x-s0", 0, "confirm", strategy,
        config={"seed": 1}, status="COMPLETE", epochs=tuple(rows), end_metrics=end,
    )  # fmt: skip
    (row,) = confirm_rows([], [run], LAYERS, "val/error")
    return row


def test_shares_of_steps_are_averaged_over_the_epochs():
    row = confirmed("bvg_ls", {"stem": 0.2, "head": 0.8}, {"stem": 0.6, "head": 0.4})
    assert row.moved == pytest.approx({"stem": 0.4, "head": 0.6})
    assert row.moved_is == "share of steps"


@pytest.mark.parametrize("strategy", ["auto_rgn", "surprise", "criticality_random_source"])
def test_learning_rate_weights_are_reported_as_weights(strategy):
    assert confirmed(strategy, {"stem": 0.1, "head": 1.0}).moved_is == "weight"


def test_tensors_are_summed_up_by_layer_and_size():
    """30 of the stem's 40 numbers moved in half of the steps, 10 in every one."""
    row = confirmed("bvg_ts", {"a.weight": 0.5, "a.bias": 1.0, "h.weight": 0.0})
    assert row.moved == pytest.approx({"stem": 0.625, "head": 0.0})
