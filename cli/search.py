"""`nas search`: the main job."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Json, Supernet, Threads

if TYPE_CHECKING:
    from nas.pipeline.events import Watcher

_NOT_OF_THE_SEARCH = ("config", "resume", "server", "token_file", "json")
_LISTS = {"objectives", "proxy", "compare", "search_speakers", "test_speakers"}


def search(
    context: typer.Context,
    supernet: Supernet = "mobilenet-fmnist",
    device: Annotated[str, typer.Option(help="Whose latency counts; see `nas list devices`.")]
        = "host",
    objectives: Annotated[str, typer.Option(help="Metrics to minimise, with commas.")]
        = "error,latency_ms",
    max_latency_ms: Annotated[float | None, typer.Option(help="Largest latency allowed.")] = None,
    max_rtf: Annotated[float | None, typer.Option(
        help="Largest real-time factor allowed, of speech: latency over the clip's length.")]
        = None,
    max_params: Annotated[int | None, typer.Option(help="Most parameters allowed.")] = None,
    max_macs: Annotated[int | None, typer.Option(help="Most multiply-adds allowed.")] = None,
    max_memory: Annotated[int | None, typer.Option(
        help="Most bytes of live activations allowed, batch 1.")] = None,
    max_kv_mb: Annotated[float | None, typer.Option(
        help="Most MB (10^6 bytes) of key-value caches for one image, of supernets that make "
             "images.")] = None,
    proxy: Annotated[str, typer.Option(
        help="Zero-cost proxies with commas, whose early exits candidates must pass.")] = "",
    surrogate: Annotated[bool, typer.Option(
        "--surrogate", help="Candidates must also pass a predictor learnt during the search.")]
        = False,
    evaluation: Annotated[str, typer.Option(
        help="inherited: validate with the supernet's weights; trained: train each network "
             "first, by default with --searcher optuna-tpe and --executor tune.")] = "inherited",
    train_epochs: Annotated[int, typer.Option(
        help="Of each network, with --evaluation trained.")] = 4,
    train_from: Annotated[str, typer.Option(
        help="Weights that a training starts with: inherited or scratch.")] = "inherited",
    train_lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    data: Annotated[Path | None, typer.Option(
        help="Folder of the training images, as for `nas train`; the supernet's own if absent. "
             "Of a speech supernet: labelled clips that networks are validated on.")] = None,
    pattern: Annotated[str | None, typer.Option(
        help="What names of clips say, such as {label}_{speaker}_{take}.wav; with a slash, of "
             "their paths in --data.")] = None,
    field: Annotated[str, typer.Option(
        help="What is to be told from a clip: label or speaker.")] = "label",
    search_speakers: Annotated[str, typer.Option(
        help="Speakers to validate on, with commas; by default the last but one by name.")] = "",
    test_speakers: Annotated[str, typer.Option(
        help="Speakers for the test error, with commas; by default the last by name.")] = "",
    resample: Annotated[bool, typer.Option(
        "--resample", help="Resample clips that are not of 16 kHz instead of refusing them.")]
        = False,
    searcher: Annotated[str, typer.Option(
        help="See `nas list searchers`; or optuna:MODULE:CLASS, any sampler of Optuna's.")]
        = "linas",
    searcher_option: Annotated[list[str] | None, typer.Option(
        metavar="NAME=VALUE", help="Option of the searcher; repeat it for several.")] = None,
    budget: Annotated[int, typer.Option(help="Full validations.")] = 64,
    ask: Annotated[int, typer.Option(help="Trials that the searcher is asked for at once.")] = 4,
    cascade: Annotated[bool, typer.Option(
        "--cascade", help="Validate on a part of the images first; only the best go on.")] = False,
    patience: Annotated[int | None, typer.Option(
        help="Stop after so many full validations without a gain in hypervolume.")] = None,
    time_limit: Annotated[str | None, typer.Option(
        metavar="TIME", help="Begin no validation after this time: 90s, 10m, 2h.")] = None,
    stop_at: Annotated[str | None, typer.Option(
        metavar="BOUNDS", help="Stop once one network meets all: error=8.0,latency_ms=1.2.")]
        = None,
    compare: Annotated[str | None, typer.Option(
        help="Searchers with commas, to run side by side on this problem; exports nothing.")]
        = None,
    seeds: Annotated[int | None, typer.Option(
        help="Runs of each searcher of --compare, with seeds from --seed on.")] = None,
    executor: Annotated[str, typer.Option(
        help="What runs trials; see `nas list executors`. It cannot change the result.")]
        = "serial",
    workers: Annotated[int | None, typer.Option(help="Trials that run at once.")] = None,
    gpus_per_trial: Annotated[float, typer.Option(
        help="GPUs that each trial takes, or a share of one.")] = 0.0,
    ray_address: Annotated[str | None, typer.Option(
        help="Ray cluster to run on; this machine if absent.")] = None,
    attempts: Annotated[int, typer.Option(
        help="How often a trial is started whose worker dies, before it counts as failed.")] = 3,
    require_measured: Annotated[bool, typer.Option(
        "--require-measured", help="Refuse a device of which there is only an estimate.")] = False,
    threads: Threads = 1,
    precision: Annotated[str | None, typer.Option(
        help="In which latency counts: fp32, fp16 or int8. The exported file is fp32.")] = None,
    batch: Annotated[int | None, typer.Option(
        help="Images of each inference whose latency counts.")] = None,
    seconds: Annotated[float | None, typer.Option(
        help="Length of the clip of speech whose latency and MACs count; that of the supernet's "
             "windows if absent.")] = None,
    quality: Annotated[str | None, typer.Option(
        help="Of a supernet that makes images, what error is: cross-entropy of tokens, or fid of "
             "generated images.")] = None,
    samples: Annotated[int | None, typer.Option(
        help="Images of each network, with --quality fid.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    storage: Annotated[str | None, typer.Option(
        help="Optuna storage URL of the ledger instead of a file in the run folder.")] = None,
    study: Annotated[str | None, typer.Option(
        help="Name of the study in --storage; the run folder's name if absent.")] = None,
    join: Annotated[bool, typer.Option(
        "--join", help="Share the work of a study with the other processes that join it.")]
        = False,
    config: Annotated[Path | None, typer.Option(
        help="TOML file of these options; options on the command line win.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make.")] = None,
    resume: Annotated[Path | None, typer.Option(
        metavar="RUN_DIR|JOB", help="Run folder of a stopped search to go on with; with --server, "
                                    "the job to follow.")] = None,
    server: Annotated[str | None, typer.Option(
        metavar="URL", help="Search on a server of `nas serve`, and download the run folder from "
                            "it. Its token is in the variable NAS_TOKEN.")] = None,
    token_file: Annotated[Path | None, typer.Option(
        help="With --server: file of the token, instead of NAS_TOKEN.")] = None,
    json: Json = False,
) -> None:
    """Search a supernet for the best networks of a device and export the winner as ONNX."""
    del (supernet, device, objectives, max_latency_ms, max_rtf, max_params, max_macs, max_memory,
         max_kv_mb, proxy, surrogate, evaluation, train_epochs, train_from, train_lr, data,
         pattern, field, search_speakers, test_speakers, resample, searcher,
         searcher_option, budget, ask, cascade, patience, time_limit, stop_at,
         compare, seeds, require_measured, executor, workers, gpus_per_trial, ray_address,
         attempts, threads, precision, batch, seconds, quality, samples, seed, storage, study,
         join, out)
    # All of these are read from the context: see _given.
    from cli.render import print_json
    from cli.search_tables import show_comparison, show_search
    from nas.core.errors import InputError

    given = _given(context)
    if server is not None:
        from cli.search_remote import search_there

        payload = search_there(server, token_file, resume=resume, file=config, given=given)
    elif token_file is not None:
        raise InputError("--token-file is for --server; give both or none")
    else:
        payload = _search_here(resume, config, given)
    if json:
        print_json(payload)
    elif "searchers" in payload:
        show_comparison(payload)
    else:
        show_search(payload)


def _search_here(resume: Path | None, file: Path | None,
                 given: dict[str, Any]) -> Mapping[str, Any]:
    from cli.render import progress
    from nas.pipeline.device import keep_freed_memory

    keep_freed_memory()
    with progress() as watch:
        return _resumed(resume, given, watch) if resume else _begun(file, given, watch)


def _begun(file: Path | None, given: dict[str, Any], watch: "Watcher") -> Mapping[str, Any]:
    from nas.pipeline.compare import run_comparison
    from nas.pipeline.config import make_config, read_config
    from nas.pipeline.search import run_search

    config = make_config({**(read_config(file) if file else {}), **given})
    run = run_comparison if config.compare else run_search
    return run(config, watch=watch).payload


def _resumed(folder: Path, given: dict[str, Any], watch: "Watcher") -> Mapping[str, Any]:
    from nas.core.errors import InputError
    from nas.pipeline.compare import resume_comparison
    from nas.pipeline.config import EXECUTION
    from nas.pipeline.run_dir import RunDir
    from nas.pipeline.search import resume_search

    other = [name for name in given if name not in EXECUTION]
    if other:
        raise InputError(f"--resume takes everything from the run but where trials run; drop "
                         f"--{other[0].replace('_', '-')}")
    _, config, _ = RunDir.open(folder)
    resume = resume_comparison if config.compare else resume_search
    return resume(folder, watch=watch, execution=given).payload


def _given(context: typer.Context) -> dict[str, Any]:
    """Returns the options that the user wrote, so that a config file can give the others."""
    values = {}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if name not in _NOT_OF_THE_SEARCH and source is not None and source.name != "DEFAULT":
            values[name] = value
    for name in _LISTS & values.keys():
        values[name] = tuple(part.strip() for part in values[name].split(","))
    if "searcher_option" in values:
        values["searcher_options"] = values.pop("searcher_option")
    return values
