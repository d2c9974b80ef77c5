"""The sweep files that come with raysel are sound, without the data that they name."""

from pathlib import Path

import pytest
from few_kit import few, slow

from raysel.models.papers import BLOCKWISE, BVG_LS
from raysel.search import validate, validate_suite
from raysel.search.space import Space, strategies_of
from raysel.search.trial_budget import budget, untried_notes
from raysel.service.plan.counted import counted
from raysel.spec import reader
from raysel.spec.confirm import BestBy
from raysel.strategies import registered
from raysel.sweep import absences
from raysel.tasks.opened_task import open_task

FOLDER = Path(__file__).parents[3] / "search_spaces"
FILES = sorted(set(FOLDER.rglob("*.yaml")) - set((FOLDER / "papers" / "tables").iterdir()))
PAPERS = sorted((FOLDER / "papers").glob("*.yaml"))
TABLES = sorted((FOLDER / "papers" / "tables").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no data lie


def named(path):
    return path.relative_to(FOLDER).as_posix()


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_file_is_sound_without_its_data(file):
    validate.read(file)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("file", PAPERS, ids=named)
def test_a_papers_file_says_what_is_missing(file):
    spec = reader.read(file, ()).spec()
    (data, *rest) = absences.absences(spec, open_task(spec.task))
    assert data.path == "task.data"
    assert "is not in data/" in data.message or "missing" in data.message
    assert {problem.path for problem in rest} <= {"model.weights", "source.weights"}


def test_each_paper_has_its_files():
    names = [file.stem for file in PAPERS]
    for paper, count in (("bvg_ls", 4), ("surgical", 2), ("automatic", 5), ("blockwise", 2)):
        assert sum(name.startswith(paper + "_") for name in names) == count


@pytest.mark.parametrize("file", PAPERS, ids=named)
def test_a_comparison_that_prunes_does_so_within_a_strategy(file):
    spec = reader.read(file, ()).spec()
    assert spec.pruner.kind == "none" or spec.pruner.compare == "within_strategy"
    assert spec.search.sampler == "grid" or spec.search.allocation == "equal"


OTHERS = [
    *(
        ("bvg_ls_wrn", f"task.data={data}")
        for data in ("flowers102", "dtd", "aircraft", "food101", "sun397", "cifar100")
    ),
    *(("bvg_ls_transformers", f"model.name={model.name}") for model in BVG_LS.values()),
    *(("blockwise_flowers", f"model.name={model.name}") for model in BLOCKWISE.values()),
    *(
        (paper, f"task.shift.kind={kind}")
        for paper in ("surgical_cifar10c", "automatic_cifar10c")
        for kind in ("frost", "jpeg_compression", "speckle_noise")
    ),
]


@pytest.mark.parametrize(
    ("file", "override"), [*OTHERS[::6], *slow(o for o in OTHERS if o not in OTHERS[::6])]
)
def test_a_file_serves_the_papers_other_data_and_models(file, override):
    validate.read(FOLDER / "papers" / f"{file}.yaml", [override])


# Table 1 of the automatic paper, its rows in raysel's names
TABLE_1 = {
    *("full", "surgical", "auto_rgn", "auto_rgn_hessian", "auto_rgn_change"),
    *("auto_rgn_hessian_change", "surprise", "surprise_diff"),
    *("criticality_identity_source", "criticality_random_source"),
}


def test_the_figure_of_shots_has_the_methods_of_the_table_at_every_number():
    spec = reader.read(FOLDER / "papers" / "automatic_shots.yaml", ()).spec()
    assert set(strategies_of(spec)) == TABLE_1
    space = Space(spec, ("stem", "block1", "block2", "block3", "head"))
    assert space.size() == spec.search.num_trials
    assert all(value.name in ("shots", "block") for own in space.searched.values() for value in own)


@pytest.mark.parametrize("data", ["cifar10c", "cifar10f", "living17", "entity30"])
def test_the_automatic_paper_has_all_methods_of_its_table(data):
    spec = reader.read(FOLDER / "papers" / f"automatic_{data}.yaml", ()).spec()
    without = {"surprise", "surprise_diff"} if data == "cifar10f" else set()
    assert set(strategies_of(spec)) == TABLE_1 - without
    space = Space(spec, ("stem", "block1", "block2", "block3", "head"))
    rates = {key: v for t in space.first_trials() for key, v in t.items() if "learning" in key}
    assert rates == {f"{name}.learning_rate": 1e-5 for name in spec.strategies}
    # every method gets ten trials
    assert spec.search.num_trials == 10 * len(TABLE_1 - without)


# --- whole tables, one file each --------------------------------------------------------------


LONG = [file for file in TABLES if file not in TABLES[::4]]


@pytest.mark.parametrize("file", [*(f for f in TABLES if f not in LONG), *slow(LONG)], ids=named)
def test_a_table_is_sound_and_counted_without_its_data_and_tries_all_configurations(file):
    checked = validate_suite.read(file)
    for cell in checked.cells:
        assert counted(cell.spec, cell.task).runs > 0
    assert untried_notes(cell.spec.search, space_of(cell)) == []
    assert list(Path().iterdir()) == []


def cells_of(name):
    return validate_suite.read(FOLDER / "papers" / "tables" / f"{name}.yaml").cells


def space_of(cell):
    return Space(cell.spec, validate.partition_for(cell.spec, cell.task).names)


@pytest.mark.parametrize(("name", "cells"), few(("bvg_ls_table3", 7), ("bvg_ls_table4", 21)))
def test_every_arm_of_a_table_is_tested_in_every_cell(name, cells):
    """One configuration an arm: it goes to the confirm phase whatever a search would find."""
    found = cells_of(name)
    assert len(found) == cells
    for cell in found:
        space = space_of(cell)
        assert set(space.single) == set(space.arms)
        assert cell.spec.confirm.runs >= 3


@pytest.mark.parametrize("name", few("surgical_bars", "blockwise_figures"))
def test_every_block_of_a_figure_is_tried_and_tested(name):
    for cell in cells_of(name):
        space, confirm = space_of(cell), cell.spec.confirm
        assert confirm.configurations == BestBy(by=("block",))
        points = space.size()
        assert points is not None and budget(cell.spec.search, space) >= points


def test_the_rows_of_table_3_are_those_that_are_published():
    (cell, *_) = cells_of("bvg_ls_table3")
    spec = cell.spec
    layers = {name: arm.parameters.get("layers") for name, arm in spec.strategies.items()}
    assert {layers[arm] for arm in ("L2-L6", "L3-L6", "L4-L6", "L5-L6")} == {5, 4, 3, 2}
    assert {"full", "linear_probe", "bvg_ls", "bvg_ls_threshold"} <= set(layers)


# --- what differs from the papers --------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["automatic_table1", "automatic_table1_flip", "automatic_table1_breeds"]
)
def test_the_automatic_tables_have_the_papers_epochs_and_one_form_of_the_rgn_family(name):
    cell, *_ = cells_of(name)
    arms = strategies_of(cell.spec)
    for arm in ("criticality_identity", "criticality_random"):
        assert arms[arm].parameters["tune_epochs"].options == (0, 1, 2, 3, 4, 5)
    family = [arm for arm in arms if arm.startswith("auto_rgn")]
    assert len(family) == 4
    for arm in family:
        values = {p.name: p.default for p in registered()[arm].parameters}
        values |= arms[arm].parameters
        assert values["refresh"] == "once"
        assert values.get("aggregate", "norm_of_mean") == "norm_of_mean"


# what a file's header, or that of the file that it refers to, must say of it
SAID = {
    "running statistics of": [
        "bvg_ls_wrn",
        "bvg_ls_alpha",
        "bvg_ls_random",
        "tables/bvg_ls_table3",
    ],
    "last batch": [
        *("surgical_cifar10c", "surgical_cifar10f", "tables/surgical_flip"),
        *("automatic_cifar10c", "automatic_cifar10f", "automatic_shots"),
        *("tables/automatic_table1", "tables/automatic_table1_flip", "tables/automatic_figure7"),
    ],
    "cut at": ["blockwise_flowers", "blockwise_caltech101"],
    "E = 0 to 5": [f"automatic_{d}" for d in ("cifar10c", "cifar10f", "living17", "entity30")],
    "../blockwise_flowers.yaml": ["tables/blockwise_figures"],
    "../surgical_cifar10c.yaml": ["tables/surgical_bars"],
    "../automatic_cifar10c.yaml": ["tables/automatic_figure4"],
}


@pytest.mark.parametrize(("words", "name"), [(w, n) for w, names in SAID.items() for n in names])
def test_a_file_says_where_it_departs_from_its_paper(words, name):
    header = (FOLDER / "papers" / f"{name}.yaml").read_text("utf-8").partition("\nname: ")[0]
    assert words in " ".join(header.replace("\n# ", " ").split())
