"""Teachers from files and folders of each kind."""

import json
from pathlib import Path

import pytest
import torch
from hubert_nets import furthest, make_supernet, uniform_arch
from hubert_trainings import clips, tiny_config

from nas.core.errors import DataError, InputError
from supernets.hubert.checkpoints import save_checkpoint
from supernets.hubert.folder import PREPROCESSOR, save_folder
from supernets.hubert.open_teacher import open_teacher
from supernets.hubert.teacher import HubertTeacher, Teacher


def said(teacher: Teacher) -> tuple[torch.Tensor, ...]:
    return tuple(teacher(torch.from_numpy(clips(1)[0] + 0.5)[None]))


def test_folders_of_stock_and_plain_encoders_and_a_file_beside_its_config(tmp_path: Path) -> None:
    net = make_supernet(tiny_config())
    for name, arch in (("stock", uniform_arch(net, embed=12, heads=3, ratio=2.0, depth=4)),
                       ("plain", uniform_arch(net, embed=16, heads=3, ratio=1.0, depth=3))):
        model = net.extract(arch)
        save_folder(model, tmp_path / name)
        wanted = said(HubertTeacher(model.eval(), last=2))
        for path in (tmp_path / name, tmp_path / name / "model.safetensors"):
            assert furthest(said(open_teacher(path, last=2)), wanted) == 0.0


def test_a_checkpoint_teaches_with_its_largest_network(tmp_path: Path) -> None:
    net = make_supernet(tiny_config(), target_dim=5)
    save_checkpoint(net, tmp_path / "net.pt", "lighthubert")
    teacher = open_teacher(tmp_path / "net.pt", last=3)
    wanted = HubertTeacher(net.extract(net.space.extreme(largest=True)).eval(), last=3)
    assert furthest(said(teacher), said(wanted)) == 0.0
    assert teacher.dim == tiny_config().width


def test_the_folder_says_whether_clips_are_normalised(tmp_path: Path) -> None:
    net = make_supernet(tiny_config())
    model = net.extract(uniform_arch(net, embed=12, heads=3, ratio=2.0, depth=4)).eval()
    save_folder(model, tmp_path / "hubert")
    found = {}
    for normalise in (True, False):
        (tmp_path / "hubert" / PREPROCESSOR).write_text(json.dumps({"do_normalize": normalise}))
        found[normalise] = said(open_teacher(tmp_path / "hubert", last=2))
        wanted = said(HubertTeacher(model, last=2, normalise=normalise))
        assert furthest(found[normalise], wanted) == 0.0
    assert furthest(found[True], found[False]) > 1e-2


def test_what_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist; give a safetensors file of Whi"):
        open_teacher(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"it has no config\.json"):
        open_teacher(tmp_path / "empty")
    for name, error in (("bad.pt", "cannot be read"), ("bad.safetensors", "cannot be read as saf")):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(DataError, match=error):
            open_teacher(tmp_path / name)
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(DataError, match="is of model type 'whisper', not 'hubert'"):
        open_teacher(tmp_path / "whisper")
    net = make_supernet(tiny_config())
    save_checkpoint(net, tmp_path / "net.pt", "lighthubert")
    with pytest.raises(InputError, match="has 6 layers, of which the last 8"):
        open_teacher(tmp_path / "net.pt")
