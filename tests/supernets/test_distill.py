"""What networks learn from: labels, a teacher's probabilities, its feature maps."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.errors import InputError
from supernets.training.distill import LabelLoss, TeacherLoss
from supernets.training.features import FeatureLoss, Taps


def network(*, seed: int = 0, classes: int = 3) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, classes)).eval()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2])


# Labels

def test_labels_may_be_numbers_or_probabilities(batch: tuple[Tensor, Tensor]) -> None:
    x, targets = batch
    logits = network()(x)
    by_number = LabelLoss(smoothing=0.1)(x, targets)(logits)
    by_share = LabelLoss(smoothing=0.1)(x, F.one_hot(targets, 3).float())(logits)
    torch.testing.assert_close(by_number, by_share)
    wanted = F.one_hot(targets, 3) * 0.9 + 0.1 / 3
    torch.testing.assert_close(by_number, -(wanted * logits.log_softmax(1)).sum(1).mean())


# A teacher

def test_a_teachers_loss_is_its_formula(batch: tuple[Tensor, Tensor]) -> None:
    x, targets = batch
    teacher, logits = network(seed=1), network()(x)
    found = TeacherLoss(teacher=teacher)(x, targets)(logits)
    p, q = (teacher(x) / 4).softmax(1), (logits / 4).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(found, 0.1 * F.cross_entropy(logits, targets) + 14.4 * divergence)


def test_weights_go_from_labels_alone_to_the_teacher_alone(batch: tuple[Tensor, Tensor]) -> None:
    x, targets = batch
    student = network()
    labels = TeacherLoss(teacher=network(seed=1), weight=0.0, smoothing=0.1)(x, targets)
    torch.testing.assert_close(labels(student(x)), LabelLoss(smoothing=0.1)(x, targets)(student(x)))
    itself = TeacherLoss(teacher=student, weight=1.0)(x, targets)
    assert itself(student(x)).item() == pytest.approx(0, abs=1e-6)
    assert itself(network(seed=1)(x)).item() > 0.01


def test_the_teacher_runs_once_a_batch_and_gets_no_gradient(batch: tuple[Tensor, Tensor]) -> None:
    teacher, calls = network(seed=1), []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    x, targets = batch
    loss = TeacherLoss(teacher=teacher)(x, targets)
    for seed in (0, 2):
        student = network(seed=seed)
        loss(student(x)).backward()
        assert student[0].weight.grad is not None
    assert len(calls) == 1
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_identity_knows_the_teachers_weights() -> None:
    same = TeacherLoss(teacher=network(seed=1)).identity()
    assert same == TeacherLoss(teacher=network(seed=1)).identity()
    others = {TeacherLoss(teacher=network(seed=2)).identity(),
              TeacherLoss(teacher=network(seed=1), temperature=2.0).identity(),
              TeacherLoss(teacher=nn.Sequential(network(seed=1), nn.BatchNorm1d(3)).eval()
                          .to(torch.bfloat16)).identity()}
    assert len(others | {same}) == 4


# Feature maps

def test_equal_maps_cost_nothing_and_others_their_distance(batch: tuple[Tensor, Tensor]) -> None:
    x, targets = batch
    teacher, student = network(seed=1), network()
    taught, own = Taps(teacher, ["0", "1"]), Taps(student, ["0", "1"])
    loss = FeatureLoss(base=TeacherLoss(teacher=teacher), student=own.maps, teacher=taught.maps,
                       weight=2.0)(x, targets)
    logits = student(x)
    base = TeacherLoss(teacher=teacher)(x, targets)(logits)
    distances = [F.mse_loss(student[:depth](x), teacher[:depth](x)) for depth in (1, 2)]
    torch.testing.assert_close(loss(logits), base + sum(distances))
    alike = FeatureLoss(base=LabelLoss(smoothing=0.0), student=own.maps,
                        teacher=lambda inputs: [student[:depth](inputs) for depth in (1, 2)])
    torch.testing.assert_close(alike(x, targets)(student(x)), F.cross_entropy(logits, targets))


def test_features_teach_the_student_alone(batch: tuple[Tensor, Tensor]) -> None:
    x, targets = batch
    teacher, student = network(seed=1), network()
    own = Taps(student, ["0"])
    loss = FeatureLoss(base=LabelLoss(smoothing=0.0), student=own.maps,
                       teacher=lambda inputs: [teacher[0](inputs)])(x, targets)
    (loss(student(x)) - F.cross_entropy(student(x), targets)).backward()
    assert teacher[0].weight.grad is None
    assert student[0].weight.grad.abs().sum() > 0


def test_closed_taps_leave_no_hook(batch: tuple[Tensor, Tensor]) -> None:
    module = network()
    taps = Taps(module, ["1"])
    module(batch[0])
    assert [tuple(feature.shape) for feature in taps.maps()] == [(6, 5)]
    taps.close()
    assert not module[1]._forward_hooks
    assert FeatureLoss(base=LabelLoss(smoothing=0.3), student=taps.maps,
                       teacher=taps.maps).identity() == (
        "FeatureLoss(weight=1.0) LabelLoss(smoothing=0.3)")


# What goes wrong

@pytest.mark.parametrize(("make", "match"), [
    (lambda: TeacherLoss(teacher=nn.Linear(1, 1)), r"in training mode; give it after \.eval"),
    (lambda: TeacherLoss(teacher=network(), weight=1.2), r"weight 1\.2 of the teacher"),
    (lambda: TeacherLoss(teacher=network(), temperature=0.0), r"temperature 0\.0 must be"),
    (lambda: Taps(network(), ["9"]), "Sequential has no layer '9'"),
])
def test_bad_settings(make: Callable[[], object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        make()


def test_a_teacher_of_other_classes_or_maps(batch: tuple[Tensor, Tensor]) -> None:
    x, targets = batch
    with pytest.raises(InputError, match=r"gives logits \(6, 7\), the network \(6, 3\)"):
        TeacherLoss(teacher=network(classes=7))(x, targets)(network()(x))
    loss = FeatureLoss(base=LabelLoss(smoothing=0.0), student=lambda _: [torch.zeros(6, 2)],
                       teacher=lambda _: [torch.zeros(6, 5)])(x, targets)
    with pytest.raises(InputError, match=r"maps are \[\(6, 5\)\], the network's \[\(6, 2\)\]"):
        loss(network()(x))
