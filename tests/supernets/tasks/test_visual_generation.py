import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.core.errors import DataError, EvaluationError, InputError
from nas.core.protocols import quality_of, signature_of
from supernets.tasks.visual_generation import TokenMaps, VisualGeneration

SIDES, CODES = (1, 2), 7  # 5 tokens


def maps(count: int, *, seed: int = 0, code: int = CODES) -> TokenMaps:
    rng = np.random.default_rng(seed)
    return TokenMaps(rng.integers(code, size=(count, 5), dtype=np.uint16),
                     rng.integers(3, size=count, dtype=np.uint16))


def make_task(count: int = 10, **other: object) -> VisualGeneration:
    return VisualGeneration(splits={"search": maps(count)}, patch_nums=SIDES, vocabulary=CODES,
                            classes=3, batch_size=4, **other)  # type: ignore[arg-type]


class Oracle(nn.Module):
    """Knows the tokens of the first `sure` places, and nothing of the others."""

    def __init__(self, sure: int, margin: float = 50.0) -> None:
        super().__init__()
        self.sure, self.margin = sure, margin

    def forward(self, tokens_BM: Tensor) -> Tensor:
        logits = torch.zeros(len(tokens_BM), 5, CODES)
        hits = tokens_BM[:, 1:1 + self.sure, None]
        return logits.scatter(2, hits, self.margin)


def test_batches_are_class_and_tokens_in_stored_order() -> None:
    task = make_task()
    inputs, targets = zip(*task.batches("search"), strict=True)
    assert [len(batch) for batch in inputs] == [4, 4, 2]
    stored = task.splits["search"]
    np.testing.assert_array_equal(torch.cat(inputs)[:, 0].numpy(), stored.labels_N)
    np.testing.assert_array_equal(torch.cat(inputs)[:, 1:].numpy(), stored.tokens_NL)
    np.testing.assert_array_equal(torch.cat(targets).numpy(), stored.tokens_NL)
    assert torch.cat(inputs).dtype == torch.int64


@pytest.mark.parametrize(("sure", "error", "scales"), [
    (0, 100.0, [math.log(CODES)] * 2),  # a uniform guess
    (1, 80.0, [0.0, math.log(CODES)]),  # one token of five
    (3, 40.0, [0.0, math.log(CODES) / 2]),
    (5, 0.0, [0.0, 0.0])])
def test_error_is_the_share_of_a_uniform_guess(sure: int, error: float,
                                               scales: list[float]) -> None:
    task = make_task()
    found = task.metrics(Oracle(sure), task.batches("search"))
    assert found["error"] == pytest.approx(error, abs=1e-5)
    assert [found["ce_scale1"], found["ce_scale2"]] == pytest.approx(scales, abs=1e-6)


def test_error_does_not_depend_on_batches_and_agrees_with_the_loss() -> None:
    task = make_task()
    model = Oracle(4, margin=1.5)
    (inputs, targets), = replace(task, batch_size=10).batches("search")
    loss = float(task.loss(model(inputs), targets))
    assert task.metrics(model, task.batches("search"))["error"] == pytest.approx(
        100 * loss / math.log(CODES), rel=1e-6)


def test_example_inputs_are_classes_and_codes() -> None:
    inputs = make_task().example_inputs(64, np.random.default_rng(0))
    assert inputs.shape == (64, 6)
    assert inputs.dtype == torch.int64
    assert set(inputs[:, 0].tolist()) == {0, 1, 2}
    assert set(inputs[:, 1:].flatten().tolist()) == set(range(CODES))


def test_it_says_what_its_error_is_and_what_a_file_takes() -> None:
    task = make_task()
    assert "uniform guess" in quality_of(task).error
    assert signature_of(task).input == "tokens"
    described = json.loads(task.onnx_metadata()["preprocessing"])
    assert described["patch_nums"] == [1, 2]
    assert (described["vocabulary"], described["classes"]) == (CODES, 3)


class Sampler:
    features = "a test"

    def __call__(self, model: nn.Module, samples: int) -> dict[str, float]:
        del model
        return {"error": float(samples)}


def test_fid_is_asked_of_the_sampler_and_named() -> None:
    task = make_task(sampler=Sampler()).with_measure("fid", samples=30)
    assert task.metrics(Oracle(0), []) == {"error": 30.0}
    assert "30 generated images" in quality_of(task).error
    assert "a test" in quality_of(task).error


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="none of cross-entropy, fid"):
        make_task(measure="beauty")
    with pytest.raises(InputError, match="feature net"):
        make_task(measure="fid")
    with pytest.raises(DataError, match="token 7, and there are 7"):
        VisualGeneration(splits={"test": maps(50, code=CODES + 1)}, patch_nums=SIDES,
                         vocabulary=CODES, classes=3)
    with pytest.raises(DataError, match="5 tokens"):
        VisualGeneration(splits={"test": maps(5)}, patch_nums=(1, 3), vocabulary=CODES, classes=3)
    with pytest.raises(DataError, match="no split 'test'"):
        list(make_task().batches("test"))
    with pytest.raises(DataError, match="it got none"):
        VisualGeneration(splits={}, patch_nums=SIDES, vocabulary=CODES, classes=3)
    with pytest.raises(DataError, match="uint16"):
        TokenMaps(np.zeros((2, 5), np.int64), np.zeros(2, np.uint16))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no batches"):
        make_task().metrics(Oracle(0), [])
    with pytest.raises(EvaluationError, match="not finite"):
        make_task().metrics(Oracle(5, math.inf), make_task().batches("search"))
