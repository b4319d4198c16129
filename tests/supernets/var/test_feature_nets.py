import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from var_folders import SMALL_FEATURES, noise_images, small_classifier

from nas.core.errors import DataError, EvaluationError, InputError, SpaceError
from supernets.tasks.idx import read_split
from supernets.tasks.image_classification import LabelledImages
from supernets.var.classifier import ClassifierConfig, FeatureClassifier
from supernets.var.classifier_training import default_recipe, image_task, train_classifier
from supernets.var.feature_nets import load_feature_net
from supernets.var.presets import FMNIST, VAE_FMNIST

FASHION = Path("/usr/share/datasets/fashion-mnist")


def test_features_lead_to_the_logits() -> None:
    net, images = small_classifier(), noise_images(5)
    with torch.no_grad():
        features = net.features(images)
        assert features.shape == (5, 6)
        assert torch.equal(net(images), net.head(features))
        assert [tuple(found.shape) for found in net.maps(images)] == [(5, 4, 24, 24),
                                                                      (5, 6, 12, 12)]
    with pytest.raises(InputError, match="takes images"):
        net(images[..., :20])


def test_the_classifier_of_a_var_is_small_and_of_its_images() -> None:
    config = ClassifierConfig.of(FMNIST, VAE_FMNIST)
    assert (config.image_size, config.image_channels, config.classes) == (28, 1, 10)
    assert sum(weights.numel() for weights in FeatureClassifier(config).parameters()) <= 150_000
    assert ClassifierConfig.from_dict(asdict(config)) == config
    with pytest.raises(SpaceError, match=r"widths\[1\] 0"):
        replace(config, widths=(4, 0))


def _stripes(count: int, *, seed: int) -> LabelledImages:
    # Class 0 has columns, class 1 rows, class 2 neither.
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=count, dtype=np.uint8)
    pixels = rng.integers(0, 120, (count, 24, 24), dtype=np.uint8)
    pixels[labels == 0, :, ::4] += 120
    pixels[labels == 1, ::4, :] += 120
    return LabelledImages(pixels, labels)


def test_training_learns_classes_and_is_repeatable() -> None:
    recipe = default_recipe(3)
    nets = [train_classifier(SMALL_FEATURES, _stripes(256, seed=0), recipe=recipe, batch_size=32)
            for _ in range(2)]
    for one, other in zip(*(net.state_dict().values() for net in nets), strict=True):
        assert torch.equal(one, other)
    task = image_task(SMALL_FEATURES, {"test": _stripes(100, seed=1)})
    assert task.metrics(nets[0], task.batches("test"))["error"] < 10
    assert not nets[0].training


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="Fashion-MNIST is not installed")
def test_training_reaches_91_percent_on_clothes() -> None:
    train, test = (LabelledImages(*read_split(FASHION, name)) for name in ("train", "t10k"))
    config = ClassifierConfig.of(FMNIST, VAE_FMNIST)
    net = train_classifier(config, train, recipe=default_recipe())
    task = image_task(config, {"test": test})
    assert task.metrics(net, task.batches("test"))["error"] <= 9.0


class Means(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def _onnx_means(path: Path) -> Path:
    make = onnx.helper
    value = make.make_tensor_value_info
    node = make.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=1)
    graph = make.make_graph([node], "means",
                            [value("x", onnx.TensorProto.FLOAT, ["b", "c", "h", "w"])],
                            [value("y", onnx.TensorProto.FLOAT, ["b", "c", 1, 1])])
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8),
              path)
    return path


def _torchscript_means(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # as of torch 2.9: still what files are
        torch.jit.save(torch.jit.script(Means()), str(path))  # type: ignore[no-untyped-call]
    return path


@pytest.mark.parametrize(("name", "make"), [("means.onnx", _onnx_means),
                                            ("means.pt", _torchscript_means)])
def test_a_file_gives_features_of_prepared_images(tmp_path: Path, name: str,
                                                  make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / name)
    images = noise_images(3)
    net = load_feature_net(path, side=30, channels=3, pixels=(0.0, 255.0))
    found = net.features(images)
    assert net.name == name
    assert found.shape == (3, 3)
    wanted = ((images + 1) / 2 * 255).mean((1, 2, 3))
    assert torch.allclose(found, wanted[:, None].expand(3, 3), rtol=0.02)
    plain = load_feature_net(path).features(images)
    assert torch.allclose(plain, images.mean((2, 3)), atol=1e-6)
    with pytest.raises(InputError, match="takes 3 channels"):
        net.features(torch.zeros(1, 2, 24, 24))


def test_files_that_give_no_features_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_feature_net(tmp_path / "none.onnx")
    with pytest.raises(InputError, match="TorchScript"):
        load_feature_net(tmp_path / "net.h5")
    with pytest.raises(InputError, match="1 or more"):
        load_feature_net(tmp_path / "net.onnx", side=0)
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(DataError, match="cannot be read as a feature net"):
        load_feature_net(tmp_path / "bad.onnx")
    net = load_feature_net(_onnx_means(tmp_path / "means.onnx"))
    with pytest.raises(EvaluationError, match="refuses images"):
        net.features(torch.zeros(2, 3, 4))
    with pytest.raises(InputError, match=r"gives \(2, 3\) for 4 images"):
        replace(net, run=lambda x: x.mean((2, 3))[:2]).features(torch.zeros(4, 3, 8, 8))
