"""timm's pretrained weights: fetched once, and one line where they cannot be had."""

import huggingface_hub
import pytest
import torch

from raysel.common.errors import OperationalError
from raysel.models import pretrained
from raysel.models.build import ModelConfig, build
from raysel.models.layers import shapes_of
from raysel.models.pretrained import pretrained_weights
from raysel.models.weights import matching_weights


def test_without_a_network_and_a_cache_one_line_reports(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        OperationalError, match=r"model\.weights: timm's weights of resnet10t"
    ) as reported:
        pretrained_weights(ModelConfig("resnet10t", 10, 3, (64, 64)))
    assert "\n" not in str(reported.value)
    assert not caplog.records


@pytest.mark.parametrize(("classes", "kept"), [(1000, True), (10, False)])
def test_timms_classifier_stays_where_it_is_the_tasks(monkeypatch, classes, kept):
    hub: list[torch.nn.Module] = []

    def fetched(model_config: ModelConfig, seed: int, pretrained: bool) -> torch.nn.Module:
        assert pretrained
        hub.append(build(model_config, seed=7))
        return hub[0]

    monkeypatch.setattr(pretrained, "build", fetched)
    model_config = ModelConfig("test_resnet", classes, 3, (64, 64))
    found = matching_weights(pretrained_weights(model_config), shapes_of("test_resnet", classes, 3))
    assert ("fc.weight" in found) == kept
    body = hub[0].state_dict()
    assert all(torch.equal(found[k], v) for k, v in body.items() if not k.startswith("fc."))
