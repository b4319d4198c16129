// A short text beside a point of a chart. What it says also stands in the panel below the chart.

import { h, refill } from "./dom.js";

export class Tip {
  constructor() {
    this.node = h("div", { class: "tip", "aria-hidden": "true", hidden: true });
  }

  /** Shows lines at a place in the chart, on the side where there is room. */
  show(x, y, lines) {
    refill(this.node, lines.filter(Boolean).map((line) => h("span", {}, line)));
    this.node.hidden = false;
    const { width } = this.node.parentNode.getBoundingClientRect();
    const own = this.node.getBoundingClientRect();
    const left = x + 14 + own.width > width ? x - 14 - own.width : x + 14;
    this.node.style.left = `${Math.max(0, left)}px`;
    this.node.style.top = `${Math.max(0, y - own.height - 8)}px`;
  }

  hide() {
    this.node.hidden = true;
  }
}
