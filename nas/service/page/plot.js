// Axes for small SVG charts whose colours come from the style sheet, as those of report.html.

import { s } from "./dom.js";

const LEFT = 58, RIGHT = 14, TOP = 12, BOTTOM = 44;

/** A linear map from values low … high to positions start … end. */
export class Scale {
  constructor(low, high, start, end) {
    Object.assign(this, { low, high, start, end });
  }

  at(value) {
    return this.start + ((value - this.low) / (this.high - this.low)) * (this.end - this.start);
  }

  /** Returns about `number` round values within the range. */
  ticks(number) {
    const rough = (this.high - this.low) / number;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => power * m).find((m) => m >= rough * 0.999);
    const first = Math.ceil(this.low / step - 1e-9), last = Math.floor(this.high / step + 1e-9);
    const found = [];
    for (let k = first; k <= last; k += 1) found.push(Number((k * step).toPrecision(12)));
    return found;
  }
}

/** Returns the range of the values with a margin on both sides. */
export function padded(values, share = 0.06) {
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const margin = share * (high - low) || 0.05 * Math.abs(high) || 1;
  return [low - margin, high + margin];
}

/** A frame of `width` × `height` pixels over two ranges. */
export class Frame {
  constructor([xLow, xHigh], [yLow, yHigh], width, height) {
    Object.assign(this, { width, height });
    this.x = new Scale(xLow, xHigh, LEFT, width - RIGHT);
    this.y = new Scale(yLow, yHigh, height - BOTTOM, TOP);
  }

  /** Returns grid lines, numbers and labels. */
  axes(xLabel, yLabel) {
    const { x, y } = this;
    const parts = [];
    for (const value of x.ticks(Math.max(3, Math.round(this.width / 110)))) {
      const at = x.at(value);
      parts.push(s("line", { x1: at, x2: at, y1: y.end, y2: y.start, class: "rule" }),
        s("text", { x: at, y: y.start + 18, class: "mid" }, tickText(value)));
    }
    for (const value of y.ticks(5)) {
      const at = y.at(value);
      parts.push(s("line", { x1: x.start, x2: x.end, y1: at, y2: at, class: "rule" }),
        s("text", { x: x.start - 8, y: at + 4, class: "end" }, tickText(value)));
    }
    const middle = (y.start + y.end) / 2;
    parts.push(s("text", { x: x.end, y: this.height - 6, class: "label end" }, xLabel),
      s("text", { x: 12, y: middle, class: "label mid", transform: `rotate(-90 12 ${middle})` },
        yLabel));
    return s("g", { "aria-hidden": "true" }, parts);
  }

  /** Returns a line through values [x, y]. */
  path(points, name, { closed = false } = {}) {
    const steps = points.map(([x, y]) => `${this.x.at(x).toFixed(1)} ${this.y.at(y).toFixed(1)}`);
    return s("path", { d: `M${steps.join("L")}${closed ? "Z" : ""}`, class: name });
  }

  /** Returns many dots as one element, which costs the same for ten as for ten thousand. */
  dots(points, name) {
    const steps = points.map(([x, y]) =>
      `M${this.x.at(x).toFixed(1)} ${this.y.at(y).toFixed(1)}h0`);
    return s("path", { d: steps.join(""), class: name });
  }
}

function tickText(value) {
  const size = Math.abs(value);
  for (const [unit, at] of [["G", 1e9], ["M", 1e6], ["k", 1e4]]) {
    if (size >= at) return `${Number((value / (unit === "k" ? 1e3 : at)).toPrecision(4))}${unit}`
      .replace("-", "−");
  }
  return String(value).replace("-", "−");
}

const MARKS = [
  (r) => `M${-r} 0a${r} ${r} 0 1 1 ${2 * r} 0a${r} ${r} 0 1 1 ${-2 * r} 0z`,
  (r) => `M${-0.9 * r} ${-0.9 * r}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`,
  (r) => `M0 ${-1.25 * r}L${1.2 * r} ${0.9 * r}H${-1.2 * r}z`,
  (r) => `M0 ${-1.35 * r}L${1.35 * r} 0L0 ${1.35 * r}L${-1.35 * r} 0z`,
];

/** Returns the outline of the mark of the series of this number: shapes differ as colours do. */
export const mark = (series, radius) => MARKS[series % MARKS.length](radius);

/** Calls `draw` with the width of a node, now and whenever it changes. */
export function onWidth(node, draw, signal) {
  let last = 0;
  const observer = new ResizeObserver(([{ contentRect }]) => {
    const width = Math.round(contentRect.width);
    if (!width || width === last) return;
    last = width;
    draw(width);
  });
  observer.observe(node);
  signal.addEventListener("abort", () => observer.disconnect());
}
