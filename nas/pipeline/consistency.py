"""Options of a search that do not go together, each in the line that the user is told."""

from typing import TYPE_CHECKING

from nas.pipeline.metrics import METRICS

if TYPE_CHECKING:
    from nas.pipeline.config import SearchConfig

_ONE_MACHINE = ("serial", "process")
_CLIPS = ("pattern", "field", "search_speakers", "test_speakers", "resample")


def clip_options(config: "SearchConfig") -> list[str]:
    """Returns the options about clips of speech that are not at their defaults."""
    fields = type(config).model_fields
    return [name for name in _CLIPS if getattr(config, name) != fields[name].default]


def contradiction(config: "SearchConfig") -> str | None:
    """Returns the first thing that is wrong with options together, or None."""
    if config.executor in _ONE_MACHINE:
        if config.ray_address is not None:
            return (f"--ray-address {config.ray_address} needs --executor ray, not "
                    f"{config.executor}")
        if config.gpus_per_trial:
            return f"--gpus-per-trial needs --executor ray, not {config.executor}"
    if config.executor == "serial" and (config.workers or 1) > 1:
        return (f"--workers {config.workers} needs --executor process or ray: the serial one runs "
                "one trial at a time")
    missing = [name for name in config.stop_at if name not in METRICS
               or (name == "energy_mj" and name not in config.objectives)]
    if missing:
        known = [name for name in METRICS if name != "energy_mj"]
        return (f"--stop-at: unknown metric {missing[0]!r}; known: {', '.join(known)}, and "
                "energy_mj where it is an objective")
    if config.study is not None and config.storage is None:
        return "--study names a study in a shared storage; give --storage, too"
    if config.join and config.storage is None:
        return "--join needs the --storage that the processes share"
    if config.join and config.study is None and config.out is None:
        return "--join needs the name of the study that the processes share: give --study"
    if config.samples is not None and config.quality != "fid":
        return "--samples is for --quality fid; give both or none"
    return _wrong_clips(config) or _wrong_training(config) or _wrong_comparison(config)


def _wrong_training(config: "SearchConfig") -> str | None:
    if config.evaluation == "trained":
        if config.cascade:
            return "--cascade is for inherited weights; drop it from --evaluation trained"
        if config.compare:
            return "--compare is for inherited weights; drop --evaluation trained"
        return None
    if config.executor == "tune":
        return "--executor tune runs trainings; it needs --evaluation trained"
    for name in ("train_epochs", "train_from", "train_lr"):
        if getattr(config, name) != type(config).model_fields[name].default:
            return f"--{name.replace('_', '-')} is for --evaluation trained"
    return None


def _wrong_clips(config: "SearchConfig") -> str | None:
    # Whether the supernet is one of speech at all is not known before it is loaded.
    for name in clip_options(config):
        option = f"--{name.replace('_', '-')}"
        if config.data is None:
            return f"{option} says which clips of --data are what; give both or none"
        if config.field == "speaker" and name.endswith("speakers"):
            return f"{option} holds speakers out, whom --field speaker is to tell apart; drop one"
    return None


def _wrong_comparison(config: "SearchConfig") -> str | None:
    if config.seeds is not None and not config.compare:
        return "--seeds is for --compare; a search has one --seed"
    if not config.compare:
        return None
    if len(set(config.compare)) < max(2, len(config.compare)):
        return "--compare needs two or more different searchers, with commas between them"
    if config.storage is not None or config.join:
        return "--compare keeps its ledgers in its run folder; drop --storage and --join"
    if config.cascade or config.patience or config.time_limit or config.stop_at:
        return ("--compare gives every searcher the same validations; drop --cascade, --patience, "
                "--time-limit and --stop-at")
    if config.searcher_options:
        return "--searcher-option is for one searcher; drop it from --compare"
    return None
