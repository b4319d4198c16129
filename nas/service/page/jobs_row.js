// One job in the list. A row is changed in place, so that focus and choice stay where they are.

import { h, refill } from "./dom.js";
import { ago, count, duration, moment } from "./format.js";
import { KINDS } from "./jobs_filter.js";
import { link } from "./router.js";
import { isAdmin } from "./session.js";
import { badge, bar } from "./state.js";

/** Returns `{node, update(job)}`. */
export function jobRow(id, chosen, query) {
  const cell = (name) => h("td", { role: "cell", class: name });
  const cells = Object.fromEntries(["pick", "number", "name", "status", "progress", "owner", "when",
    "ran"].map((name) => [name, cell(name)]));
  const anchor = h("a", { href: link(`job/${id}`) });
  const kind = h("span", { class: "soft kind" });
  const box = chosen.box(id);
  const owner = h("a", {});
  refill(cells.name, anchor, " ", kind);
  if (isAdmin()) cells.owner.append(owner);
  else delete cells.owner;
  const node = h("tr", { role: "row" }, Object.values(cells));

  function update(job) {
    anchor.textContent = job.title;
    kind.textContent = KINDS[job.kind] ?? job.kind;
    kind.classList.toggle("kind-search", job.kind === "search");
    if (job.kind === "search") {
      box.setAttribute("aria-label", `Compare job ${job.number}, ${job.title}`);
      if (!box.parentNode) refill(cells.pick, h("label", {}, box));
    }
    refill(cells.number, `${job.number}`);
    refill(cells.status, badge(job));
    refill(cells.progress, progress(job));
    owner.textContent = job.user;
    owner.href = link("", { ...Object.fromEntries(query), before: null, user: job.user });
    owner.setAttribute("aria-label", `Jobs of ${job.user}`);
    refill(cells.when, h("time", { datetime: new Date(job.created * 1000).toISOString(),
      title: moment(job.created) }, ago(job.created)));
    refill(cells.ran, job.ran_s ? duration(job.ran_s) : "–");
  }

  return { node, update };
}

function progress(job) {
  if (job.state === "failed" && job.error) {
    return h("span", { class: "note bad", title: job.error.message }, job.error.message);
  }
  const numbers = job.total ? `${count(job.done)} / ${count(job.total)}` : "";
  const running = job.state === "running";
  return [running ? bar(job.done, job.total, `Progress of job ${job.number}`) : null,
    h("span", { class: "numbers" }, numbers),
    job.note ? h("span", { class: "note soft", title: job.note }, job.note) : null];
}
