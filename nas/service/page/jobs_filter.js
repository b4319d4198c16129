// What the list of jobs is narrowed to. Each choice is an address, so it can be kept and sent.

import { count, plural } from "./format.js";
import { h, refill } from "./dom.js";
import { go, link } from "./router.js";
import { STATES } from "./state.js";

export const KINDS = { search: "Search", rank: "Ranking", prune: "Pruning",
  import: "Profile import", export: "Export" };

/** Fills the bar above the list; a control that has the focus keeps it. */
export function filters(bar, query, counts) {
  const given = { ...Object.fromEntries(query), before: null };
  if (!bar.firstChild) build(bar);
  const [states, kinds, users] = bar.children;
  drawStates(states, given, counts);
  kinds.querySelector("select").value = given.kind ?? "";
  kinds.querySelector("select").onchange = ({ target }) => go("", { ...given, kind: target.value });
  if (users.dataset.user === (given.user ?? "")) return; // its link may have the focus
  users.dataset.user = given.user ?? "";
  refill(users, given.user ? [`user ${given.user} `, h("a", { href: link("", { ...given,
    user: null }), "aria-label": `All users, not ${given.user} alone` }, "×")] : null);
  users.hidden = !given.user;
}

function build(bar) {
  bar.append(
    h("nav", { class: "states", "aria-label": "Filter by state" },
      ["", ...STATES].map((state) => h("a", { "data-state": state },
        state ? state[0].toUpperCase() + state.slice(1) : "All", " ", h("b", {})))),
    h("label", { class: "inline" }, h("span", { class: "unseen" }, "Kind of job "),
      h("select", {}, h("option", { value: "" }, "All kinds"),
        Object.entries(KINDS).map(([kind, name]) => h("option", { value: kind }, name)))),
    h("span", { class: "chip" }));
}

function drawStates(states, given, counts) {
  const all = STATES.reduce((sum, state) => sum + (counts[state] ?? 0), 0);
  for (const anchor of states.children) {
    const { state } = anchor.dataset;
    const number = state ? counts[state] ?? 0 : all;
    anchor.setAttribute("href", link("", { ...given, state }));
    // The server counts all kinds together.
    anchor.querySelector("b").textContent = given.kind ? "" : count(number);
    const said = state || "all states";
    anchor.setAttribute("aria-label", given.kind ? said : `${said}, ${plural(number, "job")}`);
    if ((given.state ?? "") === state) anchor.setAttribute("aria-current", "true");
    else anchor.removeAttribute("aria-current");
  }
}
