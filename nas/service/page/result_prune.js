// What a pruning came to: before, after, and the share that is left.

import { h } from "./dom.js";
import { nameOf, percent, shown, significant } from "./format.js";

const METRICS = ["macs", "params", "latency_ms"];

/** Returns the card of a pruning, or of a comparison of methods. */
export function pruneResult(result) {
  return result.methods ? methods(result) : one(result);
}

function one({ model, method, before, after, accuracy, latency_kind: kind }) {
  const rows = METRICS.filter((metric) => before[metric] && after[metric]).map((metric) => [
    metric === "latency_ms" ? `${nameOf(metric)}, ${kind}` : nameOf(metric),
    shown(metric, before[metric]), shown(metric, after[metric]),
    percent(after[metric] / before[metric])]);
  rows.push(["test accuracy", `${significant(accuracy.before)} %`,
    `${significant(accuracy.after)} %`, points(accuracy.after - accuracy.before)]);
  return card(`${model}, ${method}`, ["", "Unpruned", "Pruned", "Share"], rows);
}

function methods({ model, unpruned, methods: found }) {
  const rows = [["unpruned", ...METRICS.map((metric) => shown(metric, unpruned[metric])),
    `${significant(unpruned.accuracy)} %`]];
  for (const row of found.filter(({ error }) => !error)) {
    rows.push([row.slower ? `${row.method}, slower` : row.method,
      ...METRICS.map((metric) => shown(metric, row.after[metric])),
      row.accuracy.kd === null ? "–" : `${significant(row.accuracy.kd)} %`]);
  }
  return [card(model, ["Method", ...METRICS.map(nameOf), "Accuracy"], rows),
    found.filter(({ error }) => error).map(({ method, error }) =>
      h("p", { class: "wrong" }, `${method}: ${error}`))];
}

function card(title, columns, rows) {
  return h("section", { class: "card" }, h("h2", {}, title),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
      h("table", {}, h("thead", {}, h("tr", {}, columns.map((name, at) => at
        ? h("th", { scope: "col", class: "end" }, name) : h("td", {}, name)))),
      h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name),
        cells.map((cell) => h("td", { class: "end" }, cell))))))));
}

const points = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)} points`;
