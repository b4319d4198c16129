// What the server says of the options of a job: types, defaults and choices, from /openapi.json.

import { answered, unanswered } from "./api.js";

const loaded = new Map();

/** Returns the JSON of a file beside the API, once for all. */
export function file(path) {
  if (!loaded.has(path)) {
    const asked = read(path);
    loaded.set(path, asked);
    asked.catch(() => loaded.delete(path)); // the next one asks again
  }
  return loaded.get(path);
}

async function read(path) {
  let response;
  try {
    response = await fetch(path);
  } catch {
    response = null;
  }
  if (!response?.ok) throw unanswered();
  answered();
  return response.json();
}

/** Returns name → `{type, choices, isNullable, initial, isRequired}` of a model's options. */
export async function options(model) {
  const { components: { schemas } } = await file("openapi.json");
  const schema = schemas[model] ?? schemas[`${model}-Input`];
  const required = new Set(schema.required ?? []);
  return Object.fromEntries(Object.entries(schema.properties).map(([name, property]) =>
    [name, { ...described(property, schemas), isRequired: required.has(name) }]));
}

function described(property, schemas) {
  const found = resolved(property, schemas);
  const kinds = (found.anyOf ?? [found]).map((kind) => resolved(kind, schemas));
  const real = kinds.filter(({ type }) => type !== "null");
  const [one] = real;
  const isOne = real.length === 1;
  return { type: isOne ? one.type : "string",
    choices: isOne ? one.enum ?? (one.const ? [one.const] : null) : null,
    itemType: one.items?.type ?? "string", isNullable: kinds.length > real.length,
    initial: property.default ?? null };
}

function resolved(schema, schemas) {
  const name = schema.$ref?.split("/").at(-1) ?? schema.allOf?.[0]?.$ref?.split("/").at(-1);
  return name ? { ...schemas[name], ...schema, $ref: undefined } : schema;
}
