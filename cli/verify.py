"""`nas verify`: a bundle's checks, from its files alone."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json


def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of an exported network.")],
    json: Json = False,
) -> None:
    """Check a bundle: hashes, architecture, ONNX file and its answers. Exit 1 if one differs."""
    from cli.render import print_json, table
    from nas.core.errors import ExportError
    from nas.export.verify import verify_bundle

    report = verify_bundle(bundle)
    if json:
        print_json({"ok": report.ok, "checks": [asdict(check) for check in report.checks]})
    else:
        table(["check", "", "detail"],
              [[check.name, "ok" if check.ok else "FAILED", check.detail]
               for check in report.checks])
    failed = [check for check in report.checks if not check.ok]
    if failed:
        raise ExportError(f"bundle {bundle} is not as it was exported: {failed[0].name}: "
                          f"{failed[0].detail}; export it again")
