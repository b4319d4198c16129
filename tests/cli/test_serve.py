"""`nas serve` and its tokens, as far as no job runs."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main
from nas.core.locks import locked
from nas.service.folder import DataDir
from nas.service.store.engine import open_database
from nas.service.store.tokens import TokenStore

TOKEN = re.compile(r"nas_[0-9a-f]{8}_[A-Za-z0-9_-]{43}\n")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NAS_SERVE_DATA", "NAS_SERVE_DATABASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(tmp_path / "data")


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["serve", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("nas: ")
    return line


def python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True,
                          check=False, timeout=60)


SERVE = "import sys; from cli.main import run; sys.argv[0] = 'nas'; run()"


# Tokens --------------------------------------------------------------------------------------


def test_a_token_is_alone_on_standard_output_and_valid(
        data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "token", "create", "alice", "--role", "runner", "--data", data]) == 0
    captured = capsys.readouterr()
    assert TOKEN.fullmatch(captured.out)
    secret = captured.out.strip().rpartition("_")[2]
    assert secret not in captured.err
    folder = DataDir(Path(data))
    database = open_database(None, folder)
    found = TokenStore(database).verify(captured.out.strip())
    database.close()
    assert found is not None
    assert (found.user, found.role) == ("alice", "runner")


def test_tokens_are_listed_without_their_secrets_and_revoked(
        data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_SERVE_DATA", data)
    secrets = []
    for name, role in (("alice", "admin"), ("bob", "viewer"), ("bob", "runner")):
        assert main(["serve", "token", "create", name, "--role", role]) == 0
        secrets.append(capsys.readouterr().out.strip().rpartition("_")[2])
    assert main(["serve", "token", "list", "--json"]) == 0
    shown = capsys.readouterr().out
    rows = json.loads(shown)
    assert [(row["user"], row["role"], row["revoked"]) for row in rows] == [
        ("alice", "admin", None), ("bob", "viewer", None), ("bob", "runner", None)]
    assert main(["serve", "token", "revoke", rows[1]["id"]]) == 0
    assert capsys.readouterr().err == f"nas: token {rows[1]['id']} of bob is revoked\n"
    assert main(["serve", "token", "list"]) == 0
    shown += capsys.readouterr().out
    assert "revoked" in shown
    assert not any(secret in shown for secret in secrets)


@pytest.mark.parametrize(("arguments", "said"), [
    ("create alice --role boss", "--role boss: there is only viewer, runner, admin"),
    ("create al/ice --role admin", "'al/ice' is no name of a user"),
    ("create alice", "Missing option '--role'"), ("revoke abc", "there is no token 'abc'"),
    ("list --database sqlite:///x.db", "--database"),
    ("list --database mysql://x/y", "--database")])
def test_tokens_that_cannot_be(data: str, capsys: pytest.CaptureFixture[str], arguments: str,
                               said: str) -> None:
    assert said in fails(capsys, "token", *arguments.split(), "--data", data)


def test_a_token_needs_no_torch(data: str) -> None:
    code = ("import sys; from cli.main import main; "
            "assert main(['serve', 'token', 'create', 'a', '--role', 'admin', '--data', "
            f"{data!r}]) == 0; print([name for name in ('torch', 'numpy', 'optuna', 'fastapi') "
            "if name in sys.modules])")
    done = python(code)
    assert done.stdout.endswith("\n[]\n"), done.stderr


# Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "said"), [
    ("--port 70000", "--port 70000 is none"), ("--slots 0", "--slots must be more than 0"),
    ("--max-queue 0", "--max-queue must be"), ("--max-upload-mb nan", "--max-upload-mb nan"),
    ("--max-upload-mb -1", "--max-upload-mb must be"), ("--max-upload-mb inf", "--max-upload-mb"),
    ("--max-job-hours 0", "--max-job-hours must be"), ("--max-job-trials -5", "--max-job-trials"),
    ("--allow everything", "--allow everything: there is only code, paths, storage"),
    ("token list", "--data stands before the word token"),
    ("--nonsense", "No such option")])
def test_options_that_make_no_sense(data: str, capsys: pytest.CaptureFixture[str], arguments: str,
                                    said: str) -> None:
    assert said in fails(capsys, "--data", data, *arguments.split())


def test_a_server_without_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "--data DIR is missing" in fails(capsys)
    assert "--data DIR is missing" in fails(capsys, "token", "list")
    (tmp_path / "file").write_text("")
    assert "--data" in fails(capsys, "token", "list", "--data", str(tmp_path / "file"))


@pytest.mark.parametrize("options", [["--host", "0.0.0.0"], ["--require-token"],
                                     ["--host", "nas.example.org"]])
def test_a_server_that_nobody_could_use_says_how_to_make_a_token(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    data = str(tmp_path / "my data")
    line = fails(capsys, "--data", data, *options)
    assert line.endswith(f"nas serve token create NAME --role admin --data '{data}'")
    main(["serve", "token", "create", "a", "--role", "admin", "--data", data])
    made = capsys.readouterr().out.split("_")[1]
    main(["serve", "token", "revoke", made, "--data", data])
    capsys.readouterr()
    assert "there is no token yet" in fails(capsys, "--data", data, *options)


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "sqlalchemy", "prometheus_client"])
def test_without_the_extra_it_says_how_to_install_it(data: str, missing: str) -> None:
    done = python(f"import sys; sys.modules[{missing!r}] = None; {SERVE}", "serve", "--data", data)
    assert done.returncode == 2, done.stderr
    assert done.stderr == (f"nas: {missing} is not installed; pip install 'nas-service[serve]' "
                           "brings what a server needs\n")


def test_two_servers_on_one_folder(tmp_path: Path) -> None:
    with locked(tmp_path, "server"):
        done = python(SERVE, "serve", "--data", str(tmp_path), "--port", "0")
    assert done.returncode == 2, done.stderr
    assert done.stderr == (f"nas: another server is at work in {tmp_path} (process {os.getpid()}); "
                           "wait until it has ended, or stop it\n")


def test_a_port_that_is_taken(data: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = python(SERVE, "serve", "--data", data, "--port", port)
    assert done.returncode == 2, done.stderr
    assert f"--port {port}: Address already in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1
