"""`nas export`: any network of a run as a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json


def export(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a search.")],
    digest: Annotated[str, typer.Option(help="Of a network of the run; see pareto.json.")],
    out: Annotated[Path | None, typer.Option(
        help="Bundle folder to make; RUN_DIR/DIGEST if absent.")] = None,
    json: Json = False,
) -> None:
    """Export a network of a finished or stopped search as a verified ONNX bundle."""
    from cli.render import print_json, progress
    from nas.pipeline.export import export_subnet

    with progress() as watch:
        bundle = export_subnet(run_dir, digest=digest, out=out, watch=watch)
    if json:
        print_json({"bundle": str(bundle.folder), "digest": digest, "test": dict(bundle.test),
                    "onnx_max_abs_diff": bundle.max_abs_diff})
    else:
        print(f"bundle: {bundle.folder}")
        print(f"test error {bundle.test['error']:.2f} %; ONNX equals torch to "
              f"{bundle.max_abs_diff:.1e}")
