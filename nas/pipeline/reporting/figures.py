"""The report's charts: front, hypervolume, predicted against measured latency."""

import itertools
from collections.abc import Iterable, Sequence

from nas.core.problem import Objective
from nas.core.trial import Outcome
from nas.core.types import FloatArray
from nas.pipeline.front import hypervolume_history
from nas.pipeline.metrics import BOUND_UNITS, BOUNDS
from nas.pipeline.reporting.facts import RunFacts
from nas.pipeline.reporting.markup import Html, joined, tag
from nas.pipeline.reporting.plot import Chart, padded
from nas.pipeline.reporting.values import axis, shown, summary

WIDE, NARROW = (560.0, 400.0), (400.0, 330.0)


def front_figure(facts: RunFacts, size: tuple[float, float]) -> Html:
    """Returns every validated network, the front as a staircase, and the chosen one.

    The first objective goes up, the second to the right; with one objective, the trial's number.
    Of more than two, the staircase is that of these two.
    """
    objectives = facts.config.objective_values()
    up, right = objectives[0], objectives[1] if len(objectives) > 1 else None

    def at(outcome: Outcome) -> tuple[float, float]:
        x = outcome.metrics[right.name] if right else float(outcome.trial.id)
        return x, outcome.metrics[up.name]

    points = [at(outcome) for outcome in facts.validated]
    chart = Chart.over(padded([x for x, _ in points]), padded([y for _, y in points]),
                       width=size[0], height=size[1])
    dots = [chart.dot(*at(outcome), "seen", summary(outcome, facts.quality), radius=3.5)
            for outcome in facts.validated if outcome not in facts.front]
    shape = _staircase(chart, _lowest(map(at, facts.front))) if right else Html()
    label = f"{len(facts.validated)} validated networks, {len(facts.front)} of them on the front"
    below = axis(right, facts.quality) if right else "validation"
    return chart.svg(chart.axes(below, axis(up, facts.quality)),
                     _bound(facts, chart, right), shape, *dots,
                     *(_front_link(facts, chart, outcome, at(outcome)) for outcome in facts.front),
                     label=label)


def _lowest(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    # Those that no other is below and left of; a third objective may put others on the front.
    found: list[tuple[float, float]] = []
    for point in sorted(points):
        if not found or point[1] < found[-1][1]:
            found.append(point)
    return found


def _staircase(chart: Chart, front: Sequence[tuple[float, float]]) -> Html:
    # Beyond the ends of the front the edges of the chart close the dominated area.
    corners = [(front[0][0], chart.y.high), front[0]]
    for (_, y), (x, lower) in itertools.pairwise(front):
        corners += [(x, y), (x, lower)]
    corners.append((chart.x.high, front[-1][1]))
    return joined([chart.path([*corners, (chart.x.high, chart.y.high)], "area", closed=True),
                   chart.path(corners, "line")])


def _front_link(facts: RunFacts, chart: Chart, outcome: Outcome, at: tuple[float, float]) -> Html:
    chosen = outcome is facts.chosen
    said = summary(outcome, facts.quality)
    dot = chart.dot(*at, "chosen" if chosen else "front", said, radius=8 if chosen else 5)
    return tag("a", dot, href=f"#net-{outcome.trial.arch.digest}", aria_label=said)


def _bound(facts: RunFacts, chart: Chart, right: Objective | None) -> Html:
    for option, metric in BOUNDS.items():
        bound = getattr(facts.config, option)
        place = bound and bound * BOUND_UNITS.get(option, 1.0)
        if right and metric == right.name and place and chart.x.low < place < chart.x.high:
            x = chart.x(place)
            name = f"--{option.replace('_', '-')} {bound:g}"
            return joined([tag("line", x1=x, x2=x, y1=chart.y.end, y2=chart.y.start,
                               class_="bound"),
                           tag("text", name, x=x - 6, y=chart.y.end + 12, class_="tick end")])
    return Html()


def hypervolume_of(facts: RunFacts) -> tuple[list[float], FloatArray]:
    """Returns the hypervolume after each validation of a run, and the reference point."""
    return hypervolume_history(facts.config.objective_values(),
                               [outcome.metrics for outcome in facts.validated])


def hypervolume_figure(facts: RunFacts) -> Html:
    """Returns the hypervolume, in percent of its box, over the validations."""
    history, _ = hypervolume_of(facts)
    percent = [100 * value for value in history]
    count = len(percent)
    chart = Chart.over((0.0, count + 0.5), (0.0, max(100.0, *percent)), width=NARROW[0],
                       height=NARROW[1])
    corners = [(1.0, percent[0])]
    for index, (before, now) in enumerate(itertools.pairwise(percent), start=2):
        corners += [(float(index), before), (float(index), now)]
    corners.append((count + 0.5, percent[-1]))
    area = [(1.0, 0.0), *corners, (count + 0.5, 0.0)]
    return chart.svg(chart.axes("validations", "hypervolume [% of the box]"),
                     chart.path(area, "area", closed=True), chart.path(corners, "line"),
                     chart.dot(count, percent[-1], "front", f"{percent[-1]:.1f} % after {count}"),
                     label=f"hypervolume after {count} validations: {percent[-1]:.1f} % of the box")


def latency_figure(facts: RunFacts) -> Html | None:
    """Returns predicted against measured latency of the held-out networks; None without them."""
    pairs = facts.held_out()
    if pairs is None:
        return None
    predicted, measured = pairs
    best = facts.results.best if facts.results else None
    own = ([(best.metrics["latency_ms"], best.measured_latency_ms)]
           if best and best.measured_latency_ms else [])
    both = padded([*predicted, *measured, *itertools.chain(*own)])
    chart = Chart.over(both, both, width=NARROW[0], height=NARROW[1])
    low, high = both
    band = [(low, low * 0.95), (high, high * 0.95), (high, high * 1.05), (low, low * 1.05)]
    inside = tag("clipPath", tag("rect", x=chart.x.start, y=chart.y.end,
                                 width=chart.x.end - chart.x.start,
                                 height=chart.y.start - chart.y.end), id="frame")
    kinds = [("front", 3.5, pair) for pair in zip(predicted, measured, strict=True)]
    kinds += [("chosen", 7.0, pair) for pair in own]
    dots = [chart.dot(x, y, kind, f"predicted {shown('latency_ms', x)}, measured "
                      f"{shown('latency_ms', y)}", radius=radius) for kind, radius, (x, y) in kinds]
    return chart.svg(inside, chart.axes("predicted [ms]", "measured [ms]"),
                     tag("g", chart.path(band, "band", closed=True), clip_path="url(#frame)"),
                     chart.path([(low, low), (high, high)], "diagonal"), *dots,
                     label=f"predicted against measured latency of {len(predicted)} networks that "
                           "the prediction was not fitted on")
