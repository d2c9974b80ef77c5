"""The types of results.json: files of other versions, damaged ones, the schema."""

from __future__ import annotations

import json

import jsonschema
import pytest
from view_kit import FINISHED, make

from raysel.common.errors import OperationalError
from raysel.sweep.results import ConfirmRun, SweepResults, results_schema
from raysel.sweep.views import read_results

RUN = {"id": "confirm-full-s0", "seed": 1, "val/error": 0.2, "test/error": float("nan")}
OLDER = {
    "name": "toy",
    "layers": ["stem", "head"],
    "trials": [{"id": "0000", "number": 0, "strategy": "full", "epochs": [{"epoch": 1}]}],
    "confirm": [{"strategy": "full", "runs": [RUN], "effort": {"trials": 3}}],
    "verdict": {"winner": "full"},
    "of_another_version": 1,
}


def test_a_file_of_another_version_is_read_with_defaults():
    results = SweepResults.model_validate(OLDER)
    assert results.data is None and results.importance == () and results.spent.planned is None
    assert results.objective.metric == "val/error" and not results.complete
    assert results.winner is results.confirm[0]
    assert results.winner.moved_is == "share of steps"
    assert results.trials[0].curve("val/error") == []


def test_a_number_that_is_not_finite_is_missing():
    (run,) = SweepResults.model_validate(OLDER).confirm[0].runs
    assert run.test_error is None and run.val_error == 0.2
    assert SweepResults.model_validate(OLDER).confirm[0].by_seed("test/error") == {}


def test_a_metric_is_found_by_its_name_in_the_file():
    run = ConfirmRun.model_validate({"val/balanced_error": 0.1, "test/top5_error": 0.2})
    assert (run.metric("val/balanced_error"), run.metric("test/top5_error")) == (0.1, 0.2)
    assert run.metric("val/unheard") is None


def test_the_results_cannot_be_changed():
    results = SweepResults.model_validate(OLDER)
    with pytest.raises(ValueError, match="frozen"):
        results.name = "other"  # type: ignore[misc]


def test_the_schema_describes_what_is_written():
    written = SweepResults.model_validate(OLDER).to_dict()
    schema = results_schema()
    jsonschema.validate(written, schema)
    sometimes = {"pareto_front", "prior", "split"}  # not in older ones
    sometimes |= {"models", "layers_by_model", "source_by_model"}  # of several models
    assert set(written) == set(schema["properties"]) - sometimes
    assert "val/error" in schema["$defs"]["ConfirmRun"]["properties"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written | {"trials": 3}, schema)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({key: value for key, value in OLDER.items() if key != "verdict"}, "it lacks verdict"),
        (OLDER | {"trials": [{"value": "low"}]}, "trials.0.value: "),
    ],
)
def test_what_is_damaged_is_named(tmp_path, content, why):
    folder = make(tmp_path, "toy", FINISHED)
    folder.results.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(OperationalError) as refused:
        read_results(str(tmp_path), "toy")
    assert why in str(refused.value) and "write it anew with: raysel resume toy" in str(
        refused.value
    )
