"""The command line costs nothing before it works."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "optuna", "timm", "ray", "onnx", "onnxruntime", "matplotlib", "rich",
         "fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "httpx2", "pydantic")
WITH_OPTIONS = HEAVY[:-1]  # Typer itself needs pydantic for a verb's typed options


@pytest.mark.parametrize(("arguments", "absent"), [
    (["--help"], HEAVY), (["search", "--help"], WITH_OPTIONS),
    (["profile", "--help"], WITH_OPTIONS), (["prune", "--help"], WITH_OPTIONS),
    (["serve", "--help"], WITH_OPTIONS), (["serve", "token", "create", "--help"], WITH_OPTIONS)])
def test_help_imports_nothing_heavy(arguments: list[str], absent: tuple[str, ...]) -> None:
    code = (f"import sys; from cli.main import main; code = main({arguments!r}); "
            f"print([name for name in {absent!r} if name in sys.modules]); sys.exit(code)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_import_nas_is_free() -> None:
    code = f"import nas, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
