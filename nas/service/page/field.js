// One option of a job: label, control, help, and the server's sentence where it refused the value.

import { boxOf, choiceOf, textOf } from "./controls.js";
import { h, newId, refill } from "./dom.js";
import { listOf, pickOf } from "./names.js";

const LABELS = { n: "networks", kd: "labels alone", max_latency_ms: "max latency [ms]",
  max_memory: "max memory [bytes]", max_kv_mb: "max key-value caches [MB]", seconds: "clip [s]",
  max_rtf: "max real-time factor", max_macs: "max MACs", max_params: "max parameters",
  macs: "MACs", params: "parameters", train_lr: "peak learning rate", hflip: "mirrored",
  proxy: "proxies", gpus_per_trial: "GPUs per trial" };

/**
 * Returns a field: `{name, entry, node, target, initial, value(), set(value), refuse(sentence)}`.
 *
 * `entry` is of `form-KIND.json`, `option` of `options` in schema.js. A field whose entry suggests
 * names also has `suggest(rows)`.
 */
export function makeField(entry, option) {
  const id = newId(entry.name);
  const parts = { entry, option, id, described: `${id}-help ${id}-wrong` };
  return wrapped(parts, controlOf(entry, option)(parts));
}

function controlOf(entry, option) {
  if (option.type === "boolean") return boxOf;
  if (option.choices) return choiceOf;
  if (!entry.suggest && !entry.names) return textOf;
  return option.type === "array" ? listOf : pickOf;
}

/** Returns the field around a control `{node, target, value(), set(value)}`. */
export function wrapped({ entry, option, id }, control) {
  const wrong = h("p", { class: "wrong", id: `${id}-wrong`, role: "alert" });
  const written = `--${(entry.option ?? entry.name).replaceAll("_", "-")}`;
  const words = LABELS[entry.name] ?? entry.name.replaceAll("_", " ");
  const label = h("label", { for: id }, words[0].toUpperCase() + words.slice(1),
    option.isRequired ? h("span", { class: "soft" }, " (required)") : null);
  const isBox = option.type === "boolean";
  const node = h("div", { class: isBox ? "field box-field" : "field", "data-field": entry.name },
    h("div", { class: "label" }, isBox ? control.node : null, label, h("code", {}, written)),
    isBox ? null : control.node, wrong, h("p", { class: "help", id: `${id}-help` }, helpOf(entry)),
    control.more ?? null);
  const target = () => control.target?.() ?? control.node;

  function refuse(sentence) {
    refill(wrong, sentence);
    for (const one of node.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
    if (sentence) target().setAttribute("aria-invalid", "true");
  }
  node.addEventListener("input", () => refuse(null));
  return { name: entry.name, entry, node, initial: option.initial, refuse,
    focus: () => target().focus(), value: control.value, set: control.set,
    suggest: control.suggest };
}

function helpOf({ help, hint, path }) {
  const code = help.split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));
  return [code, hint ? ` ${hint}` : null, path ? " A path below the server's data folder." : null];
}
