// The form that submits a job: the options of the command line, with its defaults and its errors.

import { Away, get } from "./api.js";
import { h, refill } from "./dom.js";
import { build } from "./form_build.js";
import { KINDS } from "./jobs_filter.js";
import { announce, problem } from "./notice.js";
import { go, link, title } from "./router.js";
import { mayWrite } from "./session.js";
import { Submission } from "./submission.js";
import { blamed, given } from "./values.js";

export async function formView({ root, query, signal }) {
  if (!mayWrite()) {
    title("New job");
    refill(root, h("h1", {}, "New job"), problem("With the role of a viewer you may look, not "
      + "submit. Ask whoever runs the server for a token of a runner.",
    h("a", { href: "#/" }, "All jobs")));
    return;
  }
  const kind = query.get("kind") in KINDS ? query.get("kind") : "search";
  const from = query.get("from");
  title(`New job: ${KINDS[kind].toLowerCase()}`);
  const [{ groups, fields }, earlier] = await Promise.all([build(kind, signal),
    from ? get(`jobs/${from}`, signal) : null]);
  prefill(fields, earlier ? asWritten(earlier.config, fields) : Object.fromEntries(query));

  const submission = new Submission();
  const summary = h("p", { class: "wrong box", role: "alert", tabindex: "-1", hidden: true });
  const button = h("button", { type: "submit", class: "primary" }, "Submit");
  const form = h("form", { novalidate: true, onsubmit: submit }, summary, groups,
    h("div", { class: "submit" }, button, h("span", { class: "soft" },
      "Defaults are those of the command line.")));

  async function submit(event) {
    event.preventDefault();
    clear();
    button.disabled = true;
    button.textContent = "Submitting …";
    try {
      for (const field of fields) await field.send?.();
      const job = await submission.send({ kind, config: given(fields) });
      announce(`Job ${job.number} is submitted.`);
      go(`job/${job.id}`);
    } catch (error) {
      if (error.status !== 401) refuse(error);
    } finally {
      button.disabled = false;
      button.textContent = "Submit";
    }
  }

  function clear() {
    summary.hidden = true;
    for (const field of fields) field.refuse(null);
  }

  function refuse(error) {
    const field = blamed(error, fields);
    if (field) {
      field.node.closest("details")?.setAttribute("open", "");
      field.refuse(error.message);
      field.focus();
      return;
    }
    const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
    summary.textContent = (error instanceof Away
      ? `${error.message} Nothing is lost: submit again in a moment.` : error.message) + wait;
    summary.hidden = false;
    summary.focus();
  }

  refill(root, h("h1", {}, "New job"),
    h("nav", { class: "kinds", "aria-label": "Kind of job" },
      Object.entries(KINDS).map(([one, name]) =>
        h("a", { href: link("new", { kind: one === "search" ? null : one }),
          "aria-current": one === kind ? "page" : null }, name))),
    earlier ? h("p", { class: "help" }, "With the settings of job ",
      h("a", { href: link(`job/${from}`) }, `${earlier.number}`), ".") : null, form);
}

/** Returns a job's settings as they were typed: of paths the server keeps where they lie. */
function asWritten(config, fields) {
  const found = { ...config };
  for (const { name, entry } of fields) {
    const isPath = entry.path || entry.suggest === "supernets";
    if (isPath && found[name]?.startsWith("data/")) found[name] = found[name].slice(5);
  }
  return found;
}

function prefill(fields, values) {
  for (const field of fields) {
    if (!(field.name in values) || field.send) continue;
    field.set(values[field.name]);
    if (JSON.stringify(field.value()) !== JSON.stringify(field.initial)) {
      field.node.closest("details")?.setAttribute("open", "");
    }
  }
}
