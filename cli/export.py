"""`nas export`: any network of a run as a bundle, and more files in it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json

if TYPE_CHECKING:
    from nas.pipeline.export import Bundle


def export(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a search.")],
    digest: Annotated[str | None, typer.Option(
        help="Of a network of the run, see pareto.json; the winner in RUN_DIR/best if absent, "
             "which gets the files that are asked for.")] = None,
    out: Annotated[Path | None, typer.Option(
        help="Bundle folder to make; RUN_DIR/DIGEST if absent.")] = None,
    precision: Annotated[str, typer.Option(
        help="int8 adds a quantised file beside the fp32 one.")] = "fp32",
    calibration: Annotated[Path | None, typer.Option(
        help="Images that int8 is calibrated with: a folder, or a .npy file; the supernet's own "
             "if absent.")] = None,
    features: Annotated[bool, typer.Option(
        "--features", help="Add the network as a backbone: one output for each stage.")] = False,
    out_indices: Annotated[str | None, typer.Option(
        help="Stages of --features, with commas, as timm counts them; all if absent.")] = None,
    example: Annotated[str | None, typer.Option(
        help="wav adds infer_wav.py, which runs a speech encoder on a WAV file with ONNX Runtime, "
             "numpy and soundfile alone.")] = None,
    json: Json = False,
) -> None:
    """Export a network of a finished or stopped search as a verified ONNX bundle."""
    from cli.render import print_json, progress
    from nas.core.errors import InputError
    from nas.pipeline.export import Extras, export_subnet

    if precision not in ("fp32", "int8"):
        raise InputError(f"--precision: a bundle is in fp32, or in int8, too, not {precision!r}")
    extras = Extras(int8=precision == "int8", calibration=calibration, features=features,
                    indices=_indices(out_indices), example=example)
    with progress() as watch:
        bundle = export_subnet(run_dir, digest=digest, out=out, extras=extras, watch=watch)
    if json:
        print_json(bundle.payload)
        return
    print(f"bundle: {bundle.folder}")
    quality = bundle.quality
    print(f"test {quality.name} {quality.shown(bundle.test['error'])}; ONNX equals torch to "
          f"{bundle.max_abs_diff:.1e}")
    _show_extras(bundle)


def _show_extras(bundle: "Bundle") -> None:
    from cli.render import table
    from nas.pipeline.int8 import remark

    int8, features = bundle.manifest.int8, bundle.manifest.features
    if int8 is not None:
        table(["file", f"test {bundle.quality.label}", "latency [ms]"],
              [[name, metrics["error"], int8.latency_ms[name]]
               for name, metrics in int8.test.items()])
        print(f"calibrated with {int8.calibration}; {remark(int8)}")
    if features is not None:
        table(["output", "channels", "reduction"],
              [[output.name, output.channels, output.reduction] for output in features.outputs])
    if bundle.manifest.example is not None:
        print(f"python {bundle.folder}/infer_wav.py CLIP.wav  # takes "
              f"{bundle.manifest.example.takes}")


def _indices(text: str | None) -> list[int] | None:
    from nas.core.errors import InputError

    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--out-indices: {text!r} is no list of whole numbers such as 1,2,4"
                         ) from None
