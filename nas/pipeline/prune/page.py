"""The pages of `nas prune`: one network's, and a comparison's. They fetch nothing."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from nas.pipeline.prune.latency import aligned_line, latency_line
from nas.pipeline.reporting.markup import Html, escaped, joined, tag
from nas.pipeline.reporting.tables import pairs, scrolling
from nas.pipeline.reporting.values import percent, shown

REPORTING = "nas.pipeline.reporting"  # whose style, script and frame serve here, too
Json = Mapping[str, Any]
Row = Sequence[str]
METHODS_NOTE = ("All methods prune the same network to the same budget, and each result is trained "
                "for as many epochs. Accuracies are of the test split, of one seed: differences "
                "of a few images mean nothing.")


def prune_page(payload: Json) -> str:
    """Returns the page of one pruned network; `payload` is ``prune.json``."""
    before, after, accuracy = payload["before"], payload["after"], payload["accuracy"]
    title = (f"{payload['model']}: {percent(after['macs'] / before['macs'])} of the multiply-adds, "
             f"{percent(after['latency_ms'] / before['latency_ms'])} of the latency")
    tiles = [(f"{accuracy['after']:.2f}\xa0%", "test accuracy",
              f"{accuracy['before']:.2f}\xa0% unpruned"),
             *((shown(name, after[name]), label, f"{shown(name, before[name])} unpruned")
               for name, label in (("macs", "multiply-adds"), ("params", "parameters"),
                                   ("latency_ms", f"{payload['latency_kind']} latency")))]
    lead = (f"Pruned by {payload['method']} to {_budget(payload['budget'])}. "
            f"Weights: {payload['weights']}.")
    sections = [_layers(payload), _blocks(payload), _facts(payload)]
    return _page(title, lead, tiles, _doubts([payload]), sections)


def comparison_page(payload: Json) -> str:
    """Returns the page of a comparison; `payload` is ``compare.json``."""
    unpruned = payload["unpruned"]
    methods = [row for row in payload["methods"] if "error" not in row]
    best = max(methods, key=lambda row: row["accuracy"]["kd"])
    title = f"{payload['model']}: {len(methods)} ways to {_budget(payload['budget'])}"
    tiles = [(best["method"], "most accurate here", f"{best['accuracy']['kd']:.2f}\xa0%, "
                                                    "taught by the unpruned network"),
             (f"{unpruned['accuracy']:.2f}\xa0%", "unpruned test accuracy", ""),
             (shown("latency_ms", unpruned["latency_ms"]), "unpruned latency",
              payload["latency_kind"])]
    rows = [["unpruned", *_costs(unpruned), "–", f"{unpruned['accuracy']:.2f}\xa0%"]]
    rows += [[_named(row), *_costs(row["after"], slower=row["slower"]),
              f"{row['accuracy']['kd']:.2f}\xa0%",
              f"{row['accuracy']['no_kd']:.2f}\xa0%"] for row in methods]
    columns = ("method", "MACs", "parameters", "latency", "accuracy, taught",
               "accuracy, labels alone")
    section = _section("methods", "Methods", METHODS_NOTE, _table(columns, rows, "methods"))
    doubts = [f"{row['method']}: {row['error']}." for row in payload["methods"] if "error" in row]
    return _page(title, f"Trained for {payload['epochs']} epochs each, seed {payload['seed']}.",
                 tiles, doubts + _doubts(methods), [section])


def _page(title: str, lead: str, tiles: Sequence[tuple[str, str, str]], doubts: Sequence[str],
          sections: Sequence[Html]) -> str:
    folder = files(REPORTING)
    script = folder.joinpath("script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = [tag("h1", title), tag("p", lead, class_="lead"),
             tag("ul", *(tag("li", tag("b", value), tag("span", name), tag("small", note))
                         for value, name, note in tiles), class_="tiles")]
    if doubts:
        parts.append(tag("ul", *(tag("li", doubt) for doubt in doubts), class_="doubts"))
    return Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escaped(title), script=script, script_hash=digest,
        head=tag("header", tag("div", *parts, class_="inner")),
        style=folder.joinpath("style.css").read_text(encoding="utf-8"), body=joined(sections))


def _doubts(payloads: Sequence[Json]) -> list[str]:
    found = []
    for payload in payloads:
        latency, name = payload["latency"], payload["method"]
        if latency is not None and latency["met"] is not True:
            missed = "missed" if latency["met"] is False else "not confirmed"
            found.append(f"{name}: the budget is {missed}. {latency_line(latency)}.")
        if payload["slower"]:
            found.append(f"{name}: the pruned network is slower here than the unpruned one. "
                         "A latency budget, or another multiple of widths, remedies that.")
    return found


def _layers(payload: Json) -> Html:
    rows = []
    for row in payload["layers"]:
        before, after = row["before"], row["after"]
        rows.append([row["layer"], _channels(before), _channels(after),
                     shown("macs", before["macs"]),
                     shown("macs", after["macs"]) if after else "gone",
                     _share(before["macs"], after["macs"] if after else 0)])
    note = "Channels in → out of each convolution and linear layer, by its path in the whole model."
    return _section("layers", "Layers", note, _table(
        ("layer", "channels", "pruned", "MACs", "pruned", "share"), rows, "layers"))


def _blocks(payload: Json) -> Html:
    rows = []
    for row in payload["blocks"]:
        before, after = row["before"], row["after"]
        rows.append([row["block"], f"{before['in']} → {before['out']}",
                     f"{after['in']} → {after['out']}" if after else "gone",
                     shown("latency_ms", before["latency_ms"]),
                     shown("latency_ms", after["latency_ms"]) if after else "–",
                     _share(before["latency_ms"], after["latency_ms"] if after else 0)])
    how = ("Each block as measured by itself on this machine; a network is not their sum."
           if payload["latency_kind"] == "measured" else
           "Each block's share of the latency that the device's profile predicts.")
    return _section("blocks", "Blocks", how, _table(
        ("block", "channels", "pruned", "latency", "pruned", "share"), rows, "blocks"))


def _facts(payload: Json) -> Html:
    latency = payload["latency"]
    rows = [("bundle", payload["bundle"]), ("network", payload["digest"]),
            ("device", payload["device"]), ("seed", str(payload["seed"])),
            ("epochs", str(payload["epochs"])),
            ("versions", ", ".join(f"{name} {version}" for name, version
                                   in payload["versions"].items()))]
    if payload["aligned"] is not None:
        rows.insert(0, ("alignment", aligned_line(payload["aligned"])))
    if latency is not None:
        rows.insert(0, ("budget", latency_line(latency)))
    return _section("facts", "Do it again", "", pairs(rows))


def _section(name: str, title: str, note: str, content: Html) -> Html:
    return tag("section", tag("h2", title, id=f"{name}-title"), tag("p", note, class_="note"),
               content, id=name, class_="full", aria_labelledby=f"{name}-title")


def _table(columns: Row, rows: Sequence[Row], label: str) -> Html:
    head = tag("tr", *(tag("th", name, scope="col", class_=None if place == 0 else "end")
                       for place, name in enumerate(columns)))
    body = [tag("tr", tag("th", row[0], scope="row"),
                *(tag("td", text, class_="end") for text in row[1:])) for row in rows]
    return scrolling(tag("table", tag("thead", head), tag("tbody", *body), class_="numbers"),
                     label=label)


def _budget(budget: Json) -> str:
    names = {"macs": "multiply-adds", "params": "parameters", "latency_ms": "latency"}
    asked, name = budget["asked"], names[budget["metric"]]
    limit = shown(budget["metric"], budget["limit"])
    return f"{asked} of the {name} ({limit})" if asked.endswith("%") else f"{limit} of {name}"


def _named(row: Json) -> str:
    multiple = row["aligned"]
    return row["method"] if multiple is None else f"{row['method']}, multiples of {multiple}"


def _costs(costs: Json, *, slower: bool = False) -> list[str]:
    macs, params, latency = (shown(name, costs[name]) for name in ("macs", "params", "latency_ms"))
    return [macs, params, f"{latency}, slower" if slower else latency]


def _channels(layer: Json | None) -> str:
    return "gone" if layer is None else f"{layer['source']} → {layer['out']}"


def _share(before: float, after: float) -> str:
    return percent(after / before, digits=0) if before else "–"
