// Which searches are compared, and a way to add one.

import { MOST } from "./chosen.js";
import { h, s } from "./dom.js";
import { ago } from "./format.js";
import { mark } from "./plot.js";
import { go, link } from "./router.js";
import { badge } from "./state.js";

/** Returns a card for each run that is compared, and a choice of others. */
export function runCards(compared, known) {
  const ids = compared.map(({ id }) => id);
  const others = known.filter(({ id }) => !ids.includes(id));
  return [
    h("ul", { class: "runs" }, compared.map((job, at) => h("li", { class: `series-${at}` },
      h("div", { class: "row" }, h("span", {}, swatch(at),
        h("a", { href: link(`job/${job.id}`) }, `${job.number}: ${job.title}`)),
      h("a", { href: link("compare", { jobs: ids.filter((id) => id !== job.id).join(",") }),
        class: "button quiet", "aria-label": `Leave out job ${job.number}` }, "×")),
    badge(job), h("p", { class: "help" }, settings(job))))),
    ids.length >= MOST ? null : adder(ids, others),
  ];
}

/** Returns the mark of a run, as it is in the pictures. */
export const swatch = (at) => s("svg", { class: "swatch", viewBox: "-8 -8 16 16",
  "aria-hidden": "true" }, s("path", { d: mark(at, 5.5) }));

function settings({ config: { searcher, budget, seed } }) {
  return `${searcher}, budget ${budget}, seed ${seed}`;
}

function adder(ids, others) {
  if (!others.length) {
    return h("p", { class: "empty" }, ids.length ? "There is no other search to compare with."
      : "There are no searches yet.");
  }
  const select = h("select", { id: "add-run" }, others.map((job) =>
    h("option", { value: job.id },
      `${job.number}: ${job.title}, ${job.state}, ${ago(job.created)}`)));
  const add = (event) => {
    event.preventDefault();
    go("compare", { jobs: [...ids, select.value].join(",") });
  };
  return h("form", { class: "adder", onsubmit: add },
    h("label", { for: "add-run" }, ids.length ? "Compare with" : "Begin with"), select,
    h("button", { type: "submit", class: ids.length < 2 ? "primary" : null }, "Add"));
}
