import shutil
from types import SimpleNamespace

import pytest
import torch

from nas.evaluation.efficiency import count_activation_bytes, count_macs, count_params
from nas.export.bundle import write_bundle


@pytest.fixture(scope="session")
def network(make_tiny_supernet, tiny_task):
    """A supernet, one of its architectures with every kind of block, and its network."""
    supernet = make_tiny_supernet(tiny_task)
    arch = supernet.space.extreme(largest=True)
    module = supernet.recalibrated(arch, tiny_task.batches("train_calib"))
    image = torch.zeros(1, 1, 16, 16)
    costs = {"params": count_params(module), "macs": count_macs(module, image),
             "activation_bytes": count_activation_bytes(module, image)}
    return SimpleNamespace(supernet=supernet, arch=arch, module=module, costs=costs,
                           task=tiny_task)


@pytest.fixture(scope="session")
def written(network, tmp_path_factory):
    """A bundle that nobody may change, its manifest, and the states before and after."""
    def states():
        return {owner: {name: tensor.clone() for name, tensor in module.state_dict().items()}
                for owner, module in (("supernet", network.supernet), ("module", network.module))}

    before = states()
    folder = tmp_path_factory.mktemp("export") / "deep" / "best"
    manifest = write_bundle(
        folder, arch=network.arch, module=network.module, task=network.task,
        metrics={"error": 12.5, "latency_ms": 0.25}, costs=network.costs,
        provenance={"supernet": "mobilenet-tiny"})
    return SimpleNamespace(folder=folder, manifest=manifest, before=before, after=states())


@pytest.fixture
def bundle(written, tmp_path):
    """A copy of the bundle, to be damaged."""
    return shutil.copytree(written.folder, tmp_path / "best")
