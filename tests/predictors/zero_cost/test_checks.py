import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from nas.core.errors import EvaluationError, InputError
from predictors.zero_cost.checks import (
    batch_loss,
    check_finite,
    check_targets,
    counted_layers,
    counted_weights,
    map_tensors,
    mean_loss,
    samples_count,
    torch_generator,
)


def test_counted_layers_and_their_weights() -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.ConvTranspose1d(2, 2, 3),
                          weight_norm(nn.Linear(4, 4)), nn.Sequential(nn.Conv3d(1, 1, 1)))
    model.append(model[0])  # one module in two places is one layer
    assert [name for name, _ in counted_layers(model)] == ["0", "3", "4.0"]
    assert list(counted_weights(model)) == [
        "0.weight", "3.parametrizations.weight.original0",
        "3.parametrizations.weight.original1", "4.0.weight"]
    assert list(counted_weights(nn.Linear(2, 2))) == ["weight"]


def test_no_layer_is_an_error() -> None:
    with pytest.raises(InputError, match="no Conv or Linear layer in BatchNorm2d"):
        counted_layers(nn.BatchNorm2d(3))


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_label_out_of_range_is_an_error(label: int) -> None:
    with pytest.raises(InputError, match=rf"label {label} is outside 0 … 2: the network has 3"):
        check_targets(torch.zeros(2, 3), torch.tensor([0, label]))


@pytest.mark.parametrize(("outputs", "targets"), [
    (torch.zeros(2, 3), torch.tensor([2, -100])),  # torch's mark for an ignored target
    (torch.zeros(2, 3), torch.tensor([5.0, 7.0])),
    (torch.zeros(2), torch.tensor([5, 7])),
    ((torch.zeros(2, 3),), torch.tensor([5, 7])),
    (torch.zeros(2, 3), None),
])
def test_other_targets_are_left_to_the_loss(outputs: object, targets: object) -> None:
    check_targets(outputs, targets)


def test_loss_must_be_a_finite_scalar() -> None:
    with pytest.raises(InputError, match=r"the loss has the shape \(2,\)"):
        mean_loss(lambda o, _: o.sum(1), torch.zeros(2, 3), None)
    with pytest.raises(EvaluationError, match="the loss is inf"):
        mean_loss(lambda o, _: o.sum(), torch.full((2, 3), torch.inf), None)


def test_first_layer_whose_output_is_not_finite_is_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2))
    with torch.no_grad():
        model[1][0].bias.fill_(torch.nan)
    batch = (torch.ones(3, 2), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(EvaluationError, match=r"not finite are those of 1\.0;"):
        batch_loss(model, batch, loss=F.cross_entropy)
    assert not model[0]._forward_hooks
    with pytest.raises(EvaluationError, match="not finite are those of the inputs;"):
        batch_loss(model, (batch[0] * torch.inf, batch[1]), loss=F.cross_entropy)
    with pytest.raises(EvaluationError, match="the loss is"):
        batch_loss(model[2], batch, loss=lambda outputs, _: outputs.sum() * torch.inf)


def test_scores_that_are_not_finite_are_named() -> None:
    check_finite("p", {"a": 1.0, "b": torch.ones(2)})
    for wrong in (float("nan"), torch.tensor([1.0, -torch.inf])):
        with pytest.raises(EvaluationError, match=r"p: the score of layer\.b is not finite"):
            check_finite("p", {"a": 1.0, "layer.b": wrong})


def test_samples_are_counted_in_nested_inputs() -> None:
    x = torch.zeros(4, 2)
    assert samples_count((x, torch.zeros(4))) == 4
    assert samples_count(({"a": [x]}, None)) == 4
    with pytest.raises(InputError, match="4 inputs and 3 targets"):
        samples_count((x, torch.zeros(3)))
    with pytest.raises(InputError, match="snip needs a batch of at least 5 samples, not 4"):
        samples_count((x, None), at_least=5, proxy="snip")
    with pytest.raises(InputError, match="hold no tensor"):
        samples_count(("text", None))


def test_tensors_are_mapped_where_they_are() -> None:
    def double(tensor: Tensor) -> Tensor:
        return tensor * 2

    one = torch.ones(1)
    assert map_tensors(double, {"a": (one, 3), "b": [one]}) == {"a": (one * 2, 3), "b": [one * 2]}


def test_generators_follow_the_given_one() -> None:
    first, second = (torch_generator(np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(torch.randn(3, generator=first), torch.randn(3, generator=second))
    rng = np.random.default_rng(5)
    torch_generator(rng)
    assert not torch.equal(torch.randn(3, generator=torch_generator(rng)),
                           torch.randn(3, generator=torch_generator(np.random.default_rng(5))))
