"""`nas finetune`: better or worse, both are said; resumed equals uninterrupted; nothing is lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from nas.core.errors import DataError, ExportError, InputError, RunInterrupted
from nas.export.verify import verify_bundle
from nas.pipeline.distilled import Distilled
from nas.pipeline.events import Event
from nas.pipeline.finetune import Finetuned, finetune, make_finetune_request
from nas.pipeline.search import SearchResult, resume_search
from nas.pipeline.training_images import training_images
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.training.distill import TeacherLoss
from supernets.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("profile_cache")


@pytest.fixture(scope="module")
def run(finished: SearchResult) -> Path:
    """A finished search; not to be changed."""
    return finished.run_dir


def tune(run_dir: Path, watch: Callable[[Event], None] = lambda _: None,
         **options: Any) -> Finetuned:
    return finetune(make_finetune_request({
        "run_dir": run_dir, "epochs": 3, "batch_size": 32, "learning_rate": 0.05, **options}),
        watch=watch)


@pytest.fixture(scope="module")
def tuned(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run after fine-tuning; not to be changed."""
    folder = shutil.copytree(run, tmp_path_factory.mktemp("tuned") / "run")
    tune(folder)
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def best(run_dir: Path) -> dict[str, Any]:
    return dict(json.loads((run_dir / "pareto.json").read_text())["best"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_before_and_after_are_said_everywhere_and_nothing_is_lost(run: Path, tuned: Path) -> None:
    assert contents(tuned / "best-before") == contents(run / "best")
    assert verify_bundle(tuned / "best").ok
    before, after = best(run), best(tuned)
    assert before["finetuned"] is None
    found = after["finetuned"]
    assert found["before"] == {"error": before["metrics"]["error"],
                               "test_error": before["test"]["error"]}
    assert found["after"]["test_error"] == after["test"]["error"]
    assert found["images"] == "64 images of the supernet's train_calib"
    manifest = json.loads((tuned / "best" / "manifest.json").read_text())
    assert manifest["finetuned"] == found
    assert manifest["metrics"]["test_error"] == after["test"]["error"]
    assert manifest["metrics"]["error"] == found["after"]["error"]
    assert manifest["provenance"]["weights"] == "inherited, fine-tuned for 3 epochs"
    page = (tuned / "report.html").read_text()
    assert f"{before['test']['error']:.2f}\xa0% test error before" in page
    assert f"{after['test']['error']:.2f}\xa0% after" in page
    after.pop("finetuned"), before.pop("finetuned")
    for payload in (before, after):
        del payload["test"], payload["onnx_max_abs_diff"]
    assert before == after


def test_every_field_of_the_manifest_is_documented(tuned: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "run-folder.md").read_text()
    found = json.loads((tuned / "best" / "manifest.json").read_text())["finetuned"]
    for name in found:
        assert f"| `finetuned.{name}` |" in page
    for path in tuned.iterdir():
        assert f"| `{path.name}{'/' if path.is_dir() else ''}` |" in page


class Opinionated(nn.Module):
    """Sees the third class in everything."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.0, 0, 20, 0, 0]).expand(len(x), 5)


def test_the_teacher_counts_more_than_the_labels(tiny_supernet: MobileNetSupernet) -> None:
    task, smallest = tiny_supernet.task, tiny_supernet.space.extreme(largest=False)
    student = tiny_supernet.recalibrated(smallest, task.batches("train_calib"))
    x = torch.cat([inputs for inputs, _ in task.batches("search")])
    assert (student(x).argmax(1) == 2).float().mean() < 0.9
    steps: list[int] = []
    fit = Distilled(task=task, images=training_images(task, None), batch_size=16,
                    recipe=Recipe(epochs=6, learning_rate=0.05),
                    criterion=TeacherLoss(teacher=Opinionated().eval()),
                    start=student.state_dict(), on_step=steps.append)
    training = fit(tiny_supernet.extract(smallest), seed=0)
    while training.done < 6:
        trained = training.advance()
    assert bool((trained(x).argmax(1) == 2).all())
    assert steps == list(range(24))


def test_a_resumed_training_ends_as_one_that_was_not_stopped(copy: Path, tuned: Path) -> None:
    def stop(event: Event) -> None:
        if event.note.startswith("epoch 2:"):
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted, match="the same command goes on"):
        tune(copy, stop)
    assert best(copy)["finetuned"] is None
    epochs: list[str] = []
    tune(copy, lambda event: epochs.append(event.note.partition(":")[0]))
    assert [note for note in epochs if note] == ["epoch 1", "epoch 2", "epoch 3", "testing", "ONNX"]
    assert contents(copy / "best") == contents(tuned / "best")
    assert best(copy) == best(tuned)


@pytest.mark.parametrize("moment", ["before the first rename", "between both", "after both"])
def test_a_kill_while_bundles_change_places_is_put_right(tuned: Path, tmp_path: Path, run: Path,
                                                         moment: str) -> None:
    folder = Path(shutil.copytree(tuned, tmp_path / "run"))
    shutil.copy(run / "pareto.json", folder)
    if moment != "after both":
        (folder / "best").rename(folder / "finetune" / "best")
    if moment == "before the first rename":
        (folder / "best-before").rename(folder / "best")
    events: list[Event] = []
    tune(folder, events.append)
    assert events == []
    for name in ("best", "best-before"):
        assert contents(folder / name) == contents(tuned / name)
    assert best(folder) == best(tuned)


def test_a_resumed_search_keeps_the_fine_tuned_network(tuned: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tuned, tmp_path / "run"))
    resume_search(folder)
    assert contents(folder / "best") == contents(tuned / "best")
    before, after = best(tuned), best(folder)
    del before["measured_latency_ms"], after["measured_latency_ms"]
    assert before == after


def test_weights_are_those_of_the_training(tuned: Path) -> None:
    digest = best(tuned)["digest"]
    trained = load_file(tuned / "finetune" / f"{digest}.safetensors")
    exported = load_file(tuned / "best" / "model.safetensors")
    assert all(torch.equal(trained[name], exported[name]) for name in exported)
    history = json.loads((tuned / "finetune" / f"{digest}.json").read_text())["epochs"]
    assert len(history) == 3
    assert history[-1]["error"] == best(tuned)["finetuned"]["after"]["error"]


def test_another_fine_tuning_says_what_differs(tuned: Path) -> None:
    with pytest.raises(InputError, match=r"otherwise \(epochs 3 there, 5 here\); to do it anew"):
        tune(tuned, epochs=5)


def test_a_training_with_other_settings_is_not_continued(copy: Path) -> None:
    def stop(event: Event) -> None:
        if event.note.startswith("epoch 1:"):
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted):
        tune(copy, stop)
    with pytest.raises(DataError, match="of another training"):
        tune(copy, learning_rate=0.01)


def save(data: LabelledImages, folder: Path) -> Path:
    for index, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
        path = folder / "train" / "abcde"[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def test_images_of_ones_own_are_trained_on_but_not_those_held_out(
        copy: Path, tmp_path: Path, tiny_task: ImageClassification) -> None:
    own = save(tiny_task.splits["train_calib"], tmp_path / "own")
    with pytest.raises(DataError, match="48 of 48 images of the test split are among"):
        tune(copy, data=save(tiny_task.splits["test"], tmp_path / "tested"))
    with pytest.raises(DataError, match="fewer than one batch of 65"):
        tune(copy, data=own, batch_size=65)
    assert tune(copy, data=own, epochs=1).entry.images == "64 images of own"
    shutil.rmtree(own / "train" / "a")
    with pytest.raises(DataError, match=r"class a is in .* but not in both"):
        tune(copy, data=own, epochs=1)


@pytest.mark.parametrize(("options", "message"), [
    ({"epochs": 0}, "--epochs: .* greater than or equal to 1"),
    ({"learning_rate": 0.0}, "--learning-rate: .* greater than 0"),
    ({"optimizer": "lion"}, "--optimizer: "), ({"batch_size": 1}, "--batch-size: "),
    ({"data": Path("nowhere")}, "nowhere does not exist"), ({"workers": -1}, "--workers: "),
    ({"workers": 2}, "--workers 2 is for supernets of timm models; this one's images are idx"),
    ({"dataset": "torch/cifar10", "data": Path()}, "--dataset torch/cifar10 is for supernets of")])
def test_bad_options_are_one_line(copy: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        tune(copy, **options)
    assert "\n" not in str(caught.value)


def test_only_a_finished_search_with_its_bundle_can_be_fine_tuned(copy: Path,
                                                                  tmp_path: Path) -> None:
    (copy / "best" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ExportError, match=r"best is damaged \(model.safetensors is not what"):
        tune(copy)
    (copy / "pareto.json").unlink()
    with pytest.raises(InputError, match="has not finished; go on with: nas search --resume"):
        tune(copy)
    with pytest.raises(InputError, match="does not exist"):
        tune(tmp_path / "nowhere")
