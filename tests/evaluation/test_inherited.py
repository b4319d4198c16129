from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from nas.core.errors import ArchError, DataError, EvaluationError, InputError
from nas.evaluation.inherited import InheritedEvaluator
from supernets.tasks.image_classification import ImageClassification


@dataclass
class WatchedTask:
    """A task that notes what is read and which networks are validated."""

    inner: ImageClassification
    reads: list = field(default_factory=list)
    validated: list = field(default_factory=list)

    def batches(self, split):
        self.reads.append(split)
        return self.inner.batches(split)

    def metrics(self, model, batches):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        found = self.inner.metrics(model, batches)
        assert not model.training
        assert_same_state(before, model.state_dict())
        self.validated.append(before)
        return found


def assert_same_state(expected, found):
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name


def costs_of(supernet):
    return ClosedFormCosts(supernet.vocabulary, supernet.block_ids)


def test_metrics_are_those_of_the_plain_way(tiny_supernet):
    task, costs = tiny_supernet.task, costs_of(tiny_supernet)
    evaluate = InheritedEvaluator(tiny_supernet, cost_models=[costs], metrics=["macs", "params"])
    on_test = InheritedEvaluator(tiny_supernet, split="test")
    codes = tiny_supernet.space.sample_codes(8, np.random.default_rng(2))
    errors = set()
    for arch in tiny_supernet.space.decode(codes):
        module = tiny_supernet.recalibrated(arch, task.batches("train_calib"))
        code = tiny_supernet.space.encode([arch])
        expected = {**task.metrics(module, task.batches("search")),
                    "macs": costs.predict("macs", code).value[0],
                    "params": costs.predict("params", code).value[0]}
        assert evaluate(arch) == expected
        assert on_test(arch) == task.metrics(module, task.batches("test"))
        errors.add(expected["error"])
    assert len(errors) > 1


def test_batch_norm_sees_train_calib_only_and_the_supernet_nothing(make_tiny_supernet, tiny_task):
    task = WatchedTask(tiny_task)
    supernet = make_tiny_supernet(task)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    arch = supernet.space.extreme(largest=True)
    InheritedEvaluator(supernet)(arch)
    assert_same_state(before, supernet.state_dict())
    assert task.reads == ["train_calib", "search"]
    (validated,) = task.validated
    alone = supernet.recalibrated(arch, tiny_task.batches("train_calib")).state_dict()
    for name, tensor in alone.items():
        torch.testing.assert_close(validated[name], tensor)


def test_recalibration_needs_no_other_split(make_tiny_supernet, tiny_task):
    class CalibrationOnly(WatchedTask):
        def batches(self, split):
            if split != "train_calib":
                raise AssertionError(f"{split} was read")
            return super().batches(split)

        def metrics(self, model, batches):
            del model, batches  # never iterated, so never read
            return {"error": 50.0}

    supernet = make_tiny_supernet(CalibrationOnly(tiny_task))
    with pytest.raises(AssertionError, match="search was read"):
        InheritedEvaluator(supernet)(supernet.space.extreme(largest=False))
    evaluate = InheritedEvaluator(supernet, split="train_calib")
    assert evaluate(supernet.space.extreme(largest=False)) == {"error": 50.0}


def test_a_network_is_validated_once_and_calibration_images_are_read_once(make_tiny_supernet,
                                                                          tiny_task):
    task = WatchedTask(tiny_task)
    supernet = make_tiny_supernet(task)
    evaluate = InheritedEvaluator(supernet)
    small, large = (supernet.space.extreme(largest=largest) for largest in (False, True))
    first = evaluate(small)
    assert evaluate(small) == first
    evaluate(large)
    # A gene that does not matter makes no other network.
    gene = "stage0.block1.kernel"
    twin = Arch(small.space_id, tuple((name, 5 if name == gene else value)
                                      for name, value in small.choices))
    assert twin.digest != small.digest
    assert evaluate(twin) == first
    assert task.reads.count("train_calib") == 1
    assert len(task.validated) == 2
    first["error"] = -1.0  # the caller's copy
    assert evaluate(small)["error"] >= 0


def test_bad_input_is_named(tiny_supernet):
    costs = costs_of(tiny_supernet)
    with pytest.raises(InputError, match=r"'latency_ms'; known: macs, params, activation_bytes"):
        InheritedEvaluator(tiny_supernet, cost_models=[costs], metrics=["latency_ms"])
    evaluate = InheritedEvaluator(tiny_supernet, split="validation")
    with pytest.raises(DataError, match="'validation'"):
        evaluate(tiny_supernet.space.extreme(largest=True))
    with pytest.raises(ArchError, match="other/1"):
        evaluate(Arch("other/1", ()))


def test_a_metric_that_is_not_finite_is_an_error(make_tiny_supernet, tiny_task):
    class Broken(WatchedTask):
        def metrics(self, model, batches):
            del model, batches
            return {"error": float("nan")}

    supernet = make_tiny_supernet(Broken(tiny_task))
    with pytest.raises(EvaluationError, match="'error'"):
        InheritedEvaluator(supernet)(supernet.space.extreme(largest=True))
