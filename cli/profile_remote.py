"""`nas profile export` and `import`: latency profiles of machines that are not this one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.options import Json, Supernet, Threads


def export(
    device: Annotated[str, typer.Option(help="What the machine is to be called, such as pi-5.")],
    supernet: Supernet = "mobilenet-fmnist",
    out: Annotated[Path, typer.Option("--out", "-o", help="The zip file.")] = Path("bundle.zip"),
    threads: Threads = 1,
    batch: Annotated[int, typer.Option(help="Images of each inference.")] = 1,
    precision: Annotated[Literal["fp32", "fp16", "int8"], typer.Option(
        help="Of weights and activations.")] = "fp32",
    resolution: Annotated[int | None, typer.Option(
        help="Side of the input images in pixels; the supernet's own if absent.")] = None,
    few_shot: Annotated[int | None, typer.Option(
        "--few-shot", metavar="N",
        help="Send only N whole networks; 20 are plenty. A full profile stays in use.")] = None,
    host: Annotated[str | None, typer.Option(
        help="user@board: copy the bundle there, run it and import the result, over ssh.")] = None,
    python: Annotated[str, typer.Option(help="With --host: the Python there.")] = "python3",
    ep: Annotated[str, typer.Option(
        help="With --host: cpu, cuda, tensorrt, openvino or xnnpack.")] = "cpu",
    ep_option: Annotated[list[str] | None, typer.Option(
        metavar="NAME=VALUE", help="With --host: option of the provider; may be repeated.")] = None,
    max_temp: Annotated[float | None, typer.Option(
        help="With --host: wait while the board is hotter, in °C.")] = None,
    power: Annotated[bool, typer.Option("--power", help="With --host: energy, too.")] = False,
    json: Json = False,
) -> None:
    """Write all that another machine needs to be measured; with --host also measure it."""
    from cli.profile import show_profile
    from cli.render import print_json, say
    from nas.pipeline.profile_remote import export_bundle, profile_over_ssh
    from nas.pipeline.remote import AgentOptions

    manifest = export_bundle(supernet, out, device=device, threads=threads, batch=batch,
                             precision=precision, resolution=resolution, few_shot=few_shot)
    if host is None:
        if json:
            print_json({"bundle": str(out), "id": manifest.id, "device": device,
                        "models": len(manifest.models), "bytes": out.stat().st_size})
        say(f"nas: {out} ({out.stat().st_size:,} bytes, {len(manifest.models)} models): copy it to "
            "the machine, unzip it and read README.txt; bring result.json back and run `nas "
            "profile import result.json`")
        return
    options = AgentOptions(python=python, provider=ep, provider_options=tuple(ep_option or ()),
                           max_temp_c=max_temp, power=power)
    profile = profile_over_ssh(host, out, out.with_suffix(".result.json"), manifest=manifest,
                               options=options)
    if json:
        print_json(profile.model_dump(mode="json"))
    else:
        show_profile(profile.id)


def import_(
    result: Annotated[Path, typer.Argument(help="The file that the agent wrote.")],
    bundle: Annotated[Path | None, typer.Option(
        help="The bundle, where it was not exported by this user on this machine.")] = None,
    supernet: Annotated[str | None, typer.Option(
        help="The supernet, where it is not called as at export.")] = None,
    json: Json = False,
) -> None:
    """Check what an agent measured and store the profile."""
    from cli.profile import show_profile
    from cli.render import print_json
    from nas.pipeline.profile_remote import import_profile

    profile = import_profile(result, bundle=bundle, supernet=supernet)
    if json:
        print_json(profile.model_dump(mode="json"))
    else:
        show_profile(profile.id)
