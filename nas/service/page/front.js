// The picture of fronts: networks by two objectives. Pointer and arrow keys find a network.

import { h, refill, s } from "./dom.js";
import { axisLabel, shown } from "./format.js";
import { drawn } from "./front_shapes.js";
import { Frame, mark, onWidth, padded } from "./plot.js";
import { Tip } from "./tip.js";

const REACH = 26; // pixels from the pointer within which a network is meant

/**
 * A chart of one or more fronts.
 *
 * A series is `{name, seen, front, chosen}`: points are `{key, x, y, trial}`, those of `front` in
 * ascending order of x; `chosen` is the key of the exported one. `onActive` is told of the point
 * that is looked at (with its series), or null.
 */
export class FrontChart {
  #data = null;
  #points = []; // of all series
  #width = 0;
  #active = null; // key of the network that is looked at
  #isPicked = false; // by a person; otherwise it is the one that `show` names
  #frame = null;

  constructor({ signal, onActive }) {
    this.onActive = onActive;
    this.svg = s("svg", { class: "chart", role: "listbox", "aria-orientation": "horizontal" });
    this.tip = new Tip();
    this.node = h("div", { class: "plot" }, this.svg, this.tip.node);
    this.svg.addEventListener("pointermove", (event) => this.#point(event));
    this.svg.addEventListener("pointerdown", (event) => this.#point(event));
    this.svg.addEventListener("pointerleave", () => this.#leave());
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    this.svg.addEventListener("focusin", ({ target }) => this.activate(target.dataset.key));
    this.svg.addEventListener("focusout", () => this.tip.hide());
    onWidth(this.node, (width) => {
      this.#width = width;
      this.#draw();
    }, signal);
  }

  /**
   * Shows other data: `{series, x, y, label, rest}`.
   *
   * x and y are objectives; `rest` is the key of the network that is looked at until a person picks
   * one, or null.
   */
  show(data) {
    this.#data = data;
    this.#points = data.series.flatMap((series, at) =>
      [...series.front, ...series.seen].map((point) => ({ ...point, series, at })));
    if (!this.#isPicked || !this.#found()) this.#active = data.rest ?? null;
    this.#draw();
    this.onActive?.(this.#found());
  }

  /** Makes a network the one that is looked at, by its key. */
  activate(key) {
    if (key === undefined) return; // the focus is on the chart, on no network
    this.#active = key;
    this.#isPicked = true;
    for (const node of this.svg.querySelectorAll("[data-key]")) {
      node.setAttribute("aria-selected", String(node.dataset.key === this.#active));
    }
    const found = this.#found();
    if (found && this.#frame) {
      const { x, y } = this.#frame;
      this.tip.show(x.at(found.x), y.at(found.y), this.#lines(found));
    } else this.tip.hide();
    this.#ring(found);
    this.onActive?.(found);
  }

  #found() {
    return this.#points.find(({ key }) => key === this.#active) ?? null;
  }

  #lines(point) {
    const { x, y, series } = this.#data;
    return [series.length > 1 ? point.series.name : null, point.trial.digest,
      `${shown(y.name, point.y, y.unit)}, ${x.name ? shown(x.name, point.x, x.unit)
        : `validation ${point.x}`}`];
  }

  #draw() {
    if (!this.#data || !this.#width) return;
    const { series, x, y, label } = this.#data;
    const points = this.#points;
    const focused = this.svg.contains(document.activeElement)
      ? document.activeElement.dataset.key : null;
    const height = Math.round(Math.min(440, Math.max(280, 0.68 * this.#width)));
    this.svg.setAttribute("viewBox", `0 0 ${this.#width} ${height}`);
    this.svg.setAttribute("aria-label", label);
    if (!points.length) {
      refill(this.svg);
      return;
    }
    const frame = this.#frame = new Frame(padded(points.map((point) => point.x)),
      padded(points.map((point) => point.y)), this.#width, height);
    const style = { isLone: series.length === 1, hasStairs: Boolean(x.name) };
    refill(this.svg, frame.axes(axisLabel(x), axisLabel(y)),
      series.map((one, at) => drawn(frame, one, at, style, (point) => this.#option(point))),
      s("path", { class: "ring", d: mark(0, 9), visibility: "hidden" }));
    this.#ring(this.#found());
    const options = this.#options();
    const first = options.find((node) => node.dataset.key === focused) ?? options[0];
    first?.setAttribute("tabindex", "0");
    if (focused) first?.focus();
  }

  /** Returns what a point on the front says of itself to the keyboard and to screen readers. */
  #option(point) {
    const exported = point.key === point.series.chosen ? ", exported" : "";
    return { role: "option", tabindex: "-1", "data-key": point.key,
      "aria-selected": String(point.key === this.#active),
      "aria-label": this.#lines(point).filter(Boolean).join(", ") + exported };
  }

  #ring(point) {
    const ring = this.svg.querySelector(".ring");
    if (!ring) return;
    ring.setAttribute("visibility", point ? "visible" : "hidden");
    if (point) {
      ring.setAttribute("transform",
        `translate(${this.#frame.x.at(point.x)} ${this.#frame.y.at(point.y)})`);
    }
  }

  #options() {
    return [...this.svg.querySelectorAll("[role=option]")];
  }

  #point(event) {
    if (!this.#frame) return;
    const box = this.svg.getBoundingClientRect();
    const far = (point) => Math.hypot(this.#frame.x.at(point.x) - (event.clientX - box.left),
      this.#frame.y.at(point.y) - (event.clientY - box.top));
    const nearest = this.#points.reduce((best, point) =>
      (far(point) < (best ? far(best) : REACH) ? point : best), null);
    if (nearest && nearest.key !== this.#active) this.activate(nearest.key);
  }

  #leave() {
    if (!this.svg.contains(document.activeElement)) this.tip.hide();
  }

  #key(event) {
    const options = this.#options();
    const at = options.indexOf(document.activeElement);
    if (event.key === "Escape") this.tip.hide();
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0,
      End: options.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const next = options[Math.max(0, Math.min(options.length - 1, to))];
    options[at].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }
}
