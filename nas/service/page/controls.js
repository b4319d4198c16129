// The plain controls of fields: `{node, value(), set(value)}`.

import { h } from "./dom.js";
import { fromText, toText } from "./values.js";

/** Returns a line of text. */
export function textOf({ entry, option, id, described }) {
  const isNumber = option.type === "number" || option.type === "integer";
  const node = h("input", { id, type: "text", "aria-describedby": described, autocomplete: "off",
    inputmode: isNumber ? "decimal" : null, spellcheck: "false", autocapitalize: "off",
    placeholder: entry.metavar ?? null, "aria-required": option.isRequired ? "true" : null });
  node.value = toText(option.initial);
  return { node, value: () => fromText(node.value, { ...option, ...entry }),
    set: (value) => { node.value = toText(value); } };
}

/** Returns a choice of what the schema lists. */
export function choiceOf({ option, id, described }) {
  const node = h("select", { id, "aria-describedby": described },
    option.isNullable ? h("option", { value: "" }, "as usual") : null,
    option.choices.map((choice) => h("option", { value: choice }, choice)));
  node.value = option.initial ?? "";
  return { node, value: () => node.value || null, set: (value) => { node.value = value ?? ""; } };
}

/** Returns a box; an inverted one is ticked for no. */
export function boxOf({ entry, option, id, described }) {
  const node = h("input", { id, type: "checkbox", "aria-describedby": described });
  const flipped = Boolean(entry.inverted);
  const set = (value) => { node.checked = Boolean(value) !== flipped; };
  set(option.initial);
  return { node, value: () => node.checked !== flipped, set };
}
