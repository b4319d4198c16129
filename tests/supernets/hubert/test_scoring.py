"""What a search asks of speech encoders beside their quality: counts, zero-cost scores."""

import math

import numpy as np
import pytest
import torch
from hubert_nets import make_supernet, random_archs
from hubert_trainings import tiny_config
from speech_supernets import DIM, SAMPLES, windows

from nas.core.costs import ClosedFormCosts
from nas.core.errors import InputError
from nas.core.protocols import quality_of
from nas.evaluation.efficiency import count_activation_bytes, count_macs, count_params
from nas.evaluation.fresh import initialise
from nas.evaluation.proxy_scores import ProxyScores, Weights, proxy_batch
from nas.pipeline.proxies import load_proxy
from predictors.registry import PROXIES
from supernets.hubert.wave_supernet import WaveSupernet
from supernets.tasks.distillation import FeatureDistillation

# What a supernet of speech cannot give: labels, and layers whose weight is no parameter.
CANNOT = {"epe_nas": "epe_nas needs one integer label for every sample",
          "fisher": "fisher: the weight of encoder.encoder.pos_conv_embed.conv is computed"}


@pytest.fixture(scope="module")
def net() -> WaveSupernet:
    hubert = make_supernet(tiny_config(), target_dim=DIM)
    assert hubert.prediction_head is not None
    hubert.task = FeatureDistillation(head_DE=hubert.prediction_head.weight.detach(),
                                      splits={"train_calib": windows(6, seed=0)})
    return WaveSupernet(hubert).eval()


def test_closed_forms_are_the_counts_of_extracted_encoders(net: WaveSupernet) -> None:
    costs = ClosedFormCosts(net.vocabulary, net.block_ids)
    wave = torch.zeros(1, SAMPLES)
    for arch in [net.space.extreme(largest=True), *random_archs(net.net, 2)]:
        module, codes = net.extract(arch), net.space.encode([arch])
        found = {"params": count_params(module), "macs": count_macs(module, wave),
                 "activation_bytes": count_activation_bytes(module, wave)}
        assert found == {name: costs.predict(name, codes).value[0] for name in found}


@pytest.mark.parametrize("name", [entry.name for entry in PROXIES.builtin])
@pytest.mark.parametrize("weights", ["fresh", "inherited"])
def test_every_proxy_scores_an_encoder_or_says_why_not(net: WaveSupernet, name: str,
                                                       weights: Weights) -> None:
    arch = random_archs(net.net, 1)[0]
    batch = proxy_batch(net.task.batches("train_calib"), 6)
    scores = [ProxyScores(name, net, load_proxy(name), batch=batch, weights=weights)
              for _ in range(2)]
    if name in CANNOT:
        with pytest.raises(InputError, match=CANNOT[name]) as found:
            scores[0]([arch])
        assert "\n" not in str(found.value)
        return
    first, again = (float(score([arch])[0]) for score in scores)
    assert math.isfinite(first)
    assert first == again


def test_fresh_weights_are_fresh_behind_weight_norm_too(net: WaveSupernet) -> None:
    arch = net.space.extreme(largest=True)
    drawn = []
    for seed in (0, 0, 1):
        module = net.extract(arch)
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        initialise(module, seed)
        kept = {name for name, tensor in module.state_dict().items()
                if torch.equal(before[name], tensor)}
        assert kept == {"encoder.masked_spec_embed"}  # which no inference reads
        drawn.append(module(torch.ones(1, SAMPLES).cumsum(1) % 7).detach())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert np.isfinite(drawn[2].numpy()).all()


def test_distillation_says_what_its_error_is(net: WaveSupernet) -> None:
    assert quality_of(net.task).inputs == "windows"
    assert "teacher" in quality_of(net.task).error
