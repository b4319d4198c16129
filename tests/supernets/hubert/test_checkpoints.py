"""Checkpoints in three formats: bit for bit there and back, detected spaces, what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hubert_nets import make_supernet, scaled, waves
from transformers import HubertConfig, HubertModel

from nas.core.errors import DataError, InputError, NasError
from supernets.hubert.checkpoint_files import read_checkpoint
from supernets.hubert.checkpoint_settings import contradiction, fairseq_settings
from supernets.hubert.checkpoints import load_checkpoint, save_checkpoint
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.keys import fairseq_names, transformers_names
from supernets.hubert.presets import BASE, SMALL, TINY
from supernets.hubert.supernet import HubertSupernet

CONFIG = replace(scaled(SMALL), layers=3, depths=(2, 3), dropped=((1,), ()))
LAYOUTS = ("lighthubert", "fairseq", "transformers")


def same_weights(found: HubertSupernet, wanted: HubertSupernet) -> None:
    a, b = found.state_dict(), wanted.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in b)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for layout in LAYOUTS:
        save_checkpoint(make_supernet(CONFIG), folder / layout, layout)
    return {layout: folder / layout for layout in LAYOUTS}


def changed(path: Path, out: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Writes a copy of a file's content, changed."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, out)
    return out


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back_bit_for_bit(saved: dict[str, Path], layout: str) -> None:
    net = load_checkpoint(saved[layout], CONFIG)
    same_weights(net, make_supernet(CONFIG))
    assert not net.training
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_the_prediction_head_stays_in_lighthuberts_files(tmp_path: Path) -> None:
    net = make_supernet(CONFIG, target_dim=7)
    for layout in ("lighthubert", "fairseq"):
        save_checkpoint(net, tmp_path / layout, layout)
    same_weights(load_checkpoint(tmp_path / "lighthubert"), net)
    weights = torch.load(tmp_path / "lighthubert", weights_only=True)["model"]
    assert torch.equal(weights["layer_pred_heads.2.weight"], net.prediction_head.weight)
    assert load_checkpoint(tmp_path / "fairseq", CONFIG).prediction_head is None
    with pytest.raises(InputError, match="has a prediction head of 7 features, not 8"):
        load_checkpoint(tmp_path / "lighthubert", target_dim=8)
    fresh = load_checkpoint(tmp_path / "fairseq", CONFIG, target_dim=8).prediction_head
    assert fresh.weight.shape == (8, CONFIG.width)
    assert 0.01 < float(fresh.weight.detach().std()) < 0.03


def test_a_file_of_this_project_says_its_whole_space(saved: dict[str, Path]) -> None:
    assert load_checkpoint(saved["lighthubert"]).config == CONFIG
    for layout in ("fairseq", "transformers"):
        with pytest.raises(InputError, match=r"does not say which space .* hubert-base"):
            load_checkpoint(saved[layout])


@pytest.mark.parametrize(("name", "yaml", "space"), [
    ("hubert_pruner", "config/Supernet-Small.yaml", SMALL), ("hubert_pruner", "x/BASE.yaml", BASE),
    ("hubert_pruner", "other.yaml", None), ("student_hubert", None, None), ("hubert", None, None)])
def test_published_files_say_base_or_small(saved: dict[str, Path], tmp_path: Path, name: str,
                                           yaml: str | None,
                                           space: ElasticHubertConfig | None) -> None:
    def rename(content: dict[str, Any]) -> None:
        settings = content["cfg"]["model"]
        del settings["elastic"], settings["pruner_supernet"]
        settings |= {"_name": name} | ({} if yaml is None else {"pruner_supernet": yaml})

    path = changed(saved["lighthubert"], tmp_path / "published.pt", rename)
    assert read_checkpoint(path).space == space
    if space is None:
        same_weights(load_checkpoint(path, CONFIG), make_supernet(CONFIG))
        with pytest.raises(InputError, match="stage-1" if name == "student_hubert" else "not say"):
            load_checkpoint(path)
        return
    other = scaled(BASE if space is SMALL else SMALL)
    with pytest.raises(InputError, match=f"is a supernet of {space.name}, not {other.name}"):
        load_checkpoint(path, other)
    with pytest.raises(DataError, match="encoder_layers is 3, not 12"):
        load_checkpoint(path)


def test_published_settings_of_the_frontend_are_those_of_the_spaces() -> None:
    text = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
    assert contradiction({"conv_feature_layers": text}, fairseq_settings(BASE)) is None
    for wrong in (text[:-4], text.replace("5", "4"), "exit()", "[(512,10,5)] + [(512,3,2)] * n"):
        assert "conv_feature_layers" in contradiction({"conv_feature_layers": wrong},
                                                      fairseq_settings(BASE))


@pytest.mark.parametrize("config", [BASE, SMALL, TINY])
def test_key_maps_lose_no_name(config: ElasticHubertConfig) -> None:
    with torch.device("meta"):
        names = list(HubertSupernet(config, target_dim=8).state_dict())
    fairseq = fairseq_names(names, config.layers)
    assert len(set(fairseq.values())) == len(names)
    assert not {"attention", "feed_forward", "projection"} & {
        part for name in fairseq.values() for part in name.split(".")}
    assert len(set(transformers_names(names).values())) == len(names) - 1
    table = {"masked_spec_embed": "mask_emb",
             "feature_extractor.conv_layers.6.layer_norm.bias":
                 "feature_extractor.conv_layers.6.2.1.bias",
             "feature_extractor.conv_layers.0.conv.weight":
                 "feature_extractor.conv_layers.0.0.weight",
             "feature_projection.layer_norm.weight": "layer_norm.weight",
             "feature_projection.projection.bias": "post_extract_proj.bias",
             "encoder.pos_conv_embed.weight_g": "encoder.pos_conv.0.weight_g",
             "encoder.layer_norm.weight": "encoder.layer_norm.weight",
             "encoder.layers.2.attention.out_proj.bias": "encoder.layers.2.self_attn.out_proj.bias",
             "encoder.layers.2.layer_norm.weight": "encoder.layers.2.self_attn_layer_norm.weight",
             "encoder.layers.2.feed_forward.output_dense.weight": "encoder.layers.2.fc2.weight",
             "encoder.layers.2.final_layer_norm.bias": "encoder.layers.2.final_layer_norm.bias"}
    assert {name: fairseq[name] for name in table} == table


def test_a_saved_folder_is_the_network_of_all_that_is_stored(saved: dict[str, Path]) -> None:
    config = replace(CONFIG, embeds=(48,), heads=(12,), ratios=(4.0,), depths=(3,), dropped=((),))
    net = load_checkpoint(saved["lighthubert"], config)
    stock = HubertModel.from_pretrained(saved["transformers"], local_files_only=True).eval()
    with torch.no_grad():
        wanted = stock(waves()).last_hidden_state
        found = net(waves(), net.space.extreme(largest=True)).last_hidden_state
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_older_folders_and_bin_files_are_read(saved: dict[str, Path], tmp_path: Path) -> None:
    stock = HubertModel.from_pretrained(saved["transformers"], local_files_only=True)
    state = stock.state_dict()
    for part, name in enumerate("gv"):
        conv = "encoder.pos_conv_embed.conv"
        state[f"{conv}.weight_{name}"] = state.pop(f"{conv}.parametrizations.weight.original{part}")
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_bytes((saved["transformers"] / "config.json").read_bytes())
    same_weights(load_checkpoint(tmp_path, CONFIG), make_supernet(CONFIG))
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(DataError, match=r"neither model.safetensors nor pytorch_model.bin"):
        load_checkpoint(tmp_path, CONFIG)


def test_what_served_pretraining_is_ignored_and_half_precision_widened(
        saved: dict[str, Path], tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["model"] = {name: t.half() for name, t in content["model"].items()}
        content["model"] |= {"label_embs_concat": torch.zeros(4, 2),
                             "final_proj.weight": torch.zeros(2, 2)}

    net = load_checkpoint(changed(saved["lighthubert"], tmp_path / "x.pt", change))
    wanted = make_supernet(CONFIG).state_dict()
    assert all(torch.equal(t, wanted[name].half().float()) for name, t in net.state_dict().items())


def group_norm(path: Path, *, bin_file: bool = False) -> None:
    model = HubertModel(HubertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=4, intermediate_size=16,
        conv_dim=[8] * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=4))
    model.save_pretrained(path)
    if bin_file:
        (path / "model.safetensors").unlink()
        torch.save(model.state_dict(), path / "pytorch_model.bin")
        (path / "config.json").write_text('{"model_type": "hubert"}')


@pytest.mark.parametrize("bin_file", [False, True])
def test_group_norm_is_refused_in_folders(tmp_path: Path, bin_file: bool) -> None:
    group_norm(tmp_path / "base", bin_file=bin_file)
    with pytest.raises(DataError, match="is a HuBERT with group norm") as caught:
        load_checkpoint(tmp_path / "base", CONFIG)
    assert "\n" not in str(caught.value)


def test_group_norm_is_refused_in_files(saved: dict[str, Path], tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        model = content["model"]
        for name in [name for name in model if ".2.1." in name]:
            norm = model.pop(name)
            if "conv_layers.0." in name:
                model[name.replace(".2.1.", ".2.")] = norm

    path = changed(saved["lighthubert"], tmp_path / "x.pt", change)
    with pytest.raises(DataError, match="is a HuBERT with group norm"):
        load_checkpoint(path)


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c["model"].pop("mask_emb"), r"1 tensors are missing \(mask_emb\)"),
    (lambda c: c["model"].update(extra=torch.zeros(1)), r"1 tensors are unexpected \(extra\)"),
    (lambda c: [c["model"].pop(f"encoder.layers.1.fc{i}.{p}") for i in (1, 2)
                for p in ("weight", "bias")], r"4 tensors are missing \(encoder.*, …\)"),
    (lambda c: c["model"].update(mask_emb=torch.zeros(3)), r"of another shape \(mask_emb\)"),
    (lambda c: c["model"]["mask_emb"].fill_(float("nan")), "not finite, the first mask_emb"),
    (lambda c: c["model"].update(mask_emb=[1.0]), "a tensor by the name 'mask_emb'"),
    (lambda c: c["model"].update(mask_emb=torch.zeros(48, dtype=torch.int64)), "floating-point"),
    (lambda c: c.update(model={}), "does not hold weights by name"),
    (lambda c: c["cfg"]["model"].update(encoder_attention_heads=6), "heads is 6, not 12"),
    (lambda c: c["cfg"]["model"].update(layer_norm_first=True), "layer_norm_first is True"),
    (lambda c: c["cfg"]["model"]["elastic"].update(width=0), "elastic setting cannot be read"),
])
def test_files_that_do_not_fit(saved: dict[str, Path], tmp_path: Path,
                               change: Callable[[dict[str, Any]], object], message: str) -> None:
    path = changed(saved["lighthubert"], tmp_path / "x.pt", change)
    with pytest.raises(NasError, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("change", "message"), [
    ({"num_attention_heads": 6}, "num_attention_heads is 6, not 12"),
    ({"do_stable_layer_norm": True}, "do_stable_layer_norm is True, not False"),
    ({"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, "conv_stride"),
    ({"model_type": "wav2vec2"}, "model_type is 'wav2vec2', not 'hubert'"),
])
def test_folders_of_another_network(saved: dict[str, Path], tmp_path: Path,
                                    change: dict[str, Any], message: str) -> None:
    settings = json.loads((saved["transformers"] / "config.json").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**settings, **change}))
    (tmp_path / "model.safetensors").write_bytes(
        (saved["transformers"] / "model.safetensors").read_bytes())
    with pytest.raises(DataError, match=message):
        load_checkpoint(tmp_path, CONFIG)


@pytest.mark.parametrize("content", [b"", b"abc", None])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="does not exist" if content is None else "cannot be read"
                       ) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


class Odd:
    """What only unpickling would bring back."""


def test_no_code_of_a_file_runs(tmp_path: Path) -> None:
    torch.save({"model": {"mask_emb": torch.zeros(2)}, "task": Odd()}, tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"cannot be read .*save its model's state dict alone"):
        read_checkpoint(tmp_path / "x.pt")
    torch.save([torch.zeros(2)], tmp_path / "x.pt")
    with pytest.raises(DataError, match="holds a list"):
        read_checkpoint(tmp_path / "x.pt")


def test_heads_that_do_not_span_the_width_have_no_folder(tmp_path: Path) -> None:
    net = make_supernet(replace(CONFIG, stored_heads=14))
    with pytest.raises(InputError, match="do not span its width 48"):
        save_checkpoint(net, tmp_path / "x", "transformers")
    save_checkpoint(net, tmp_path / "x", "lighthubert")
    same_weights(load_checkpoint(tmp_path / "x"), net)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("model.safetensors", b"damaged", "model.safetensors cannot be read"),
    ("config.json", b"{", "config.json cannot be read"), ("config.json", b"[]", "no JSON object"),
    ("config.json", None, "it has no config.json")])
def test_damaged_folders(saved: dict[str, Path], tmp_path: Path, name: str, content: bytes | None,
                         message: str) -> None:
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((saved["transformers"] / file).read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_checkpoint(tmp_path, CONFIG)
    assert "\n" not in str(caught.value)
