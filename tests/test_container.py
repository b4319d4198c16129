"""Dockerfile and compose.yaml: their syntax, and that what they name is there."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from cli.serve import app

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, text=True,
                          capture_output=True, check=False)


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = run("hadolint", "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    broken = tmp_path / "Dockerfile"
    broken.write_text(DOCKERFILE + "\nRUM apt-get install curl\n")
    assert run("hadolint", str(broken)).returncode != 0


def test_compose_file_is_valid_with_a_password_and_refused_without() -> None:
    command = ("docker-compose", "-f", "compose.yaml", "config", "-q")
    done = run(*command, POSTGRES_PASSWORD="secret")
    assert done.returncode == 0, done.stderr
    refused = run(*command, POSTGRES_PASSWORD="")
    assert refused.returncode != 0
    assert "put it into .env" in refused.stderr


def test_every_package_of_the_wheel_is_in_the_image() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert f"COPY {package} {package}\n" in DOCKERFILE
        assert f"!{package}" in ignored
    pair = [line for line in project["project"]["dependencies"] if line.startswith("torch")][:2]
    assert all(f'"{line}"' in DOCKERFILE for line in pair)


def test_the_image_is_not_run_as_root() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", last, flags=re.MULTILINE)
    assert last.index("USER 10001") < last.index("ENTRYPOINT")


def test_variables_and_options_are_those_of_the_command() -> None:
    parameters = get_command(app).params
    known = {variable for parameter in parameters if parameter.envvar
             for variable in ([parameter.envvar] if isinstance(parameter.envvar, str)
                              else parameter.envvar)}
    named = set(re.findall(r"NAS_SERVE_\w+", DOCKERFILE + COMPOSE))
    assert named
    assert named <= known
    options = {option for parameter in parameters for option in parameter.opts}
    assert 'CMD ["--host", "0.0.0.0"]' in DOCKERFILE
    assert "--host" in options
