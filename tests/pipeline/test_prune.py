"""`nas prune` from images to the exported network."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from pruning import KEYS, arguments, comparable, make_slower, prune_request
from safetensors.torch import load_file
from timm_trainings import CLASSES, SIDE

from cli.main import main
from nas.core.arch import Arch
from nas.core.errors import RunInterrupted
from nas.evaluation.efficiency import count_macs, count_params
from nas.export.opened import open_bundle
from nas.export.verify import verify_bundle
from nas.pipeline.compose import load_supernet
from nas.pipeline.events import Event
from nas.pipeline.prune.folder import PruneDir
from nas.pipeline.prune.networks import Network, module_of
from nas.pipeline.prune.run import Pruned, prune
from nas.pipeline.prune.work import prepare


@pytest.fixture(scope="module")
def pruned(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Pruned:
    """An uninterrupted pruning, whose folder is not to be changed."""
    return prune(prune_request(image_folder, tmp_path_factory.mktemp("pruned") / "net"))


@pytest.fixture
def folder(pruned: Pruned, tmp_path: Path) -> Path:
    """A copy of its folder."""
    return shutil.copytree(pruned.folder, tmp_path / "net")


def test_the_result_says_what_was_asked_for(pruned: Pruned) -> None:
    found = pruned.payload
    assert set(found) >= KEYS
    assert set(found["before"]) == set(found["after"]) == {"macs", "params", "latency_ms"}
    assert 0.5 < found["after"]["macs"] / found["before"]["macs"] <= 0.6
    assert found["after"]["params"] < found["before"]["params"]
    assert found["latency"] is None
    assert min(found["before"]["latency_ms"], found["after"]["latency_ms"]) > 0
    assert 0 <= found["accuracy"]["after"] <= 100
    assert json.loads((pruned.folder / "prune.json").read_text()) == found


def test_the_bundle_is_a_plain_network_of_those_costs(pruned: Pruned, image_folder: Path) -> None:
    assert verify_bundle(pruned.bundle).ok
    folder = PruneDir(pruned.folder)
    work = prepare(prune_request(image_folder, pruned.folder), folder, lambda _: None)
    choice = json.loads(folder.choice("uniform").read_text())
    network = Network(bundle=pruned.bundle, manifest=open_bundle(pruned.bundle).manifest,
                      arch=Arch.from_json(choice["arch"], space=work.supernet.space))
    module = module_of(work, network)
    after = pruned.payload["after"]
    assert count_macs(module, torch.zeros(1, 3, SIDE, SIDE)) == after["macs"]
    assert count_params(module) == after["params"] == network.costs["params"]
    assert all(parameter.is_contiguous() for parameter in module.parameters())


def test_layers_and_blocks_add_up(pruned: Pruned) -> None:
    for part in ("before", "after"):
        for rows in (pruned.payload["layers"], pruned.payload["blocks"]):
            there = [row[part] for row in rows if row[part] is not None]
            assert sum(row["macs"] for row in there) == pruned.payload[part]["macs"]
    widths = {row["layer"]: (row["before"]["out"], row["after"]["out"])
              for row in pruned.payload["layers"]}
    assert all(after <= before for before, after in widths.values())
    assert widths["fc"] == (len(CLASSES), len(CLASSES))
    assert all(after % 16 == 0 for name, (_, after) in widths.items() if name != "fc"
               and not name.startswith("conv1."))


def test_the_report_is_one_page_that_fetches_nothing(pruned: Pruned) -> None:
    page = (pruned.folder / "report.html").read_text()
    assert "layer3.0.conv1" in page
    assert f"{pruned.payload['after']['macs']:,}" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_same_command_again_does_nothing_again(pruned: Pruned, image_folder: Path) -> None:
    events: list[Event] = []
    again = prune(prune_request(image_folder, pruned.folder), watch=events.append)
    assert again.payload == pruned.payload
    assert {event.stage for event in events} <= {"images", "model"}


def test_stopped_anywhere_and_gone_on_equals_uninterrupted(pruned: Pruned, image_folder: Path,
                                                           tmp_path: Path) -> None:
    stops = ["unpruned", "choose uniform", "train uniform", "export", "latency"]
    request = prune_request(image_folder, tmp_path / "net")
    while stops:
        at = stops.pop(0)

        def stop(event: Event, at: str = at) -> None:
            if event.stage == at:
                raise KeyboardInterrupt

        with pytest.raises(RunInterrupted, match="the same command goes on"):
            prune(request, watch=stop)
    prune(request)
    assert comparable(tmp_path / "net") == comparable(pruned.folder)
    one, other = (load_file(root / "uniform" / "kd" / "model.safetensors")
                  for root in (tmp_path / "net", pruned.folder))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_method_on_the_command_line_shares_the_unpruned_network(
        folder: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(image_folder, folder, "--macs", "60%", "--method", "tas",
                          "--json")) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["method"] == "tas"
    assert set(found) >= KEYS
    assert found["after"]["macs"] <= 0.6 * found["before"]["macs"]
    assert "unpruned " not in captured.err  # it is not trained again
    assert (folder / "tas" / "search.pt").is_file()
    assert main(["verify", found["bundle"]]) == 0


def test_a_network_that_is_slower_is_an_error_and_kept(
        folder: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_slower(PruneDir(folder).latency("uniform", "kd"))
    command = arguments(image_folder, folder, "--macs", "60%", "--method", "uniform")
    assert main(command) == 1
    captured = capsys.readouterr()
    assert "slower than before (uniform: measured" in captured.err.replace("\n", " ")
    assert "--max-latency-ms" in captured.err
    assert "200.0%" in captured.out  # the result is shown
    assert "slower here than the unpruned one" in (folder / "report.html").read_text()
    assert verify_bundle(folder / "uniform" / "kd").ok
    assert main(command) == 1  # nothing makes it faster


def test_the_space_is_kept_as_a_supernet(pruned: Pruned) -> None:
    supernet = load_supernet(str(pruned.folder / "supernet"))
    largest = supernet.space.extreme(largest=True)
    error = supernet.task.metrics(supernet.extract(largest), supernet.task.batches("test"))
    assert 100 - error["error"] == pytest.approx(pruned.payload["accuracy"]["before"])
    assert pruned.payload["arch"].keys() == largest.as_dict().keys()
