// Between what a person types and what the API takes.
//
// A text that is no value of its type is sent as it is: the server refuses it in the words of the
// command line.

/** Returns the text that shows a value; null is an empty one. */
export function toText(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(toText).join(", ");
  if (typeof value === "object") {
    if (typeof value.text === "string") return value.text; // an amount, as it was written
    return Object.entries(value).map(([name, one]) => `${name}=${toText(one)}`).join(", ");
  }
  return String(value);
}

/** Returns the value that a text stands for. */
export function fromText(text, { type, itemType, send, isNullable, isRequired }) {
  const trimmed = text.trim();
  if (!trimmed) return isNullable || isRequired ? null : { array: [], object: {} }[type] ?? "";
  if (send === "text") return trimmed;
  if (send === "words") return trimmed.split(/[\s,]+/).filter(Boolean);
  if (type === "array") {
    const parts = trimmed.split(",").map((part) => part.trim()).filter(Boolean);
    return itemType === "string" ? parts : parts.map(numberOr);
  }
  return type === "number" || type === "integer" ? numberOr(trimmed) : trimmed;
}

function numberOr(text) {
  const value = Number(text);
  return Number.isFinite(value) && /^[-+]?[\d.]/.test(text) ? value : text;
}

/** Returns the values that differ from the defaults: the others are the server's business. */
export function given(fields) {
  const found = {};
  for (const field of fields) {
    const value = field.value();
    if (value === undefined || same(value, field.initial)) continue;
    found[field.name] = value;
  }
  return found;
}

function same(a, b) {
  const empty = (value) => value === null || value === undefined
    || (typeof value === "object" && Object.keys(value).length === 0);
  return (empty(a) && empty(b)) || toText(a) === toText(b);
}

/** Returns the field that an error is about, if it is about one: by its name or its option. */
export function blamed(error, fields) {
  const plain = (text) => text?.split(".").at(-1).replaceAll("-", "_");
  const option = /--([a-z][a-z0-9-]*)/.exec(error.message)?.[1];
  for (const name of [plain(error.field), plain(option)].filter(Boolean)) {
    const found = fields.find((field) => field.name === name || plain(field.entry.option) === name);
    if (found) return found;
  }
  return null;
}
