"""`nas generate`: images of classes, from a supernet or a bundle."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Json


def generate(
    source: Annotated[str, typer.Argument(
        metavar="SUPERNET|BUNDLE", help="Name or folder of a supernet that makes images, which "
        "torch runs, or folder of an exported network, which ONNX Runtime runs.")],
    class_: Annotated[list[str] | None, typer.Option(
        "--class", help="An index or a name, or several with commas; may be repeated. All classes "
                        "in turn if absent.")] = None,
    n: Annotated[int, typer.Option("--n", help="Images.")] = 16,
    seed: Annotated[int, typer.Option(
        help="Of the random numbers; equal ones give equal images, whatever the batch.")] = 0,
    cfg: Annotated[float | None, typer.Option(
        help="Guidance of the last scale, rising from 0 at the first; 1.5 if absent, 0 for "
             "none.")] = None,
    top_k: Annotated[int, typer.Option(
        help="Draw among so many of the likeliest codes; 0 for all.")] = 0,
    top_p: Annotated[float, typer.Option(
        help="Draw among the likeliest codes of this probability together; 0 for all.")] = 0.0,
    batch: Annotated[int, typer.Option(help="Images at a time.")] = 16,
    bridge: Annotated[int | None, typer.Option(
        help="First scales that run all layers; of a supernet, whose deepest network is run "
             "otherwise.")] = None,
    depth: Annotated[int | None, typer.Option(help="Layers of the scales after --bridge.")] = None,
    max_latency_ms: Annotated[float | None, typer.Option(
        help="Run the deepest network that makes an image, with guidance, within this time on "
             "this machine, as its stored profile says.")] = None,
    max_kv_mb: Annotated[float | None, typer.Option(
        help="Run the deepest network whose key-value caches of a batch take no more megabytes "
             "(10^6 bytes).")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture, a PNG.")]
        = Path("grid.png"),
    json: Json = False,
) -> None:
    """Make images of classes and show them as one picture."""
    from cli.render import print_json, progress
    from nas.pipeline.config import validated
    from nas.pipeline.generate import GenerateRequest
    from nas.pipeline.generate import generate as run

    classes = tuple(part.strip() for text in class_ or () for part in text.split(",")
                    if part.strip())
    request = validated(GenerateRequest, {
        "source": source, "classes": classes, "n": n, "seed": seed, "cfg": cfg, "top_k": top_k,
        "top_p": top_p, "batch": batch, "bridge": bridge, "depth": depth, "out": out,
        "max_latency_ms": max_latency_ms, "max_kv_mb": max_kv_mb})
    with progress() as watch:
        found = run(request, watch=watch)
    if json:
        print_json(found)
    else:
        _show(dict(found))


def _show(found: dict[str, Any]) -> None:
    depths = " ".join(map(str, found["depths"]))
    print(f"picture: {found['out']}")
    print(f"{found['images']} images by {found['runtime']}, {found['seconds_per_image']:.4f} s "
          f"each; key-value caches of {found['batch']} at a time: {found['kv_bytes']:,} bytes")
    print(f"layers of each scale: {depths}")
    if "predicted_latency_ms" in found:
        print(f"predicted: {found['predicted_latency_ms']:.3f} ms for one image alone, exported")
