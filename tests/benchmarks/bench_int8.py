"""What int8 is worth for the winner of a finished search: accuracy, latency, size against fp32.

Quantises by `nas export RUN_DIR --precision int8` and writes what the manifest then says to
``docs/benchmarks/int8.json``.

    nas search --out runs/first && python tests/benchmarks/bench_int8.py runs/first
"""

import json
import sys
from pathlib import Path

from _report import write_report

from nas.pipeline.export import Extras, export_subnet


def main() -> None:
    """Quantises and writes the report."""
    run_dir = Path(sys.argv[1])
    bundle = export_subnet(run_dir, extras=Extras(int8=True))
    entry = bundle.manifest.model_dump(mode="json")["int8"]
    sizes = {name: (bundle.folder / name).stat().st_size
             for name in ("model.onnx", "model_int8.onnx")}
    print(json.dumps(entry, indent=1))
    write_report("int8", {"network": bundle.manifest.arch_digest, "bytes": sizes, **entry}, seed=0)


if __name__ == "__main__":
    main()
