// The hypervolume over the validations, of one run or several.

import { h, refill, s } from "./dom.js";
import { percent } from "./format.js";
import { Frame, mark, onWidth } from "./plot.js";

/** A chart of step curves; a series is `{name, values: [[validations, share], …]}`. */
export class CurveChart {
  #series = [];
  #width = 0;

  constructor({ signal }) {
    this.svg = s("svg", { class: "chart", role: "img" });
    this.node = h("div", { class: "plot" }, this.svg);
    onWidth(this.node, (width) => {
      this.#width = width;
      this.#draw();
    }, signal);
  }

  show(series) {
    this.#series = series;
    this.#draw();
  }

  #draw() {
    const there = this.#series.filter(({ values }) => values.length);
    if (!this.#width || !there.length) {
      refill(this.svg);
      return;
    }
    const last = Math.max(...there.map(({ values }) => values.at(-1)[0]));
    const height = Math.round(Math.min(340, Math.max(250, 0.62 * this.#width)));
    const frame = new Frame([0, last + 0.5], [0, 100], this.#width, height);
    this.svg.setAttribute("viewBox", `0 0 ${this.#width} ${height}`);
    this.svg.setAttribute("aria-label", there.map(({ name, values }) =>
      `${name} ${percent(values.at(-1)[1])} after ${values.at(-1)[0]} validations`).join("; "));
    refill(this.svg, frame.axes("validations", "hypervolume [%]"),
      this.#series.map(({ values }, at) => values.length
        ? this.#curve(frame, values, at, this.#series.length === 1) : null));
  }

  #curve(frame, values, at, lone) {
    const corners = [[values[0][0], 100 * values[0][1]]];
    values.slice(1).forEach(([x, share], before) => {
      corners.push([x, 100 * values[before][1]], [x, 100 * share]);
    });
    const [end, share] = values.at(-1);
    return s("g", { class: `series-${at}` },
      lone ? frame.path([[values[0][0], 0], ...corners, [end, 0]], "area", { closed: true }) : null,
      frame.path(corners, "line"),
      s("path", { d: mark(at, 5), class: "front",
        transform: `translate(${frame.x.at(end)} ${frame.y.at(100 * share)})` }));
  }
}
