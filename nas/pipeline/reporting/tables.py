"""The report's tables: front, neighbours, early exits, machine, versions."""

from collections.abc import Iterable, Sequence

from nas.core.trial import Outcome
from nas.pipeline.reporting.facts import RunFacts
from nas.pipeline.reporting.markup import Html, tag
from nas.pipeline.reporting.values import NAMES, change, shown

COSTS = {"latency_ms": "latency", "params": "params", "macs": "MACs"}
FURTHER = ("rtf", "kv_bytes")  # that only some networks have
NEIGHBOURS = 4


def front_table(facts: RunFacts) -> Html:
    """Returns every network of the front; the chart's points link to its rows."""
    further = {name: NAMES[name] for name in FURTHER
               if any(name in outcome.metrics for outcome in facts.front)}
    columns = {**_columns(facts), **further}
    head = tag("tr", tag("th", "network", scope="col"),
               *(tag("th", name, scope="col", class_=_class(metric))
                 for metric, name in columns.items()))
    mark = "chosen" if facts.finished else "best so far"
    rows = [_front_row(facts, outcome, columns, mark=mark if outcome is facts.chosen else "")
            for outcome in facts.front]
    return scrolling(tag("table", tag("thead", head), tag("tbody", *rows), class_="numbers"),
                     label="networks of the front")


def neighbours(facts: RunFacts, chosen: Outcome) -> Html:
    """Returns the networks next to the chosen one on the front, and what differs in each."""
    place = facts.front.index(chosen)
    others = [outcome for outcome in facts.front if outcome is not chosen]
    others.sort(key=lambda outcome: abs(facts.front.index(outcome) - place))
    if not others:
        return tag("p", "The front has no other network.")
    return tag("ul", *(_neighbour(facts, outcome, chosen) for outcome in others[:NEIGHBOURS]),
               class_="cards")


def exits_table(facts: RunFacts) -> Html:
    """Returns how many candidates were left after each early exit, as a funnel."""
    counts, left = facts.counts, facts.counts.sampled
    rows = [("drawn", left, "")]
    for stage, gone in counts.early_exits.items():
        left -= gone
        rows.append((_passed(facts, stage), left, f"−{gone:,}" if gone else "0"))
    failed = f"−{counts.failed:,} failed" if counts.failed else "0"
    if counts.partial:
        rows += [("validated in part", counts.evaluated + counts.partial, failed),
                 ("validated in full", counts.evaluated, f"−{counts.partial:,}")]
    else:
        rows.append(("validated", counts.evaluated, failed))
    rows.append(("on the front", len(facts.front), ""))
    widest = max(1, *(count for _, count, _ in rows))
    body = [tag("tr", tag("th", name, scope="row"), tag("td", f"{count:,}", class_="end"),
                tag("td", tag("div", tag("div", style=f"width:{100 * count / widest:.1f}%"),
                              class_="bar", aria_hidden="true"), class_="wide"),
                tag("td", gone, class_="end muted")) for name, count, gone in rows]
    head = tag("tr", *(tag("th", name, scope="col", class_=class_) for name, class_ in
                       (("stage", None), ("remain", "end"), ("", "wide"), ("left here", "end"))))
    return scrolling(tag("table", tag("thead", head), tag("tbody", *body), class_="funnel"),
                     label="early exits")


def _passed(facts: RunFacts, stage: str) -> str:
    # What the candidates that are left after a stage have in common.
    if stage == "duplicate":
        return "not seen before"
    learned = stage == "surrogate" or stage in facts.config.proxy
    return f"not low by {stage}" if learned else f"within {NAMES.get(stage, stage)}"


def scrolling(table: Html, *, label: str) -> Html:
    """Returns a table that scrolls by itself where the page is too narrow for it."""
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def pairs(rows: Sequence[tuple[str, str]]) -> Html:
    """Returns names with their values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows))


def differences(facts: RunFacts, outcome: Outcome, base: Outcome) -> dict[str, list[str]]:
    """Returns what a network has other than a base, such as ``{"stage1": ["depth 2 → 3"]}``.

    Genes go by the first part of their names. A gene that matters in one of both alone has no
    value in the other: ``–``.
    """
    mine, theirs = outcome.trial.arch, base.trial.arch
    found: dict[str, list[str]] = {}
    for (gene, value), (_, before) in zip(mine.choices, theirs.choices, strict=True):
        new = str(value) if gene in facts.live[mine.digest] else "–"
        old = str(before) if gene in facts.live[theirs.digest] else "–"
        if new != old:
            part, _, name = gene.partition(".")
            found.setdefault(part, []).append(f"{name}\xa0{old}\xa0→\xa0{new}")
    return found


def _neighbour(facts: RunFacts, outcome: Outcome, chosen: Outcome) -> Html:
    mine, base = outcome.metrics, chosen.metrics
    deltas = [f"{name} {change(metric, mine[metric], base[metric], facts.quality)}"
              for metric, name in _columns(facts).items()]
    lines = [tag("li", tag("b", part), " " + ", ".join(texts))
             for part, texts in differences(facts, outcome, chosen).items()]
    return tag("li", tag("h3", tag("code", outcome.trial.arch.digest)),
               tag("p", f"{facts.error(mine['error'])} at "
                        f"{shown('latency_ms', mine['latency_ms'])} (predicted)"),
               tag("p", " · ".join(deltas), class_="muted"), tag("ul", *lines, class_="lines"))


def _columns(facts: RunFacts) -> dict[str, str]:
    return {"error": facts.quality.name, **COSTS}


def _front_row(facts: RunFacts, outcome: Outcome, columns: Iterable[str], *, mark: str) -> Html:
    digest = outcome.trial.arch.digest
    name = tag("th", tag("code", digest), tag("span", f" {mark}", class_="mark") if mark else "",
               scope="row")
    cells = [tag("td", shown(metric, outcome.metrics[metric], facts.quality), class_=_class(metric))
             for metric in columns]
    return tag("tr", name, *cells, id=f"net-{digest}", class_="is-chosen" if mark else None)


def _class(metric: str) -> str:
    return "end roomy" if metric in ("params", "macs") else "end"  # a phone has no room for them
