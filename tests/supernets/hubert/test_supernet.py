"""What any supernet must do, and what this one refuses."""

import copy
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hubert_nets import TOLERANCE, furthest, make_supernet, random_archs, scaled, waves
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from nas.core.errors import ArchError, InputError
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.presets import BASE, SMALL, TINY
from supernets.hubert.supernet import HubertSupernet

SPACES = {"base": scaled(BASE), "small": scaled(SMALL), "tiny": TINY}


@pytest.fixture(scope="module")
def net() -> HubertSupernet:
    return make_supernet(scaled(SMALL), target_dim=20)


class Clips:
    """A task that says how long clips are, and nothing else."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def example_inputs(self, batch: int, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(rng.normal(size=(batch, self.samples))).float()


@pytest.mark.parametrize(("name", "samples"), [("base", 4_000), ("small", 16_000),
                                                ("tiny", 4_000)])
def test_macs_are_those_that_torch_counts(name: str, samples: int) -> None:
    with torch.device("meta"):
        net = HubertSupernet(SPACES[name], Clips(samples) if samples != 16_000 else None).eval()
    archs = [net.space.extreme(largest=True), *random_archs(net, 1)]
    costs = ClosedFormCosts(net.vocabulary, net.block_ids)
    codes = net.space.encode(archs)
    for arch, macs in zip(archs, costs.predict("macs", codes).value, strict=True):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net.extract(arch)(torch.empty(1, samples, device="meta"))
        assert macs == counter.get_total_flops() // 2
    # Scores of attention between all frames, and the frontend's first convolution, both are there.
    assert (costs.predict("activation_bytes", codes).value >= 4 * net.config.frontend_width
            * (samples // 5)).all()


@st.composite
def configs(draw: st.DrawFn) -> ElasticHubertConfig:
    def some(*values: float) -> tuple[float, ...]:
        return tuple(sorted(draw(st.sets(st.sampled_from(values), min_size=1, max_size=2))))

    depths = draw(st.sampled_from([(3,), (2, 3), (1, 3)]))
    order = draw(st.permutations(range(3)))
    dropped = tuple(tuple(order[:3 - depth]) for depth in depths)
    return ElasticHubertConfig(
        name="random/1", embeds=some(8, 12, 16, 20), heads=some(1, 2, 3), depths=depths,
        ratios=some(0.5, 1.0, 1.3, 2.5), dropped=dropped, width=20, layers=3, stored_heads=3,
        stored_ratio=2.5, head_dim=draw(st.sampled_from([4, 5])), frontend_width=6,
        kernels=(10, 3), strides=(5, 2), position_kernel=draw(st.sampled_from([5, 6])),
        position_groups=2)


@given(config=configs(), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_extracting_changes_nothing_in_any_config(config: ElasticHubertConfig, seed: int) -> None:
    net = make_supernet(config, seed=seed).double()
    arch = random_archs(net, 1, seed=seed)[0]
    x = waves(2, 100).double()
    with torch.no_grad():
        found = net.extract(arch)(x, output_hidden_states=True).hidden_states
        assert furthest(found, net(x, arch, hidden_states=True).hidden_states) <= 1e-10


@pytest.mark.parametrize("largest", [True, False, None])
def test_training_agrees_with_the_extracted_network(largest: bool | None) -> None:
    net = make_supernet(scaled(SMALL)).double().train()
    arch = (random_archs(net, 1)[0] if largest is None else net.space.extreme(largest=largest))
    module = net.extract(arch)
    assert module.training
    x = waves(2, 2000).double()
    mask = torch.zeros(2, net.config.frames(2000), dtype=torch.bool)
    mask[0, 1:3] = True
    found = net(x, arch, mask=mask).last_hidden_state
    if hasattr(module, "config"):
        module.config.apply_spec_augment = True  # else the mask is not looked at
    expected = module(x, mask_time_indices=mask).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(found, net(x, arch).last_hidden_state)
    for output in (found, expected):
        output.square().sum().backward()
    for name, parameter in module.named_parameters():
        layer = name.split(".")
        if layer[:2] == ["encoder", "layers"]:
            layer[2] = str(net.plan(arch).layers[int(layer[2])].index)
        stored = dict(net.named_parameters()).get(".".join(layer))
        if stored is not None and parameter.grad is not None:
            assert float(stored.grad.norm()) == pytest.approx(float(parameter.grad.norm()),
                                                              rel=1e-6, abs=1e-9), name


def test_an_extracted_network_owns_its_tensors(net: HubertSupernet) -> None:
    stored = {tensor.untyped_storage().data_ptr() for tensor in net.state_dict().values()}
    for arch in (net.space.extreme(largest=True), *random_archs(net, 1)):
        module = net.extract(arch)
        tensors = [*module.parameters()]
        own = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        assert len(own) == len(tensors)
        assert not own & stored
        assert all(tensor.is_contiguous() and tensor.is_leaf and tensor.requires_grad
                   for tensor in tensors)
        assert not module.training


def test_extracting_draws_no_random_numbers(net: HubertSupernet) -> None:
    before = torch.random.get_rng_state()
    for arch in (net.space.extreme(largest=True), *random_archs(net, 1)):
        net.extract(arch)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_stock_network_without_transformers_names_the_remedy(
        net: HubertSupernet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    net.extract(random_archs(net, 1)[0])
    with pytest.raises(InputError, match=r"pip install '\.\[speech\]'"):
        net.extract(net.space.extreme(largest=True))


def test_a_supernet_survives_pickling_and_copying(net: HubertSupernet) -> None:
    arch = random_archs(net, 1)[0]
    with torch.no_grad():
        expected = net(waves(), arch).last_hidden_state
        for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
            assert torch.equal(other(waves(), arch).last_hidden_state, expected)


def test_the_prediction_head_reads_the_leading_columns(net: HubertSupernet) -> None:
    arch = net.space.extreme(largest=False)
    with torch.no_grad():
        states = net(waves(), arch, predict=True)
        weight = net.prediction_head.weight[:, :arch.as_dict()["embed"]]
        torch.testing.assert_close(states.prediction, states.last_hidden_state @ weight.t())
        assert net(waves(), arch).prediction is None
        assert net(waves(), arch).hidden_states is None


def test_recalibrated_is_the_extracted_network(net: HubertSupernet) -> None:
    arch = random_archs(net, 1)[0]
    module = net.recalibrated(arch, [])
    with torch.no_grad():
        found = module(waves()).last_hidden_state
        assert float((found - net(waves(), arch).last_hidden_state).abs().max()) <= TOLERANCE


def test_a_new_supernet_gives_finite_numbers() -> None:
    net = HubertSupernet(TINY, target_dim=384)
    for largest in (True, False):
        states = net(torch.zeros(1, 400), net.space.extreme(largest=largest), predict=True)
        assert states.prediction.isfinite().all()
        states.prediction.square().sum().backward()
    assert all(tensor.grad is None or tensor.grad.isfinite().all() for tensor in net.parameters())


@pytest.mark.parametrize("call", [
    lambda net, arch: net(waves(), arch), lambda net, arch: net.extract(arch),
    lambda net, arch: net.recalibrated(arch, [])], ids=["forward", "extract", "recalibrated"])
def test_an_architecture_of_another_space_is_an_error(
        net: HubertSupernet, call: Callable[[HubertSupernet, Arch], object]) -> None:
    arch = net.space.extreme(largest=False)
    wider = tuple((name, 768 if name == "embed" else value) for name, value in arch.choices)
    for wrong in (Arch("hubert-base/1", arch.choices), Arch(arch.space_id, arch.choices[:-1]),
                  Arch(arch.space_id, wider)):
        with pytest.raises(ArchError):
            call(net, wrong)


PADDED = torch.zeros(2, 4800, dtype=torch.bool)


@pytest.mark.parametrize(("wave", "options", "message"), [
    (torch.zeros(2, 1, 4800), {}, "give one channel"),
    (torch.zeros(2, 399), {}, r"399 samples are shorter than one frame \(400 samples, 25 ms\)"),
    (waves(), {"padding_mask": PADDED[:, 1:]}, "not bool of the same shape"),
    (waves(), {"padding_mask": PADDED.long()}, "not bool of the same shape"),
    (waves(), {"padding_mask": torch.arange(4800).expand(2, -1) < 100}, "stands behind"),
    (waves(), {"padding_mask": torch.arange(4800).expand(2, -1) >= 399}, "of 400 samples or more"),
    (waves(), {"mask": torch.zeros(2, 3, dtype=torch.bool)}, "clips and frames"),
    (waves(), {"mask": torch.zeros(2, 14)}, "clips and frames"),
])
def test_waveforms_and_masks_that_do_not_fit(net: HubertSupernet, wave: Tensor,
                                             options: dict[str, Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        net(wave, net.space.extreme(largest=False), **options)
    assert "\n" not in str(caught.value)


def test_what_it_was_made_without_is_an_error() -> None:
    net: nn.Module = HubertSupernet(replace(scaled(BASE), name="no-task/1"))
    with pytest.raises(InputError, match="make it with target_dim"):
        net(waves(), net.space.extreme(largest=True), predict=True)
    with pytest.raises(InputError, match="has no task"):
        _ = net.task
    net.task = Clips(400)
    assert net.task.samples == 400


def test_costs_of_clips_without_a_frame_are_an_error() -> None:
    with pytest.raises(InputError, match="399 samples give no frame"):
        _ = HubertSupernet(scaled(BASE), Clips(399)).vocabulary
