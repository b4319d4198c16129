// The shapes of one front: what it dominates, its staircase, its points.

import { s } from "./dom.js";
import { mark } from "./plot.js";

/**
 * Returns a series of a front chart.
 *
 * `style` says whether it is the only one, and whether two objectives make a staircase; `option`
 * gives the attributes of a point on the front.
 */
export function drawn(frame, series, at, { isLone, hasStairs }, option) {
  const stairs = hasStairs ? staircase(frame, series.front) : [];
  return s("g", { class: `series-${at}` },
    stairs.length && isLone
      ? frame.path([...stairs, [frame.x.high, frame.y.high]], "area", { closed: true }) : null,
    frame.dots(series.seen.map((point) => [point.x, point.y]), "seen"),
    stairs.length ? frame.path(stairs, "line") : null,
    series.front.map((point) => {
      const isChosen = point.key === series.chosen;
      return s("path", { d: mark(at, isChosen ? 7 : 5), class: isChosen ? "chosen" : "front",
        transform: `translate(${frame.x.at(point.x)} ${frame.y.at(point.y)})`,
        ...option({ ...point, series }) });
    }));
}

/** Returns the corners of what a front dominates in these two objectives. */
function staircase(frame, front) {
  // A third objective may put others on the front: only those that none is below and left of.
  const lowest = [];
  for (const point of front) {
    if (!lowest.length || point.y < lowest.at(-1).y) lowest.push(point);
  }
  if (!lowest.length) return [];
  const corners = [[lowest[0].x, frame.y.high], [lowest[0].x, lowest[0].y]];
  lowest.slice(1).forEach((point, at) => {
    corners.push([point.x, lowest[at].y], [point.x, point.y]);
  });
  corners.push([frame.x.high, lowest.at(-1).y]);
  return corners;
}
