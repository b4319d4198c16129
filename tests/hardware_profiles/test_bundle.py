import json
import zipfile

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hardware_profiles.bundle import (
    PERIOD,
    agent_source,
    repeat_weights,
    require_device_name,
    write_bundle,
)
from hardware_profiles.bundle_manifest import (
    RuntimeWish,
    bundle_id,
    read_bundle,
    recall,
    remember,
)
from hardware_profiles.identity import generator_hash
from hardware_profiles.onnx_blocks import onnx_model
from hardware_profiles.plan import EMPTY, MeasurePlan, network_key, plan_profile
from hardware_profiles.profile import MeasureProtocol
from nas.core.errors import ProfileError
from nas.core.files import sha256


@pytest.fixture
def plan(space, vocabulary):
    return plan_profile(space, vocabulary.blocks, vocabulary.block_ids, calib_nets=8, test_nets=6,
                        seed=0)


@pytest.fixture
def write(plan, space, vocabulary, tmp_path):
    def written(name="bundle.zip", **changes):
        options = {"device": "board-1", "supernet": "tiny", "wish": RuntimeWish(), "seed": 0,
                   "protocol": MeasureProtocol(), **changes}
        return write_bundle(tmp_path / name, options.pop("plan", plan), space=space,
                            vocabulary=vocabulary.blocks, **options)

    return written


def rewritten(path, target, change):
    """Copies a zip file; `change` gives each entry's new (name, data), or None to leave it out."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            entry = change(name, old.read(name))
            if entry is not None:
                new.writestr(*entry)
    return target


def test_a_bundle_holds_every_model_once_and_all_that_the_board_needs(
        exported, plan, space, vocabulary):
    manifest = read_bundle(exported.path)
    assert manifest == exported.manifest
    assert set(manifest.models) == set(plan.graphs)
    assert {EMPTY, network_key(0), vocabulary.blocks[0].key} <= set(manifest.models)
    assert manifest.generator == generator_hash(space, vocabulary.blocks)
    assert np.array_equal(manifest.codes, plan.codes)
    with zipfile.ZipFile(exported.path) as bundle:
        names = bundle.namelist()
        assert len(set(names)) == len(names)
        assert set(names) == ({entry.file for entry in manifest.models.values()}
                              | {"agent.py", "manifest.json", "README.txt"})
        for entry in manifest.models.values():
            data = bundle.read(entry.file)
            assert sha256(data) == entry.sha256
            onnx.checker.check_model(onnx.load_model_from_string(data))
        assert bundle.read("agent.py") == agent_source()
        text = bundle.read("README.txt").decode()
    assert "board-1" in text
    assert "$" not in text


def test_equal_models_share_one_file(write, plan, vocabulary, tmp_path):
    graphs = {"one": vocabulary.blocks[0].graph, "same": vocabulary.blocks[0].graph}
    manifest = write(plan=MeasurePlan(graphs=graphs, codes=plan.codes, ids=plan.ids, calib_nets=8))
    assert manifest.models["one"] == manifest.models["same"]
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        assert sum(name.startswith("models/") for name in bundle.namelist()) == 1


def test_equal_input_gives_equal_bytes_and_other_input_another_id(write, tmp_path):
    first, again = write("a.zip"), write("b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    others = [write("c.zip", device="board-2"), write("c.zip", seed=1),
              write("c.zip", wish=RuntimeWish(threads=2))]
    assert first.id == again.id
    assert len({first.id, *(other.id for other in others)}) == 4


def test_a_plan_without_blocks_makes_a_bundle(write, plan):
    nets = {key: graph for key, graph in plan.graphs.items() if key.startswith("network")}
    manifest = write(plan=MeasurePlan(graphs=nets, codes=plan.codes, ids=plan.ids, calib_nets=14))
    assert set(manifest.models) == {network_key(row) for row in range(14)}


def test_weights_repeat_and_keep_their_scale(shipped_config):
    from supernets.mobilenet.blocks import build_vocabulary
    from supernets.mobilenet.config import build_space

    block = build_vocabulary(shipped_config, build_space(shipped_config)).blocks[-1]
    model = onnx_model(block.graph, batch=1, rng=np.random.default_rng(0))
    large = 0
    for before, after in zip(model.graph.initializer,
                             repeat_weights(model).graph.initializer, strict=True):
        old, new = numpy_helper.to_array(before), numpy_helper.to_array(after)
        assert (before.name, old.shape, old.dtype) == (after.name, new.shape, new.dtype)
        if old.dtype.kind == "f" and old.size > PERIOD:
            large += 1
            flat = new.ravel()
            assert np.array_equal(flat[PERIOD:], flat[:-PERIOD])
            assert new.std() == pytest.approx(old.std(), rel=0.2)
        else:
            assert np.array_equal(old, new)
    assert large


@pytest.mark.parametrize("name", ["", "Pi 5", "../x", "pi_5", "-pi", "host", "host-2", "a..b"])
def test_a_device_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ProfileError, match="device name"):
        require_device_name(name)


def test_a_place_that_cannot_be_written_is_an_error(write):
    with pytest.raises(ProfileError, match="cannot be written"):
        write("none/bundle.zip")


def test_a_truncated_zip_names_the_remedy(exported, tmp_path):
    data = exported.path.read_bytes()
    for share in (0.0, 0.3, 0.99):
        (tmp_path / "short.zip").write_bytes(data[:int(share * len(data))])
        with pytest.raises(ProfileError, match=r"truncated or damaged .*nas profile export"):
            read_bundle(tmp_path / "short.zip")


def test_a_byte_that_was_changed_is_found(exported, tmp_path):
    data = bytearray(exported.path.read_bytes())
    data[len(data) // 3] ^= 1
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(ProfileError, match=r"damaged|not what was exported|holds"):
        read_bundle(tmp_path / "bad.zip")


@pytest.mark.parametrize("name", ["../evil.onnx", "/tmp/evil", "models/../../evil", "C:\\evil"])
def test_an_entry_that_escapes_the_folder_is_refused(exported, tmp_path, name):
    bad = rewritten(exported.path, tmp_path / "bad.zip", lambda old, data: (old, data))
    with zipfile.ZipFile(bad, "a") as bundle:
        bundle.writestr(name, b"")
    with pytest.raises(ProfileError, match="which no bundle does; do not unpack it"):
        read_bundle(bad)


def test_a_link_out_of_the_folder_is_refused(exported, tmp_path):
    victim = next(iter(exported.manifest.models.values())).file
    bad = rewritten(exported.path, tmp_path / "bad.zip",
                    lambda name, data: None if name == victim else (name, data))
    link = zipfile.ZipInfo(victim)
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(bad, "a") as bundle:
        bundle.writestr(link, "/etc/passwd")
    with pytest.raises(ProfileError, match="is not what was exported"):
        read_bundle(bad)


def test_an_edited_model_is_refused(exported, tmp_path):
    bad = rewritten(exported.path, tmp_path / "bad.zip", lambda name, data: (
        name, data + b"\0" if name.startswith("models/") else data))
    with pytest.raises(ProfileError, match="is not what was exported"):
        read_bundle(bad)


@pytest.mark.parametrize(("change", "message"), [
    ({"schema_version": 2}, "install a newer nas-service"),
    ({"schema_version": 0}, "schema version 0"),
    ({"device": "other"}, "was changed after"),
    ({"seed": "x"}, "damaged"),
    ({"models": {"a": {"file": "../a.onnx", "sha256": "0" * 64}}}, "damaged"),
])
def test_a_changed_manifest_is_refused(exported, tmp_path, change, message):
    def edit(name, data):
        if name == "manifest.json":
            data = json.dumps({**json.loads(data), **change})
        return name, data

    bad = rewritten(exported.path, tmp_path / "bad.zip", edit)
    with pytest.raises(ProfileError, match=message):
        read_bundle(bad)


def test_a_manifest_is_remembered_and_its_absence_names_the_option(exported, tmp_path):
    with pytest.raises(ProfileError, match="--bundle"):
        recall(exported.manifest.id, tmp_path / "bundles")
    remember(exported.manifest, tmp_path / "bundles")
    assert recall(exported.manifest.id, tmp_path / "bundles") == exported.manifest
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [
        f"{exported.manifest.id}.json"]


def test_the_id_is_that_of_all_the_rest(exported):
    payload = exported.manifest.model_dump(mode="json")
    assert bundle_id(payload) == exported.manifest.id
    assert bundle_id({**payload, "calib_nets": 7}) != exported.manifest.id
