"""What is remembered of a model: read back as it was found, and never trusted blindly."""

import json

import pytest
from torch import nn

from raysel.common.errors import UserError
from raysel.models import known_models, layers, timm
from raysel.models.known_models import facts_of, partition_of

QUESTION = ("test_resnet", "coarse", 10, 1, "linear", (16, 16))


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of the user's, in a process that has not loaded timm; how often the model
    itself was asked."""
    asked: list[tuple] = []

    def ask(*question):
        asked.append(question)
        return inner(*question)

    inner = layers.partition_of
    monkeypatch.setattr(layers, "partition_of", ask)
    monkeypatch.setattr(known_models, "_is_timm_loaded", lambda: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return asked


def kept(tmp_path):
    (file,) = (tmp_path / "raysel" / "models").iterdir()
    return file


@pytest.mark.parametrize("rule", ["coarse", ("conv1", "bn1", "layer[1-4]", "fc")])
def test_layers_are_asked_for_once_and_read_back_as_they_were(cache, tmp_path, rule):
    question = ("test_resnet", rule, *QUESTION[2:])
    first, second = partition_of(*question), partition_of(*question)
    assert first == second and first.notes == second.notes
    assert cache == [question]
    assert len(list((tmp_path / "raysel" / "models").iterdir())) == 1  # and no partial file


def test_another_question_is_another_answer(cache):
    assert len(partition_of("test_resnet", "delimiter", 10)) > len(partition_of(*QUESTION))
    assert partition_of("test_resnet", "coarse", 7).size != partition_of(*QUESTION).size
    assert len(cache) == 3


def test_what_timm_says_of_a_model_is_read_back(cache):
    assert facts_of("test_resnet") == facts_of("test_resnet")
    found = facts_of("resnet10t")
    assert found.input.size == 176 and found.has_weights
    assert found.place.hub_id == "timm/resnet10t.c3_in1k"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[1, 2]",
        lambda text: "[" * 100_000,
        lambda text: json.dumps({"asked": json.loads(text)["asked"], "found": {"layers": 3}}),
        lambda text: json.dumps(
            {
                "asked": json.loads(text)["asked"] | {"timm": "0.1"},
                "found": json.loads(text)["found"],
            }
        ),
        lambda text: text.encode("utf-16"),
    ],
)
def test_a_damaged_or_foreign_file_is_made_anew(cache, tmp_path, damage):
    right = partition_of(*QUESTION)
    file = kept(tmp_path)
    text = file.read_text()
    wrong = damage(text)
    file.write_bytes(wrong if isinstance(wrong, bytes) else wrong.encode())
    assert partition_of(*QUESTION) == right and len(cache) == 2
    assert kept(tmp_path).read_text() == text
    assert partition_of(*QUESTION) == right and len(cache) == 2


def test_other_versions_ask_again(cache, monkeypatch):
    partition_of(*QUESTION)
    versions = known_models._versions() | {"timm": "99"}
    monkeypatch.setattr(known_models, "_versions", lambda: versions)
    partition_of(*QUESTION)
    assert len(cache) == 2


def test_a_cache_that_cannot_be_written_is_done_without(cache, tmp_path):
    (tmp_path / "raysel").write_text("a file in the folder's place")
    assert partition_of(*QUESTION) == partition_of(*QUESTION)
    assert len(cache) == 2


def test_a_model_of_the_users_own_is_never_remembered(cache, tmp_path, monkeypatch):
    def of_mine(pretrained=False, num_classes=10, in_chans=3, **others):
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))

    of_mine.__module__ = "mine"
    monkeypatch.setitem(timm.models._registry._model_entrypoints, "of_mine", of_mine)
    facts_of("of_mine")
    assert not (tmp_path / "raysel").exists()


def test_where_timm_is_loaded_it_is_asked_itself(cache, monkeypatch):
    partition_of(*QUESTION)
    monkeypatch.setattr(known_models, "_is_timm_loaded", lambda: True)
    partition_of(*QUESTION)
    assert len(cache) == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet18.a1_in2k", 'did you mean "a1_in1k"?'),
        ("resnet18.", "there is a1_in1k, a2_in1k"),
        ("test_resnet.nope", "there is r160_in1k"),
        ("cifar_wrn_16_1.x", "it has none"),
    ],
)
def test_weights_that_a_model_has_not_are_refused_with_the_nearest(name, hint):
    with pytest.raises(UserError) as caught:
        facts_of(name)
    (problem,) = caught.value.problems
    assert problem.path == "model.name" and hint in problem.message


def test_weights_that_it_has_are_taken():
    assert facts_of("resnet18.a1_in1k").has_weights
    assert not facts_of("cifar_wrn_16_1").has_weights
