import math

import numpy as np
import pytest
import torch
from proxy_models import NETS, batch, conv_net, score
from torch import Tensor, nn

from nas.core.errors import EvaluationError, InputError
from predictors.zero_cost.epe_nas import EpeNas

K = 1e-5


def jacobian_rows(model: nn.Module, inputs: Tensor) -> np.ndarray:
    model.train()
    return torch.autograd.functional.jacobian(lambda x: model(x).sum(), inputs).flatten(1).numpy()


def published(rows: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """The paper's rule, class by class."""
    sums = {}
    for label in set(labels.tolist()):
        correlations = np.atleast_2d(np.corrcoef(rows[labels == label]))
        if classes > 100 and len(correlations) == 1:
            continue
        total = np.log(np.abs(correlations) + K).sum()
        sums[label] = total / len(correlations) if classes > 100 else total
    if classes <= 100:
        return sum(abs(value) for value in sums.values())
    return sum(abs(a - b) for a in sums.values() for b in sums.values()) / len(sums)


@pytest.mark.parametrize("name", ["conv", "conv1d", "vit"])
def test_equals_the_published_rule(name: str) -> None:
    make, (inputs, targets) = NETS[name]
    inputs = inputs.double()
    expected = published(jacobian_rows(make().double(), inputs), targets.numpy(), classes=5)
    assert score(EpeNas(), make().double(), (inputs, targets)) == pytest.approx(expected, rel=1e-8)


def test_above_100_classes_differences_between_classes_count() -> None:
    inputs = batch(9)[0].double()
    labels = torch.tensor([7, 7, 7, 100, 100, 42, 42, 42, 3])  # one class has a single sample
    make = lambda: conv_net_with(101)  # noqa: E731
    expected = published(jacobian_rows(make(), inputs), labels.numpy(), classes=101)
    assert expected > 0
    assert score(EpeNas(), make(), (inputs, labels)) == pytest.approx(expected, rel=1e-8)


def conv_net_with(classes: int) -> nn.Module:
    model = conv_net()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model[-1] = nn.Linear(8, classes)
    return model.double()


def test_linear_network_has_a_closed_form() -> None:
    # All rows are equal: every correlation is 1, and a class of n samples has n² of them.
    labels = torch.tensor([0, 0, 0, 1, 1, 4])
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    expected = (9 + 4 + 1) * math.log(1 + K)
    assert score(EpeNas(), model, (batch(6)[0], labels)) == pytest.approx(expected, rel=1e-6)


def test_ignored_labels_belong_to_no_class() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, -100])
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    expected = (9 + 4) * math.log(1 + K)
    assert score(EpeNas(), model, (batch(6)[0], labels)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("labels", "classes", "message"), [
    (torch.arange(5), 5, "two samples of at least 1 of 5 classes; the batch has them of 0"),
    (torch.tensor([0, 0, 1, 2, 3]), 101, "at least 2 of 101 classes; the batch has them of 1"),
    (torch.tensor([0, 0, 0, 0, 5]), 5, "label 5 is outside 0 … 4"),
    (torch.rand(5), 5, "one integer label"),
    (torch.zeros(5, 2).long(), 5, "one integer label")])
def test_unusable_labels_are_errors(labels: Tensor, classes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        score(EpeNas(), conv_net_with(classes), (batch(5)[0].double(), labels))


def test_network_that_is_no_classifier_is_an_error() -> None:
    with pytest.raises(InputError, match=r"not \(8, 4, 6, 6\)"):
        score(EpeNas(), nn.Conv2d(3, 4, 3), batch())


def test_layer_that_is_not_finite_is_named() -> None:
    model = conv_net()
    model[0].weight.data.fill_(math.inf)
    with pytest.raises(EvaluationError, match="epe_nas: the output of 0 is not finite"):
        score(EpeNas(), model, batch())
