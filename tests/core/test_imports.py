import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, sys
import nas.core
names = [module.name for module in pkgutil.walk_packages(nas.core.__path__, "nas.core.")]
assert len(names) >= 8, names
for name in names:
    importlib.import_module(name)
frameworks = ("torch", "timm", "optuna", "ray", "onnx", "onnxruntime")
print(",".join(name for name in frameworks if name in sys.modules))
"""


def test_the_core_imports_no_framework() -> None:
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True,
                            check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""
