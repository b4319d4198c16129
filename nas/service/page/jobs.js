// The list of jobs: filters, pages, and a choice of up to four to compare.

import { get } from "./api.js";
import { Chosen } from "./chosen.js";
import { h, refill } from "./dom.js";
import { filters } from "./jobs_filter.js";
import { jobRow } from "./jobs_row.js";
import { announce } from "./notice.js";
import { poll } from "./poll.js";
import { link, title } from "./router.js";
import { isAdmin, mayWrite } from "./session.js";
import { isLive } from "./state.js";

const PAGE = 50;
const LIVE_MS = 2000, IDLE_MS = 8000;

export async function jobsView({ root, query, signal }) {
  title("Jobs");
  let asked = query, answer = null, rows = new Map();
  const toolbar = h("div", { class: "toolbar" });
  const body = h("tbody", { role: "rowgroup" });
  const table = h("table", { class: "jobs", role: "table", "aria-label": "Jobs" }, head(), body);
  const empty = h("div", {});
  const pages = h("nav", { class: "pages", "aria-label": "Pages" });
  const chosen = new Chosen();

  async function load() {
    const wanted = asked;
    const parameters = new URLSearchParams({ limit: PAGE });
    for (const name of ["state", "kind", "user", "before"]) {
      if (wanted.get(name)) parameters.set(name, wanted.get(name));
    }
    const found = await get(`jobs?${parameters}`, signal);
    if (wanted !== asked) return; // a later question is on its way
    answer = found;
    draw();
  }

  function draw() {
    const { jobs, next, counts } = answer;
    filters(toolbar, asked, counts);
    const kept = new Map();
    for (const job of jobs) {
      const row = rows.get(job.id) ?? jobRow(job.id, chosen, asked);
      row.update(job);
      kept.set(job.id, row);
    }
    rows = kept;
    const nodes = [...rows.values()].map((row) => row.node);
    const isSame = nodes.length === body.children.length
      && nodes.every((node, at) => node === body.children[at]);
    if (!isSame) refill(body, nodes);
    table.hidden = jobs.length === 0;
    refill(empty, jobs.length ? null : nothing(asked));
    turnPages(next);
  }

  function turnPages(next) {
    const given = Object.fromEntries(asked);
    refill(pages,
      asked.get("before") ? h("a", { class: "button",
        href: link("", { ...given, before: null }) }, "Newest jobs") : null,
      next ? h("a", { class: "button", rel: "next",
        href: link("", { ...given, before: next }) }, "Older jobs") : null);
  }

  refill(root, h("div", { class: "heading" }, h("h1", {}, "Jobs"),
    mayWrite() ? h("a", { class: "button primary", href: "#/new" }, "New job") : null),
  toolbar, h("div", { class: "card flush" }, table, empty), pages, chosen.node);
  await load();
  poll(load, () => (answer.jobs.some(isLive) ? LIVE_MS : IDLE_MS), signal);
  return async (changed) => {
    asked = changed;
    rows = new Map();
    await load();
    scrollTo(0, 0);
    announce(`${answer.jobs.length} jobs shown`);
  };
}

// Roles are said once more: at phone width the cells are laid out as blocks, and some browsers then
// take a table for none.
function head() {
  const cell = (name, content) =>
    h("th", { role: "columnheader", scope: "col", class: name }, content);
  return h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
    cell("pick-head", h("span", { class: "unseen" }, "Compare")), cell("number-head", "No."),
    cell("name-head", "Job"), cell("state-head", "State"), cell("progress-head", "Progress"),
    isAdmin() ? cell("owner-head", "User") : null, cell("when-head end", "Submitted"),
    cell("ran-head end", "Ran")));
}

function nothing(asked) {
  if (["state", "kind", "user", "before"].some((name) => asked.get(name))) {
    return h("div", { class: "empty" }, h("p", {}, "No job is like that."),
      h("p", {}, h("a", { href: "#/" }, "Show all jobs")));
  }
  return h("div", { class: "empty" }, h("p", {}, "No jobs yet."), mayWrite()
    ? h("p", {}, h("a", { href: "#/new" }, "Submit a search"), " here, or with ",
      h("code", {}, `nas search --server ${location.origin}`), ".")
    : h("p", {}, "You may look, and somebody with the role of a runner submits."));
}
