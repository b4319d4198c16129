"""What `nas prune` refuses, before anything is trained, in one line."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pruning import arguments, prune_request

from cli.main import main
from nas.core.errors import InputError, ProfileError
from nas.pipeline.events import Event
from nas.pipeline.prune.amount import Amount, amount
from nas.pipeline.prune.folder import options, write_json
from nas.pipeline.prune.request import make_prune_request
from nas.pipeline.prune.run import prune


@pytest.mark.parametrize(("text", "value", "is_share"), [
    ("60%", 0.6, True), ("100%", 1.0, True), ("25M", 25e6, False), ("1.5e6", 1.5e6, False),
    (4, 4.0, False), ("40,000", 40_000.0, False)])
def test_amounts(text: Any, value: float, is_share: bool) -> None:
    found = amount(text)
    assert isinstance(found, Amount)
    assert found.value == pytest.approx(value)
    assert found.is_share == is_share
    assert found.of(10.0) == pytest.approx(10 * value if is_share else value)


@pytest.mark.parametrize(("change", "message"), [
    ({"macs": "101%"}, "over 100 % .* nothing to prune"),
    ({"macs": "x"}, "--macs: give a number, or a percentage"),
    ({"macs": "0"}, "more than 0"), ({"macs": "nan"}, "--macs"), ({"macs": "inf"}, "--macs"),
    ({"macs": None}, "give one budget: --macs, --params or --max-latency-ms"),
    ({"keep_depth": True, "keep_width": True}, "leave nothing to prune"),
    ({"model": "resnet18"}, "give timm:NAME"),
    ({"method": "unifrm"}, "unknown method 'unifrm' of pruning; known: tas, uniform"),
    ({"compare": "uniform,nothing"}, "unknown method 'nothing'"),
    ({"device": "jetson"}, "--device jetson is for --max-latency-ms"),
    ({"weights": Path("a.pt"), "pretrained": True}, "two sources of weights"),
    ({"crop_scale": "0,2"}, "--crop-scale"), ({"epochs": 0}, "--epochs")])
def test_requests_that_cannot_be(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        prune_request(tmp_path, tmp_path / "out", **change)


def test_two_budgets_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not 2 of them"):
        make_prune_request({"model": "timm:test_resnet", "data": tmp_path, "out": tmp_path,
                            "macs": 1, "params": 1})


@pytest.mark.parametrize(("change", "message"), [
    ({"macs": "1%"}, r"smallest network of this space costs, \S+ \(\d+\.\d % of"),
    ({"macs": "1e15"}, "more than the whole network costs"),
    ({"macs": "30%", "exclude": ("layer3*", "layer4*")}, "exclude fewer layers"),
    ({"exclude": ("layer9*",)}, "--exclude 'layer9\\*' matches no layer .* such as layer1.0"),
    ({"exclude": ("*",)}, "nothing of test_resnet is left to prune with --exclude"),
    ({"keep_width": True}, "nothing of test_resnet is left to prune with --keep-width"),
    ({"model": "timm:test_byobnet"}, "has nothing elastic"),
    ({"model": "timm:test_resnt"}, "did you mean test_resnet"),
    ({"optimizer": "adam"}, "optimizer 'adam' is none of"),
    ({"dataset": "torch/nothing"}, "nothing")])
def test_what_cannot_be_pruned_so_is_not_trained(change: dict[str, Any], message: str,
                                                 image_folder: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    with pytest.raises(InputError, match=message):
        prune(prune_request(image_folder, tmp_path / "out", **change), watch=events.append)
    assert not [event for event in events if event.stage == "unpruned"]
    assert not (tmp_path / "out" / "options.json").exists()


@pytest.mark.parametrize("classes", [2, 1000])
def test_weights_of_other_classes(classes: int, image_folder: Path, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet", num_classes=classes).state_dict(),
               tmp_path / "other.pt")
    with pytest.raises(InputError, match=rf"with {classes} classes, and the images have 3"):
        prune(prune_request(image_folder, tmp_path / "out", weights=tmp_path / "other.pt"))
    assert not (tmp_path / "out").exists()


def test_a_device_that_was_not_measured_for_this_space(image_folder: Path, tmp_path: Path,
                                                       profile_cache: None) -> None:
    del profile_cache
    with pytest.raises(InputError, match="unknown device 'nowhere'"):
        prune(prune_request(image_folder, tmp_path / "out", max_latency_ms="60%",
                            device="nowhere"))


def test_a_profile_of_another_space(image_folder: Path, tmp_path: Path, quick_profiles: Path
                                    ) -> None:
    out = tmp_path / "out"
    request = prune_request(image_folder, out, max_latency_ms=1.0)
    out.mkdir()
    write_json(out / "options.json", options(request))
    stored = next(quick_profiles.rglob("*.json"))
    (out / "profile.json").write_bytes(stored.read_bytes())
    with pytest.raises(ProfileError, match="does not fit the space"):
        prune(request)


def test_a_folder_of_other_work_is_left_alone(image_folder: Path, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    assert main(arguments(image_folder, tmp_path, "--macs", "60%")) == 2
    assert "holds nothing pruned" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_other_options_in_the_same_folder(image_folder: Path, tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "options.json", options(prune_request(image_folder, tmp_path)))
    assert main(arguments(image_folder, tmp_path, "--macs", "70%")) == 2
    assert "was made with --macs '60%', not '70%'" in capsys.readouterr().err
