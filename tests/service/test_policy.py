import os
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from nas.core.errors import InputError
from nas.service.folder import DataDir
from nas.service.option_rules import NotAllowed, TooLarge
from nas.service.policy import RULES, permitted
from nas.service.requests import config_values, read_request
from nas.service.settings import Settings

NEEDED: dict[str, dict[str, Any]] = {
    "search": {}, "rank": {}, "prune": {"model": "timm:resnet18", "data": "images", "macs": "60%"},
    "export": {"job": "abc"}, "import": {"result": "abc"}}

PATHS = [("search", "data"), ("search", "supernet"), ("rank", "supernet"), ("rank", "against"),
         ("prune", "data"), ("prune", "weights"), ("export", "calibration"),
         ("import", "supernet")]
CODE = [("search", "supernet"), ("search", "searcher"), ("search", "executor"),
        ("search", "proxy"), ("search", "compare"), ("rank", "supernet"), ("rank", "models"),
        ("rank", "proxies"), ("prune", "method"), ("prune", "compare"), ("import", "supernet")]
LISTS = {"proxy", "compare", "models", "proxies"}
ESCAPES = ["..", "../jobs", "a/../../jobs", "/etc/passwd", "/", "out", "out/secret", "loop/../..",
           "./../service.db"]
MODULES = ["os:system", "nas.search.nsga2:Nsga2", "optuna:optuna.samplers:TPESampler", ":", "a:b:c"]


@pytest.fixture
def folder(tmp_path: Path) -> DataDir:
    """With a folder of images, a file, a link that leads out and one that leads to itself."""
    found = DataDir(tmp_path / "service")
    found.make()
    (found.data / "images").mkdir()
    (found.data / "labels.csv").touch()
    (found.data / "out").symlink_to(tmp_path)
    (found.data / "loop").symlink_to("loop")
    (tmp_path / "secret").touch()
    return found


def asked(folder: DataDir, kind: str, *allow: str, ray: str | None = None,
          **config: Any) -> dict[str, Any]:
    settings = Settings(data=folder.root, allow=frozenset(allow), ray_address=ray,
                        max_job_trials=500)
    request = read_request(kind, {**NEEDED[kind], **config})
    return config_values(permitted(request, settings=settings, folder=folder))


def value(kind: str, field: str, text: str) -> Any:
    if field == "compare":  # of searchers, or of methods
        return [text, "nsga2" if kind == "search" else "tas"]
    return [text] if field in LISTS else text


def more(field: str) -> dict[str, Any]:
    return {"precision": "int8"} if field == "calibration" else {}


@pytest.mark.parametrize("text", ESCAPES)
@pytest.mark.parametrize(("kind", "field"), PATHS)
def test_no_path_leads_out_of_the_data_folder(folder: DataDir, kind: str, field: str,
                                              text: str) -> None:
    with pytest.raises(NotAllowed, match=f"^--{field}.* data folder of the server") as error:
        asked(folder, kind, "code", "storage", **{field: text}, **more(field))
    assert error.value.field == field
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("text", MODULES)
@pytest.mark.parametrize(("kind", "field"), CODE)
def test_no_code_is_named(folder: DataDir, kind: str, field: str, text: str) -> None:
    with pytest.raises(NotAllowed, match=f"^--{field}"):
        asked(folder, kind, "paths", "storage", **{field: value(kind, field, text)})


@pytest.mark.parametrize(("kind", "field", "given"), [
    ("search", "storage", "sqlite:////tmp/x.db"), ("search", "storage", "postgresql://host/x"),
    ("search", "out", "/tmp/x"), ("search", "out", "run"), ("rank", "out", "x"),
    ("prune", "out", "x"), ("prune", "download", True), ("prune", "pretrained", True),
    ("prune", "dataset", "hfds/mnist"), ("prune", "dataset", "torch/../x"),
    ("prune", "dataset", "tfds/x"), ("rank", "models", ["timm:hf-hub:a/b"]),
    ("prune", "model", "timm:hf-hub:a/b"), ("prune", "model", "timm:../x"),
])
def test_nothing_else_outside_is_named(folder: DataDir, kind: str, field: str,
                                       given: object) -> None:
    with pytest.raises(NotAllowed, match=f"^--{field}"):
        asked(folder, kind, "paths", **{field: given})


def test_study_and_join_come_with_a_storage(folder: DataDir) -> None:
    shared = {"storage": "sqlite:///x.db", "study": "a", "join": True}
    with pytest.raises(NotAllowed, match="keeps its ledger in its own folder"):
        asked(folder, "search", **shared)
    assert asked(folder, "search", "storage", **shared)["storage"] == "sqlite:///x.db"
    with pytest.raises(NotAllowed, match="for the server to say"):
        asked(folder, "search", "storage", executor="ray", ray_address="auto")


@pytest.mark.parametrize("text", ["a\0b", "\0", "\ud800", "data\udfff"])
@pytest.mark.parametrize(("kind", "field"), [*PATHS, *CODE, ("search", "device"),
                                             ("prune", "optimizer")])
def test_what_is_no_text_is_refused(folder: DataDir, kind: str, field: str, text: str) -> None:
    with pytest.raises(InputError, match=f"^--{field}.*no part of a|^unknown method") as error:
        asked(folder, kind, "paths", "code", **{field: value(kind, field, text)}, **more(field))
    assert str(error.value).isprintable()


@pytest.mark.parametrize(("kind", "field"), PATHS)
def test_paths_are_relative_to_the_data_folder(folder: DataDir, kind: str, field: str) -> None:
    def path(text: str, *allow: str) -> Any:
        return asked(folder, kind, *allow, **{field: text}, **more(field))[field]

    assert path("images") == path("./images/../images") == "data/images"
    assert path("images/none yet") == "data/images/none yet"
    assert path("out/secret", "paths") == str(folder.root.parent / "secret")
    assert path("/etc/passwd", "paths") == os.path.realpath("/etc/passwd")


def test_names_stay_as_they_are(folder: DataDir) -> None:
    config = asked(folder, "search", supernet="hubert-tiny", compare=["nsga2", "random"],
                   executor="process", proxy=["naswot"], budget=20)
    assert config["supernet"] == "hubert-tiny"
    assert config["compare"] == ["nsga2", "random"]
    assert asked(folder, "search", supernet="no-such-net")["supernet"] == "no-such-net"
    assert asked(folder, "rank", models=["timm:resnet18"])["models"] == ["timm:resnet18"]
    assert asked(folder, "rank", against="validation")["against"] == "validation"
    assert asked(folder, "rank", against="labels.csv")["against"] == "data/labels.csv"
    assert asked(folder, "prune", compare=["all"], dataset="torch/cifar10")["compare"] == ["all"]
    assert asked(folder, "search", "code", searcher="a:b")["searcher"] == "a:b"


@pytest.mark.parametrize(("kind", "field", "config"), [
    ("search", "budget", {"budget": 501}), ("rank", "n", {"n": 501}),
    ("search", "budget", {"budget": 51, "compare": ["nsga2", "random"]}),
    ("search", "budget", {"budget": 26, "compare": ["nsga2", "random"], "seeds": 10})])
def test_a_job_is_not_too_large(folder: DataDir, kind: str, field: str,
                                config: dict[str, Any]) -> None:
    with pytest.raises(TooLarge, match=f"^--{field}: 5.. trials in all.* 500 at most"):
        asked(folder, kind, **config)
    asked(folder, kind, **{**config, field: 25})


def test_trials_run_on_the_servers_cluster_unless_the_job_says_where(folder: DataDir) -> None:
    assert asked(folder, "search")["executor"] == "serial"
    assert asked(folder, "search", ray="auto")["executor"] == "ray"
    assert asked(folder, "search", ray="auto", executor="serial")["executor"] == "serial"
    assert asked(folder, "search", ray="auto", evaluation="trained")["executor"] == "tune"


@pytest.mark.parametrize("model", [*RULES])
def test_every_option_that_holds_text_has_a_rule(model: type[BaseModel]) -> None:
    free = {name for name, field in model.model_fields.items() if holds_text(field.annotation)}
    assert free <= set(RULES[model]) <= set(model.model_fields)


def holds_text(annotation: Any) -> bool:
    if isinstance(annotation, type):
        return issubclass(annotation, (str, Path)) or (
            issubclass(annotation, BaseModel)
            and any(holds_text(field.annotation) for field in annotation.model_fields.values()))
    return any(holds_text(part) for part in get_args(annotation) if not isinstance(part, str))


def test_no_more_workers_than_cores(folder: DataDir) -> None:
    few = {"executor": "process", "workers": 1}
    assert asked(folder, "search", **few)["workers"] == 1
    with pytest.raises(TooLarge, match=r"--workers 5000: this server has \d+ cores"):
        asked(folder, "search", executor="process", workers=5000)
    asked(folder, "search", ray="head:6379", executor="ray", workers=5000)
