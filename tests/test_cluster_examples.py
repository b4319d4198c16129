"""The cluster files in the documentation: Ray's own check, and that their commands are ours."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from nas.pipeline.config import SearchConfig

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def read(name: str) -> dict[str, Any]:
    found = yaml.safe_load((EXAMPLES / name).read_text())
    assert isinstance(found, dict)
    return found


def check_options(command: str) -> None:
    words = shlex.split(command)
    for word in words[words.index("search") + 1:]:
        if word.startswith("--"):
            assert word[2:].replace("-", "_") in SearchConfig.model_fields


def test_ray_accepts_the_cluster() -> None:
    config = read("cluster.yaml")
    validate_config(prepare_config(config))
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert types["worker"]["max_workers"] <= config["max_workers"]


def test_the_check_finds_mistakes() -> None:
    with pytest.raises(Exception, match="colour"):
        validate_config(prepare_config({**read("cluster.yaml"), "colour": "red"}))


def test_the_job_has_what_a_rayjob_needs() -> None:
    job = read("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    check_options(job["spec"]["entrypoint"])
    templates = [cluster["headGroupSpec"]["template"],
                 *(group["template"] for group in cluster["workerGroupSpecs"])]
    for template in templates:
        container, = template["spec"]["containers"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in template["spec"]["volumes"]}
    claims = {volume["persistentVolumeClaim"]["claimName"] for template in templates
              for volume in template["spec"]["volumes"]}
    assert len(claims) == 1  # the run folder is seen by all
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_commands_of_the_page_are_ours() -> None:
    page = (EXAMPLES.parent / "cluster.md").read_text().replace("\\\n", " ").replace("…", "")
    commands = [line.partition("  #")[0].replace('"', "") for line in page.splitlines()
                if line.startswith(("nas search", "ray exec"))]
    assert len(commands) >= 4
    for command in commands:
        check_options(command)
