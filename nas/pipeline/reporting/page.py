"""The whole report as one HTML text that fetches nothing."""

import base64
import hashlib
from importlib.resources import files
from string import Template

from hardware_profiles.profile import Quality
from nas.export.manifest import Manifest
from nas.pipeline.exit_line import cascade_line, exit_line
from nas.pipeline.reporting.blocks import stages_of
from nas.pipeline.reporting.command import command_line
from nas.pipeline.reporting.drawing import network_drawing
from nas.pipeline.reporting.facts import RunFacts
from nas.pipeline.reporting.figures import (
    NARROW,
    WIDE,
    front_figure,
    hypervolume_figure,
    hypervolume_of,
    latency_figure,
)
from nas.pipeline.reporting.head import head, headline
from nas.pipeline.reporting.markup import Html, escaped, joined, tag
from nas.pipeline.reporting.samples import sample_cards
from nas.pipeline.reporting.tables import exits_table, front_table, neighbours, pairs, scrolling
from nas.pipeline.reporting.usage import EXPLORE, snippet
from nas.pipeline.reporting.values import name_of, percent, shown


def render(facts: RunFacts) -> str:
    """Returns the report; equal run folders give equal reports."""
    folder = files(__package__)
    script = folder.joinpath("script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sections = [_front(facts), _samples(facts), _history(facts), _latency(facts), _exits(facts),
                _network(facts), _neighbours(facts), _use(facts), _reproduce(facts)]
    return Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escaped(headline(facts)), script=script, script_hash=digest, head=head(facts),
        style=folder.joinpath("style.css").read_text(encoding="utf-8"), body=joined(sections))


def _section(name: str, title: str, *children: str, class_: str = "") -> Html:
    return tag("section", tag("h2", title, id=f"{name}-title"), *children, id=name,
               class_=class_ or None, aria_labelledby=f"{name}-title")


def _front(facts: RunFacts) -> Html:
    if not facts.validated:
        return _section("front", "Pareto front", tag("p", "No validation has finished yet."),
                        class_="full")
    legend = tag("ul", tag("li", "validated", class_="key-seen"),
                 tag("li", "on the front", class_="key-front"),
                 tag("li", "exported" if facts.finished else "best so far", class_="key-chosen"),
                 class_="legend")
    note = tag("p", f"Validation {facts.quality.name} with inherited weights on the search split, "
                    f"latency predicted from {facts.profile.kind} blocks. Below and left is "
                    f"better; the shaded part is dominated{_further(facts)}. A point leads to its "
                    f"row.{_in_part(facts)}",
               class_="note")
    if facts.quality.error:
        note = joined([note, tag("p", f"{_capital(facts.quality.name)}: {facts.quality.error}.",
                                class_="note")])
    figure = tag("figure", tag("div", front_figure(facts, WIDE), class_="only-wide"),
                 tag("div", front_figure(facts, NARROW), class_="only-narrow"), legend)
    return _section("front", "Pareto front", note,
                    tag("div", figure, front_table(facts), class_="beside"), class_="full")


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]  # FID stays as it is


def _further(facts: RunFacts) -> str:
    # Why points of the front may lie in the shaded part.
    further = [name_of(name, facts.quality) for name in facts.config.objectives[2:]]
    return f", but for what a point is lower in: {', '.join(further)}" if further else ""


def _samples(facts: RunFacts) -> Html:
    if not facts.samples:
        return Html()
    note = ("One image after the other: a column is a class, a row a seed, and both are the same "
            "for all networks. What differs is how many layers the late scales run.")
    return _section("samples", "What the front generates", tag("p", note, class_="note"),
                    sample_cards(facts), class_="full")


def _history(facts: RunFacts) -> Html:
    if not facts.validated:
        return _section("history", "Hypervolume over validations",
                        tag("p", "No validation has finished yet."))
    _, reference = hypervolume_of(facts)
    point = ", ".join(shown(name, value, facts.quality) for name, value
                      in zip(facts.config.objectives, reference.tolist(), strict=True))
    note = (f"How much the front dominates, up to the reference point ({point}): the worst of each "
            "objective in this run. 100 % would be one network with the best of everything.")
    stopped = facts.results.stopped if facts.results else None
    why = tag("p", f"Stopped early, after {facts.spent} of {facts.config.budget} validations: "
                   f"{stopped}.") if stopped else ""
    return _section("history", "Hypervolume over validations", why, tag("p", note, class_="note"),
                    tag("figure", hypervolume_figure(facts)))


def _in_part(facts: RunFacts) -> str:
    if not facts.counts.partial:
        return ""
    return (f" {facts.counts.partial} more were validated on a part of the "
            f"{facts.quality.inputs} alone, at the cost of {facts.counts.partial_cost:.1f} "
            "validations, and are not shown.")


def _exits(facts: RunFacts) -> Html:
    note = ("Cheapest first: a candidate that breaks a bound costs no validation. Costs are exact "
            "counts; latency is held to the upper end of its prediction.")
    counted = facts.counts.sampled - sum(facts.counts.early_exits.values())
    if counted < len(facts.trials):
        note += (f" They are counted a batch at a time: the {len(facts.trials) - counted} "
                 "validations of the batch in hand are not among the drawn yet.")
    learned = facts.results.learned_exits if facts.results else ()
    lines = [tag("p", exit_line(found), class_="note") for found in learned]
    if facts.results and facts.results.cascade:
        line = cascade_line(facts.results.cascade, facts.quality.inputs)
        lines.append(tag("p", line, class_="note"))
    return _section("exits", "Early exits", tag("p", note, class_="note"), exits_table(facts),
                    *lines, class_="full")


def _latency(facts: RunFacts) -> Html:
    fit, figure = facts.profile.calibration, latency_figure(facts)
    rows = [("prediction", fit.held_out)] if fit.held_out else []
    rows += [(f"{name.replace('_', ' ')} alone", quality)
             for name, quality in fit.baselines.items()]
    note = (f"{fit.test_count} networks that the prediction was not fitted on (it was on "
            f"{fit.calib_count} others). Dashed: equal; shaded: within 5 %.")
    if figure and facts.results and facts.results.best.measured_latency_ms:
        note += " Large: the exported file, measured after the search."
    return _section("latency", "Predicted against measured latency", tag("p", note, class_="note"),
                    tag("figure", figure) if figure else "", _quality_table(rows))


def _quality_table(rows: list[tuple[str, Quality]]) -> Html:
    columns = {"": None, "rank": "end", "≤ 5 %": "end", "≤ 10 %": "end", "bias": "end",
               "mean error": "end roomy"}
    body = []
    for name, q in rows:
        texts = (f"{q.spearman:.3f}", percent(q.in5, digits=0), percent(q.in10, digits=0),
                 percent(q.bias, signed=True), percent(q.mape))
        cells = (tag("td", text, class_=class_) for text, class_
                 in zip(texts, list(columns.values())[1:], strict=True))
        body.append(tag("tr", tag("th", name, scope="row"), *cells))
    head = tag("tr", *(tag("th", name, scope="col", class_=class_)
                       for name, class_ in columns.items()))
    return scrolling(tag("table", tag("thead", head), tag("tbody", *body)),
                     label="quality of the prediction")


def _network(facts: RunFacts) -> Html:
    stages = stages_of(facts, facts.chosen.trial.arch) if facts.chosen else []
    title = "The chosen network" if facts.finished else "The best network so far"
    if not stages or facts.chosen is None:
        return _section("network", title, tag("p", facts.design_problem
                        or "No validation has finished yet."), class_="full")
    note = tag("p", tag("code", facts.chosen.trial.arch.digest), ", from input to output. Heights "
               "are channels: in, expanded, out; the grid is the kernel, the arc a skip. Times are "
               "each block's share of the predicted latency.", class_="note")
    return _section("network", title, note, network_drawing(stages), class_="full")


def _neighbours(facts: RunFacts) -> Html:
    content = neighbours(facts, facts.chosen) if facts.chosen else tag(
        "p", "No validation has finished yet.")
    return _section("neighbours", "Its neighbours on the front", tag(
        "p", "What they trade, and what differs in them.", class_="note"), content, class_="full")


def _use(facts: RunFacts) -> Html:
    if facts.manifest is None:
        text = "Nothing is exported yet." if not facts.finished else "The bundle is gone."
        return _section("use", "Run the ONNX file", tag("p", text))
    onnx = facts.manifest.files["model.onnx"]
    return _section(
        "use", "Run the ONNX file",
        tag("p", f"In the run folder; numpy and onnxruntime are enough. {onnx.size:,} bytes, "
                 f"opset {facts.manifest.onnx.opset}; its answers equal torch's to "
                 f"{facts.manifest.parity.max_abs_diff:.1e}.", class_="note"),
        _int8(facts, facts.manifest),
        tag("pre", tag("code", snippet(facts.manifest)), tabindex=0),
        tag("p", "Check every file of it: ", tag("code", "nas verify best")),
        tag("p", "SHA-256 of model.onnx: ", tag("code", onnx.sha256), class_="note hash"))


def _int8(facts: RunFacts, manifest: Manifest) -> Html:
    found = manifest.int8
    if found is None:
        return Html()
    parts = [f"{name}: {facts.error(metrics['error'])} test {facts.quality.name}, "
             f"{shown('latency_ms', found.latency_ms[name])}"
             for name, metrics in found.test.items()]
    return tag("p", f"{'; '.join(parts)} ({found.latency}).", class_="note")


def _reproduce(facts: RunFacts) -> Html:
    device, runtime = facts.profile.device, facts.profile.runtime
    rows = [
        ("machine", device.summary),
        ("runtime", f"{runtime.name} {runtime.version}, {runtime.provider}, {runtime.precision}, "
                    f"{runtime.threads} thread(s), batch {runtime.batch}"),
        ("latency", f"{facts.profile.statistic}, profile {facts.profile.id}, "
                    f"{facts.profile.created:%Y-%m-%d %H:%M} UTC"),
        ("seed", str(facts.config.seed)),
        ("network", facts.chosen.trial.arch.digest if facts.chosen else "none yet"),
        ("last validation", f"{facts.last:%Y-%m-%d %H:%M}" if facts.last else "none yet"),
    ]
    if facts.results:
        rows.append(("time taken", f"{facts.results.wall_s:,.0f} s"))
        rows.append(("versions", ", ".join(f"{name} {version}" for name, version
                                           in facts.results.versions.items())))
    return _section(
        "reproduce", "Do it again",
        tag("pre", tag("code", command_line(facts.config)), tabindex=0, class_="wraps"),
        tag("p", "The same seed, weights, versions and profile give the same networks. A new "
                 "profile of the machine may tip the scales between close ones; the one used is "
                 "profile.json.", class_="note"), pairs(rows), _explore(facts))


def _explore(facts: RunFacts) -> Html:
    if facts.config.storage is not None:
        return Html()
    return tag("details", tag("summary", "Explore every trial with Optuna's own tools"),
               tag("pre", tag("code", EXPLORE), tabindex=0))
