// The fields of a kind of job: which there are, in which groups, and what they suggest.

import { Away, call, get } from "./api.js";
import { h } from "./dom.js";
import { makeField } from "./field.js";
import { file, options } from "./schema.js";
import { makeUpload } from "./upload.js";

// As nas.pipeline.config.TRAINED: what is different by default where networks are trained.
const TRAINED = { searcher: "optuna-tpe", executor: "tune" };

const AGAIN_MS = 5000;

/** Returns the groups of a form as nodes, and all its fields. */
export async function build(kind, signal) {
  const { model, groups } = await file(`static/form-${kind}.json`);
  const known = await options(model);
  const fields = [];
  const nodes = groups.map(({ title, open, fields: entries }) => {
    const made = entries.map((entry) => (entry.upload ? makeUpload : makeField)(entry,
      known[entry.name]));
    fields.push(...made);
    const inner = h("div", { class: "fields" }, made.map(({ node }) => node));
    return open ? h("fieldset", { class: "card" }, h("legend", {}, title), inner)
      : h("details", { class: "card" }, h("summary", {}, title), inner);
  });
  suggest(fields, signal);
  if (kind === "search") followEvaluation(fields);
  return { groups: nodes, fields };
}

/** Fetches names for those fields that offer some; a form without them works all the same. */
function suggest(fields, signal) {
  for (const kind of new Set(fields.map(({ entry }) => entry.suggest).filter(Boolean))) {
    const wanted = fields.filter(({ entry }) => entry.suggest === kind);
    const found = kind === "jobs" ? searches(signal) : rows(kind, signal);
    found.then((names) => wanted.forEach((field) => field.suggest(names)), (error) => {
      if (!signal.aborted) throw error;
    });
  }
}

/** Returns the rows of a catalogue. Its helper may be starting again, while the server is there. */
async function rows(kind, signal) {
  for (;;) {
    try {
      return await call("GET", kind, { signal, isQuiet: true });
    } catch (error) {
      if (!(error instanceof Away) || signal.aborted) throw error;
      await new Promise((resolve) => { setTimeout(resolve, AGAIN_MS); });
    }
  }
}

async function searches(signal) {
  const { jobs } = await get("jobs?kind=search&limit=100", signal);
  return jobs.map((job) => ({ name: job.id, note: `job ${job.number}, ${job.title}` }));
}

/** Shows the other defaults of trained evaluation in fields that nobody has written in. */
function followEvaluation(fields) {
  const of = (name) => fields.find((field) => field.name === name);
  const evaluation = of("evaluation");
  evaluation.node.addEventListener("change", () => {
    const isTrained = evaluation.value() === "trained";
    for (const [name, usual] of Object.entries(TRAINED)) {
      const field = of(name);
      const [before, after] = isTrained ? [field.plain ?? field.initial, usual]
        : [usual, field.plain ?? field.initial];
      field.plain ??= field.initial;
      if (field.value() === before) field.set(after);
      field.initial = isTrained ? usual : field.plain;
    }
  });
}
