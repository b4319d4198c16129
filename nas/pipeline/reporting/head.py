"""The top of the report: what was found, in one sentence, and what to doubt."""

from nas.core.trial import Outcome
from nas.pipeline.reporting.facts import Best, RunFacts
from nas.pipeline.reporting.markup import Html, tag
from nas.pipeline.reporting.values import NAMES, name_of, shown


def head(facts: RunFacts) -> Html:
    """Returns the title, the sentence to quote, the main figures and the doubts."""
    parts = [tag("h1", headline(facts)), tag("p", *_lead(facts), class_="lead")]
    if facts.chosen is not None:
        parts.append(_tiles(facts, facts.chosen))
    doubts = _doubts(facts)
    if doubts:
        parts.append(tag("ul", *(tag("li", doubt) for doubt in doubts), class_="doubts"))
    return tag("header", tag("div", *parts, class_="inner"))


def headline(facts: RunFacts) -> str:
    """Returns the sentence that a colleague needs."""
    machine, chosen, name = facts.profile.device.name, facts.chosen, facts.quality.name
    if facts.results is None:
        done = f"Unfinished: {facts.spent} of {facts.config.budget} validations"
        return f"{done} on {machine}" if chosen is None else (
            f"{done}; best so far {facts.error(chosen.metrics['error'])} validation {name} at "
            f"{shown('latency_ms', chosen.metrics['latency_ms'])} (predicted) on {machine}")
    best = facts.results.best
    latency = shown("latency_ms", best.measured_latency_ms or best.metrics["latency_ms"])
    how = "" if best.measured_latency_ms else " (predicted)"
    return f"{facts.error(best.test['error'])} test {name} at {latency}{how} on {machine}"


def _lead(facts: RunFacts) -> list[str]:
    size = facts.results.space_size if facts.results else (
        facts.design.space.size if facts.design else None)
    space = f"{size:,} networks" if size else "the networks"
    if facts.results is None:
        lead = ["This search has been stopped or is still running. Nothing is exported, and the "
                "front may still change. Go on with ",
                tag("code", f"nas search --resume {facts.run.path}"), "."]
        if facts.spent >= facts.config.budget:
            lead.insert(0, "All validations are there, the export is not. ")
        return lead
    first = facts.config.objectives[0]
    accurate = first == "error" and not facts.quality.error
    which = ("most accurate" if accurate else "best" if first == "error"
             else f"one of lowest {name_of(first, facts.quality)}")
    return [f"The {which} of {len(facts.validated)} validated out of {space} of ",
            tag("b", facts.config.supernet), _comparison(facts), ".",
            _tuned(facts, facts.results.best)]


def _tuned(facts: RunFacts, best: Best) -> str:
    if best.finetuned is None:
        return ""
    epochs, before, after = (best.finetuned.epochs, best.finetuned.before, best.finetuned.after)
    return (f" Fine-tuned for {epochs} {'epoch' if epochs == 1 else 'epochs'} on "
            f"{best.finetuned.images}: {facts.error(before['test_error'])} test "
            f"{facts.quality.name} before, {facts.error(after['test_error'])} after.")


def _comparison(facts: RunFacts) -> str:
    slowest = max(facts.validated, key=lambda outcome: outcome.metrics["latency_ms"])
    if facts.chosen is None or slowest is facts.chosen:
        return ""
    slow = slowest.metrics["latency_ms"]
    ratio = slow / facts.chosen.metrics["latency_ms"]
    error = facts.error(slowest.metrics["error"])
    return (f"; predicted {ratio:.2g}× faster than the slowest of them "
            f"({shown('latency_ms', slow)}, {error} validation {facts.quality.name})")


def _tiles(facts: RunFacts, chosen: Outcome) -> Html:
    tiles = []
    if facts.results:
        best = facts.results.best
        tiles.append((facts.error(best.test["error"]), f"test {facts.quality.name}",
                      f"{facts.quality.inputs} no search saw"))
    tiles.append((facts.error(chosen.metrics["error"]), name_of("error", facts.quality),
                  "as searched" if facts.results and facts.results.best.finetuned
                  else "inherited weights"))
    if facts.results and facts.results.best.measured_latency_ms:
        tiles.append((shown("latency_ms", facts.results.best.measured_latency_ms),
                      "measured latency", "of the exported file"))
    fit, value = facts.profile.calibration, chosen.metrics["latency_ms"]
    low, high = value * fit.lower_ratio, value * fit.upper_ratio
    tiles.append((shown("latency_ms", value), "predicted latency",
                  f"90\xa0%: {low:#.3g}\xa0…\xa0{high:#.3g}"))
    if "rtf" in chosen.metrics:
        seconds = value / (1000 * chosen.metrics["rtf"])
        tiles.append((shown("rtf", chosen.metrics["rtf"]), NAMES["rtf"],
                      f"predicted, {seconds:.3g}\xa0s of speech"))
    tiles += [(shown(name, chosen.metrics[name]), NAMES[name], "exact count")
              for name in ("kv_bytes", "params", "macs") if name in chosen.metrics]
    return tag("ul", *(tag("li", tag("b", value), tag("span", name), tag("small", note))
                       for value, name, note in tiles), class_="tiles")


def _doubts(facts: RunFacts) -> list[str]:
    doubts = []
    if facts.profile.kind == "fewshot":
        doubts.append("Latencies are fitted to a few whole networks that were measured.")
    fit, best = facts.profile.calibration, facts.results.best if facts.results else None
    if best and best.measured_latency_ms:
        ratio = best.measured_latency_ms / best.metrics["latency_ms"]
        if not fit.lower_ratio <= ratio <= fit.upper_ratio:
            doubts.append(
                f"The exported file measured {ratio:.2f} times what was predicted, outside the "
                f"band of 90 % of held-out networks ({fit.lower_ratio:.2f} … "
                f"{fit.upper_ratio:.2f}). Measure it again on a quiet machine; if it stays, renew "
                "the profile with `nas profile run`.")
    validity = facts.profile.validity
    doubts += [f"Latencies: {warning}." for warning in validity.warnings]
    if validity.extrapolated:
        doubts.append(f"Latencies are extrapolated: {'; '.join(validity.extrapolated)}.")
    failed = [trial.outcome for trial in facts.trials if not trial.outcome.ok]
    if failed:
        doubts.append(f"{len(failed)} of {len(facts.trials)} validations failed; the first with: "
                      f"{failed[0].error}")
    if facts.design is None:
        doubts.append("The supernet is not at hand, so the network is not drawn and held-out "
                      f"networks are not plotted: {facts.design_problem}")
    return doubts
