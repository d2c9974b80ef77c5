import json
import re
from html.parser import HTMLParser

import pytest
from few_kit import several
from results_kit import typed, verdict_of

from raysel.report import figures, page
from raysel.report.page import planned, write_report
from raysel.report.words import seconds
from raysel.spec.reader import parse
from raysel.spec.task import TaskSpec
from raysel.sweep.results import Spent
from raysel.sweep.verdict import interval
from raysel.tasks.opened_task import open_task

SPEC = parse(
    """
name: digits
task: {data: digits, shift: {kind: gaussian_noise, severity: 5}}
model: {name: resnet10t}
strategies: {full: , linear_probe: , bvg_ls: {ema_decay: 0.9}}
"""
).to_yaml()


class Reader(HTMLParser):
    """What a browser would see: the elements, their attributes, the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self.inside = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]
        self.inside.append(tag)

    def handle_endtag(self, tag):
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self.inside):
            self.text.append(data)

    @property
    def words(self):
        return re.sub(r"\s+", " ", " ".join(self.text))


def read(path):
    return Reader(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def written(_results, tmp_path_factory):
    """The report of a complete sweep, written once with every figure."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")
    return write_report(typed(_results), folder, ["make ui"])


@pytest.fixture(scope="module")
def html(written):
    return written.read_text(encoding="utf-8")


@pytest.fixture
def few_figures(monkeypatch):
    """So many that a page has some, for pages of other sweeps."""
    kept = ("confirm_intervals", "error_by_epoch")
    monkeypatch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in kept})


@pytest.fixture
def show(results):
    """The page of `results` as it is when called, with nothing in its figures."""
    drawn = dict.fromkeys(figures.FIGURES, "<svg></svg>")
    return lambda spec=None, hint=None: Reader(
        page.page(typed(results), drawn, spec, [hint] if hint else [])
    )


def test_the_report_and_its_pictures_are_written_whole(results, written):
    assert written.parts[-2:] == ("report", "index.html")
    files = sorted(p.relative_to(written.parent).as_posix() for p in written.parent.rglob("*.*"))
    assert files == [
        "figures/accuracy_by_block.png",
        "figures/accuracy_by_quarter.png",
        "figures/accuracy_by_shots.png",
        "figures/best_of_trials.png",
        "figures/bias_variance_ratios.png",
        "figures/confirm_intervals.png",
        "figures/cost_against_error.png",
        "figures/differences.png",
        "figures/distances.png",
        "figures/error_by_epoch.png",
        "figures/explored.png",
        "figures/gradient_norms.png",
        "figures/heat_maps.png",
        "figures/importances.png",
        "figures/loss_by_epoch.png",
        "figures/parameter_changes.png",
        "figures/search_front.png",
        "figures/update_share.png",
        "index.html",
    ]
    pictures = written.parent.rglob("*.png")
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)
    seen = read(written)
    assert results["verdict"]["sentence"] in seen.words
    for words in ("make ui", "gaussian_noise, severity 5", "2.13.0", "2 min 51 s", "ema_decay"):
        assert words in seen.words
    assert SPEC in "".join(seen.text)
    assert seen.tags.count("svg") == 18


def test_every_trial_is_a_row_with_its_numbers_to_sort_by(results, show):
    seen = show()
    states = [value for _, name, value in seen.attributes if name == "data-state"]
    assert states == [trial["status"] for trial in results["trials"]]
    numbers = [value for _, name, value in seen.attributes if name == "data-sort"]
    values = numbers[1::5]  # trial, value, best epoch, epochs, seconds
    shown = ["" if t["value"] is None else str(t["value"]) for t in results["trials"]]
    assert values == shown


def test_the_page_asks_nothing_of_any_network(html):
    seen = Reader(html)
    addresses = [
        value
        for _, name, value in seen.attributes
        if name in ("src", "href", "xlink:href", "action", "data")
    ]
    assert all(value.startswith(("#", "data:image/png")) for value in addresses)
    assert "url(http" not in html
    assert "@import" not in html
    assert ("meta", "content", page_policy()) in seen.attributes


def page_policy():
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    )


def test_ids_are_unique_so_that_figures_do_not_borrow_from_each_other(html):
    seen = Reader(html)
    ids = [value for _, name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]+)\)", html)) | set(re.findall(r'href="#([^"]+)"', html))
    assert used
    assert used <= set(ids)


def test_a_hostile_name_stays_text(results, tmp_path, few_figures):
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    results |= {"name": attack, "description": attack, "versions": {attack: attack}}
    results["verdict"]["sentence"] = attack
    results["layers"][0] = attack
    results["verdict"]["winner"] = attack
    for entry in [*results["trials"], *results["confirm"]]:
        if entry["strategy"] == "bvg_ls":
            entry["strategy"] = attack
        entry["label"] = entry["cause"] = attack
        entry["searched"] = {attack: attack}
    (tmp_path / "spec.yaml").write_text(f"</pre>{attack}", encoding="utf-8")
    seen = read(write_report(typed(results), tmp_path, [f'">{attack}']))
    assert seen.tags.count("script") == 2  # the page's own: sorted tables, hints to scroll
    assert "img" not in seen.tags
    assert not [name for _, name, _ in seen.attributes if name.startswith("on")]
    assert seen.words.count("alert(1)") > 40


def test_only_a_web_address_becomes_a_link(show):
    def links(hint):
        return [v for t, n, v in show(hint=hint).attributes
                if (t, n) == ("a", "href") and not v.startswith("#")]  # fmt: skip

    assert links("javascript:alert(1)") == []
    assert links("http://127.0.0.1:5000") == ["http://127.0.0.1:5000"]


def test_an_interrupted_sweep_without_confirm_is_a_sensible_page(results, tmp_path, few_figures):
    results |= {"status": "interrupted", "confirm": [], "verdict": verdict_of([])}
    results["trials"][-1] |= {"status": "INTERRUPTED", "value": None}
    seen = read(write_report(typed(results), tmp_path))
    assert "raysel resume digits" in seen.words
    assert "No strategy has a confirmed result." in seen.words
    assert "Confirmed" not in seen.words
    assert "Error by epoch" in seen.words
    assert not (tmp_path / "report" / "figures" / "confirm_intervals.png").exists()


def test_a_sweep_that_was_interrupted_before_anything_is_a_page_too(results, tmp_path):
    results |= {
        "status": "interrupted",
        "trials": [],
        "confirm": [],
        "verdict": {},
        "effort": [],
        "improvement": [],
        "source": None,
        "spent": {},
        "versions": {},
    }
    seen = read(write_report(typed(results), tmp_path))
    assert "There is no verdict yet" in seen.words
    assert "table" not in seen.tags


def test_a_strategy_without_a_complete_trial_keeps_its_row(results, show):
    for trial in results["trials"]:
        if trial["strategy"] == "bvg_ls":
            trial |= {"status": "FAILED", "value": None, "best_epoch": None, "epochs": []}
    results["confirm"] = [e for e in results["confirm"] if e["strategy"] != "bvg_ls"]
    results["verdict"] = verdict_of(results["confirm"])
    seen = show()
    assert re.search(r"bvg_ls 0 0 8 0 – – –", seen.words)


def test_a_figure_of_an_earlier_state_is_removed(results, tmp_path, monkeypatch):
    name = "confirm_intervals"
    monkeypatch.setattr(figures, "FIGURES", {name: figures.FIGURES[name]})
    write_report(typed(results), tmp_path)
    assert (tmp_path / "report" / "figures" / f"{name}.png").exists()
    results["confirm"] = []
    write_report(typed(results), tmp_path)
    assert not (tmp_path / "report" / "figures" / f"{name}.png").exists()


def test_the_note_on_start_values_is_on_the_page_only_where_it_applies(results, show):
    note = "the start value of the variance estimate outweighed"
    assert note in show().words
    for trial in results["trials"]:
        for epoch in trial["epochs"]:
            epoch["select/transient_share"] = 0.1
    assert note not in show().words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.4, "0.4 s"),
        (59.94, "59.9 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
        (None, "–"),
    ],
)
def test_seconds_in_words(value, words):
    assert seconds(value) == words


def test_a_spec_of_another_version_is_shown_and_not_read():
    assert page.asked("name: x\nnot_a_key: 1\n") == {}
    assert page.asked(None) == {}


@pytest.mark.parametrize("outcome", several(3, page.BADGES))
def test_every_outcome_has_a_badge(results, outcome):
    results["verdict"]["outcome"] = outcome
    assert page.BADGES[outcome][1] in page.page(typed(results), {})


# --- what was planned -----------------------------------------------------------------------

PLANNED = {"seconds": 150.0, "low": 100.0, "high": 240.0, "epochs": 567.4, "trials": 30.0}


def test_what_was_planned_stands_beside_what_was_spent(results):
    results["spent"] |= {"seconds": 165.0, "planned": PLANNED}
    words = "30 trials, 567 epochs, 2 min 30 s (1 min 40 s to 4 min 00 s); it took 10% longer"
    assert planned(typed(results).spent) == words
    assert words in page.page(typed(results), {})


def test_a_plan_without_a_measurement_reports_no_time(results):
    results["spent"]["planned"] = PLANNED | {"seconds": None, "low": None, "high": None}
    assert planned(typed(results).spent) == "30 trials, 567 epochs"


def test_a_sweep_that_nobody_planned_has_no_such_line(results):
    results["spent"]["planned"] = None
    assert "<dt>planned</dt>" not in page.page(typed(results), {})


# --- the page's words are true ------------------------------------------------------------------


def with_seeds(results, count):
    """The same sweep, confirmed with so many seeds."""
    for entry in results["confirm"]:
        entry["runs"] = entry["runs"][:count]
        tests = [run["test/error"] for run in entry["runs"]]
        mean, low, high = interval(tests)
        entry["test_error"] = {"mean": mean, "low": low, "high": high, "n": count}
        entry["validation"] = sum(run["val/error"] for run in entry["runs"]) / count
    if count == 1:
        results["improvement"] = []
    return results


def chosen_full(results, count, validation, test):
    """Full fine-tuning is chosen; one other strategy with these errors on every seed."""
    entries = [e for e in results["confirm"] if e["strategy"] in ("full", "linear_probe")]
    for entry in entries:
        own = (0.25, 0.26) if entry["strategy"] == "full" else (validation, test)
        for run in entry["runs"]:
            run["val/error"], run["test/error"] = own
            run["val/loss"] = 0.1 if entry["strategy"] == "full" else 0.2
    results["confirm"] = entries
    with_seeds(results, count)
    results["verdict"] = verdict_of(entries)
    return results


@pytest.mark.parametrize(
    ("count", "validation", "test", "words"),
    [
        (1, 0.30, 0.26, "a tie on one seed"),
        (1, 0.30, 0.40, "one seed: nothing proven"),
        (5, 0.25, 0.40, "a tie on validation data"),
        (5, 0.30, 0.40, "full fine-tuning chosen"),
    ],
)
def test_full_fine_tuning_never_wins_without_a_test(results, count, validation, test, words):
    """In results from before it was compared with the search's second."""
    results = chosen_full(results, count, validation, test)
    results["verdict"] |= {"outcome": "winner_is_full", "against": None}
    assert page.badge(typed(results)) == ("open", words)


def test_full_fine_tuning_as_the_winner_of_one_run_shows_nothing(results):
    results = chosen_full(results, 1, 0.30, 0.40)
    assert page.badge(typed(results)) == ("open", "one run: nothing shown")


@pytest.mark.parametrize(
    ("outcome", "badge"),
    [("better", ("good", "better than bvg_ls")), ("worse", ("bad", "worse than bvg_ls"))],
)
def test_full_fine_tuning_as_the_winner_is_better_or_worse_than_the_second(results, outcome, badge):
    results["verdict"] |= {"winner": "full", "outcome": outcome, "against": "bvg_ls"}
    assert page.badge(typed(results)) == badge


def test_no_page_says_that_something_won(results, show):
    for count in (5, 1):
        results["verdict"] = verdict_of(with_seeds(results, count)["confirm"])
        assert not re.search(r"\b(won|wins|winner)\b", show().words)


def test_one_seed_is_not_said_to_have_an_interval(results):
    results = with_seeds(results, 1)
    results["verdict"] = verdict_of(results["confirm"])
    words = Reader(page.page(typed(results), {"cost_against_error": "<svg></svg>"})).words
    assert "One run has no interval and shows nothing." in words
    assert "95 % interval" not in words
    assert "trained again with a new seed;" in words


def test_the_test_set_is_not_said_to_be_read_once_where_every_epoch_was_tested(results, show):
    assert "was measured after every epoch and decided nothing" in show().words
    for entry in results["confirm"]:
        for run in entry["runs"]:
            del run["test_curve"]
    assert "the test set was read once a run" in show().words


def test_a_pruned_finalist_is_named(results, show):
    assert "every trial was pruned" not in show().words
    best = next(e["trial"] for e in results["confirm"] if e["strategy"] == "surgical")
    for trial in results["trials"]:
        if trial["id"] == best:
            trial["status"] = "PRUNED"
    assert "surgical: every trial was pruned, so the best pruned one stands in." in show().words


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, "–"),
        ({"trials": 1, "epochs": 3, "seconds": 2.0}, "1 trial, 3 epochs in all, 2.0 s"),
        (
            {"trials": 8, "runs": 2, "epochs": 30, "seconds": 80.0},
            "8 trials and 2 confirm runs, 30 epochs in all, 1 min 20 s",
        ),
    ],
)
def test_what_was_spent_counts_the_confirm_runs(known, words):
    assert page.spent(Spent(**known)) == words


def test_what_was_read_of_frozen_layers_is_said():
    assert page.stored(Spent()) is None
    known = {"features": {"trials": 11, "examples": 11880, "seconds": 28.9}}
    assert page.stored(Spent(**known)) == (
        "11 trials and runs read their output for 11,880 examples in place of computing it;"
        " to compute it once and to check it took 28.9 s"
    )


@pytest.mark.parametrize(
    ("taken", "words"), [(100.2, "it took as long"), (150.0, "50% longer"), (50.0, "50% less")]
)
def test_how_far_off_the_plan_was(taken, words):
    plan = {"trials": 8, "epochs": 30, "seconds": 100.0, "low": 90.0, "high": 110.0}
    assert page.planned(Spent(planned=plan, seconds=taken)).endswith(words)


def test_the_page_begins_with_what_was_read(results, show):
    data = open_task(TaskSpec.model_validate({"data": "digits"})).summary()
    results["data"] = json.loads(json.dumps(data.to_dict()))
    text = show().words
    reported = "digits: 1,797 pictures, 10 classes (0, 1, 2, 3, 4 and 5 more), smallest 8 174"
    assert 0 < text.index(reported) < text.index("Confirmed")
    assert "train 200, validation 200, test 400" in text


def test_a_detectable_difference_has_a_size_and_no_sign(results, show):
    row = {"ours": "bvg_ls", "theirs": "full", "difference": -0.02, "detectable": 0.0456}
    results["verdict"]["against_baseline"] = [row]
    assert "−2.0 – – no runs 4.6 Detectable" in show().words


def test_the_remarks_on_an_arms_tuning_name_its_range_test(results):
    row = next(row for row in results["effort"] if row["strategy"] == "full")
    row["range_steps"] = 37
    words = Reader(page.page(typed(results), {})).words
    remarks = "at an edge of its range: learning_rate=0.1; a range test of 37 steps before"
    assert remarks in words


def test_trials_of_earlier_sweeps_are_named_and_said_to_be_no_effort(results, tmp_path):
    used = {"sweep": "runs/before", "sweep_id": "before-1", "strategy": "full", "trials": 12}
    used |= {"first": ["0005"], "given": 8, "warmed": ["0009", "0011"]}
    words = Reader(page.page(typed(results | {"prior": [used]}), {})).words
    assert (
        "From earlier sweeps: runs/before, full: 12 trials; tried"
        " first as 0005; tpe suggested 2 trials with 8 of them (0009, 0011)." in words
    )
    assert "Trials of earlier sweeps are not counted as effort here" in words
    assert "Nothing was known of bvg_ls, bvg_ls_threshold, linear_probe and 1 more." in words
    assert "earlier sweeps" not in Reader(page.page(typed(results), {})).words
