"""timm models by name: the weights that they start with, and everything that can be wrong."""

from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from nas.core.errors import InputError
from supernets.timm.create import create_model, preprocessing_of
from supernets.timm.weight_files import read_weights

TEACHER = (Path(__file__).parents[4] / "shared" / "data" / "teachers"
           / "tf_efficientnet_lite0_timm.safetensors")
CLASSES = 5


def weights_of(name: str, file: Path, **shape: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        state = timm.create_model(name, **shape).state_dict()
    (save_file if file.suffix == ".safetensors" else torch.save)(state, file)
    return state


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_a_file(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    state = weights_of("test_resnet", file, num_classes=CLASSES)
    told: list[str] = []
    model = create_model("test_resnet", num_classes=CLASSES, in_chans=3, weights=file,
                         notice=told.append)
    assert not model.training
    assert not told
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_averaged_weights_of_a_checkpoint_are_taken(tmp_path: Path) -> None:
    state = weights_of("test_resnet", tmp_path / "plain.pth", num_classes=CLASSES)
    averaged = {f"module.{name}": value + 1 for name, value in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": averaged, "epoch": 3}, tmp_path / "all.pth")
    found = read_weights(tmp_path / "all.pth")
    assert found.keys() == state.keys()
    assert torch.equal(found["conv1.0.weight"], state["conv1.0.weight"] + 1)


def test_a_new_head_is_made_only_if_allowed_and_told(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    state = weights_of("test_resnet", file, num_classes=7)
    with pytest.raises(InputError, match=r"weights\.pth is of a network with 7 classes, and 5 are"):
        create_model("test_resnet", num_classes=CLASSES, in_chans=3, weights=file)
    told: list[str] = []
    model = create_model("test_resnet", num_classes=CLASSES, in_chans=3, weights=file,
                         new_head=True, notice=told.append)
    assert told == ["a new head for 5 classes: the weights' own has 7"]
    different = {name for name, value in model.state_dict().items()
                 if not torch.equal(value, state[name])}
    assert different == {"fc.weight", "fc.bias"}
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, CLASSES)


def test_weights_of_colour_images_serve_grey_ones(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    state = weights_of("test_resnet", file, num_classes=CLASSES)
    model = create_model("test_resnet", num_classes=CLASSES, in_chans=1, weights=file)
    grey = torch.rand(2, 1, 32, 32)
    colour = timm.create_model("test_resnet", num_classes=CLASSES).eval()
    colour.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(model(grey), colour(grey.expand(-1, 3, -1, -1)),
                                   rtol=1e-4, atol=1e-5)


def test_position_embeddings_are_resized(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    weights_of("test_vit", file, num_classes=CLASSES)
    model = create_model("test_vit", num_classes=CLASSES, in_chans=3, img_size=48, weights=file)
    assert model(torch.zeros(1, 3, 48, 48)).shape == (1, CLASSES)


@pytest.mark.skipif(not TEACHER.is_file(), reason="the published weights are not at hand")
def test_published_weights() -> None:
    model = create_model("tf_efficientnet_lite0", num_classes=1000, in_chans=3, weights=TEACHER)
    state = read_weights(TEACHER)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for name, said in (("tf_efficientnet_lite1", "90 tensors are missing, such as blocks."),
                       ("resnet18", "tensors are unexpected, such as blocks.")):
        with pytest.raises(InputError, match=said):
            create_model(name, num_classes=1000, in_chans=3, weights=TEACHER)


@pytest.mark.parametrize(("name", "options", "said"), [
    ("test_resnett", {}, "timm has no model 'test_resnett'; did you mean test_resnet"),
    ("zzzzzzzz", {}, r"timm has no model 'zzzzzzzz'; timm\.list_models"),
    ("resnet18.a1_in", {}, r"no weights 'a1_in' of resnet18; did you mean resnet18\.a1_in1k"),
    ("test_vit", {"img_size": 50}, "test_vit does not take images of 50×50 .*image size"),
    ("test_maxvit", {"pretrained": True}, "no pretrained weights of test_maxvit"),
    ("test_resnet", {"weights": Path("nowhere.pth")}, r"nowhere\.pth does not exist"),
    ("test_resnet", {"weights": Path("x.pth"), "pretrained": True}, "give one of them"),
])
def test_what_timm_has_not(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        create_model(name, num_classes=CLASSES, in_chans=3, **options)
    assert "\n" not in str(error.value)


def test_pretrained_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch,
                                                   tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"download https://huggingface\.co/timm/test_resnet\.r160_"
                                         r"in1k/resolve/main/model\.safetensors elsewhere and give "
                                         "--weights FILE"):
        create_model("test_resnet", num_classes=CLASSES, in_chans=3, pretrained=True)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\3\4" + bytes(40)])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"weights file .* cannot be read \(") as error:
        read_weights(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("content", "said"), [
    ([1, 2], "cannot be read"), ({"a": 1}, "its 'a' is none"), ({}, "it is empty"),
    ({"state_dict": {"b": "text"}}, "its 'b' is none"), (Path("x"), "cannot be read")])
def test_files_of_something_else(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=said):
        read_weights(tmp_path / "weights.pth")


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    state = weights_of("test_resnet", tmp_path / "weights.pth", num_classes=CLASSES)
    state["layer1.0.conv1.weight"] = torch.zeros(3)
    del state["layer1.0.bn1.weight"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"1 tensors are missing, such as layer1\.0\.bn1\.weight; "
                                         r"1 tensors are of another shape, such as layer1\.0\.con"):
        create_model("test_resnet", num_classes=CLASSES, in_chans=3, weights=tmp_path
                     / "weights.pth")


def test_preprocessing_is_that_of_the_weights() -> None:
    assert preprocessing_of("tf_efficientnet_lite0")["mean"] == (0.5, 0.5, 0.5)
    assert preprocessing_of("test_vit.r160_in1k")["input_size"] == (3, 160, 160)
