// Controls for what has a name in the catalogue, or is written otherwise.

import { textOf } from "./controls.js";
import { h, refill } from "./dom.js";
import { count } from "./format.js";
import { toText } from "./values.js";

const OTHER = "\0other"; // no name holds it

/** Returns a choice of known names with a way to write another one. */
export function pickOf(parts) {
  const { option, id, described } = parts;
  const select = h("select", { id, "aria-describedby": described });
  const other = textOf({ ...parts, id: `${id}-other` });
  other.node.setAttribute("aria-label", "Another one");
  other.node.hidden = true;
  let rows = [];

  function draw(chosen) {
    const names = rows.map(({ name }) => name);
    const isKnown = names.includes(chosen) || chosen === toText(option.initial);
    const mayBeEmpty = option.isNullable || (option.isRequired && !option.initial);
    refill(select, mayBeEmpty ? h("option", { value: "" }, "–") : null,
      option.initial && !names.includes(option.initial)
        ? h("option", { value: option.initial }, option.initial) : null,
      rows.map((row) => h("option", { value: row.name }, titled(row))),
      h("option", { value: OTHER }, "another …"));
    select.value = isKnown ? chosen : OTHER;
    other.node.value = isKnown ? "" : chosen;
    other.node.hidden = isKnown;
  }
  select.addEventListener("change", () => {
    other.node.hidden = select.value !== OTHER;
    if (!other.node.hidden) other.node.focus();
  });
  draw(toText(option.initial));
  const chosen = () => (select.value === OTHER ? other.node.value : select.value);
  return { node: h("div", { class: "pick-name" }, select, other.node),
    target: () => (select.value === OTHER ? other.node : select),
    value: () => (select.value === OTHER ? other.value() : select.value || null),
    set: (value) => draw(toText(value)),
    suggest: (found) => {
      const before = chosen();
      const hadFocus = document.activeElement === select;
      rows = found;
      draw(before);
      if (hadFocus) select.focus();
    } };
}

/** Returns a line of names with commas, and buttons that put known names in or out. */
export function listOf(parts) {
  const { entry } = parts;
  const text = textOf(parts);
  const buttons = h("ul", { class: "names" });
  const more = h("details", { class: "known", hidden: true },
    h("summary", {}, "Known names"), buttons);
  const names = () => text.node.value.split(",").map((part) => part.trim()).filter(Boolean);

  function show() {
    const there = new Set(names());
    for (const button of buttons.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(there.has(button.textContent)));
    }
  }
  function turn(name) {
    const there = names();
    text.node.value = (there.includes(name) ? there.filter((one) => one !== name)
      : [...there, name]).join(", ");
    text.node.dispatchEvent(new Event("input", { bubbles: true }));
  }
  function suggest(rows) {
    refill(buttons, rows.map((row) => h("li", {}, h("button", { type: "button",
      onclick: () => turn(row.name) }, row.name), " ", h("span", { class: "soft" }, remark(row)))));
    more.hidden = !rows.length;
    show();
  }
  text.node.addEventListener("input", show);
  if (entry.names) suggest(entry.names.map((name) => ({ name })));
  return { ...text, set: (value) => { text.set(value); show(); }, more, suggest };
}

const titled = (row) => [row.name, remark(row)].filter(Boolean).join(" – ");

function remark(row) {
  const size = row.space_size ? `${count(row.space_size)} networks` : null;
  return [row.kind, size, row.cost ?? row.note ?? row.source].filter(Boolean).join(", ");
}
