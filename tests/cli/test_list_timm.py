import json

import pytest
import timm

from cli.main import main
from supernets.timm.elastic import Elastic
from supernets.timm.families import describe_model


def listed(capsys, pattern):
    assert main(["list", "supernets", "--timm", pattern, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_at_least_a_hundred_timm_models_are_listed_with_axes_and_sizes(capsys):
    rows = listed(capsys, "*")
    assert len(rows) >= 100
    assert {row["family"] for row in rows} == {"inverted_residual", "resnet", "vit", "convnext",
                                               "regnet"}
    assert all(row["axes"] and row["space_size"] > 1 for row in rows)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "resnet18", "test_vit", "convnext_atto",
                                  "regnetx_002"])
def test_what_is_listed_is_what_a_model_gives(capsys, name):
    [row] = listed(capsys, name)
    space = Elastic("timm:x", describe_model(timm.create_model(name))).space
    assert row["name"] == f"timm:{name}"
    assert (row["space_size"], row["genes"]) == (space.size, len(space.genes))


def test_the_table_names_models_and_axes(capsys):
    assert main(["list", "supernets", "--timm", "mobilenetv4_conv_small*"]) == 0
    shown = capsys.readouterr().out
    assert "timm:mobilenetv4_conv_small_035" in "".join(shown.split())
    assert "kernel" in shown


@pytest.mark.parametrize(("arguments", "says"), [
    (["supernets", "--timm", "mobilnetv3_small"], "mobilenetv3_small_"),
    (["devices", "--timm", "*"], "--timm lists supernets"),
])
def test_what_cannot_be_listed_is_an_error(capsys, arguments, says):
    assert main(["list", *arguments]) == 2
    assert says in capsys.readouterr().err
