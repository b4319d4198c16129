"""The public names of `nas`."""

import subprocess
import sys

import nas


def test_exported_members() -> None:
    assert nas.__all__ == [
        "Arch", "Client", "HardwareProfile", "NasError", "PruneRequest", "Pruned",
        "SearchConfig", "SearchResult", "export_subnet", "load_profile", "load_supernet",
        "prune", "resume_search", "run_search"]


def test_every_exported_member_resolves() -> None:
    for name in nas.__all__:
        assert getattr(nas, name).__name__, name
    assert set(nas.__all__) <= set(dir(nas))


def test_unknown_member_is_an_attribute_error() -> None:
    assert not hasattr(nas, "no_such_thing")


def test_a_client_needs_neither_torch_nor_an_extra() -> None:
    code = ("import sys, nas; nas.Client('http://127.0.0.1:1').close(); nas.SearchResult; "
            "print([name for name in ('torch', 'optuna', 'onnxruntime', 'ray', 'timm', "
            "'sqlalchemy', 'fastapi', 'starlette', 'uvicorn') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
