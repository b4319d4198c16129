// Elements without markup: every text becomes a text node, so data cannot become HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Returns an HTML element. Attributes that are null or false are left out; `on…` are listeners. */
export const h = (name, attributes, ...children) =>
  filled(document.createElement(name), attributes, children);

/** Returns an SVG element, likewise. */
export const s = (name, attributes, ...children) =>
  filled(document.createElementNS(SVG, name), attributes, children);

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...flat(children));
  return node;
}

/** Gives a node other children; null and false are left out. */
export function refill(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

const isThere = (child) => child !== null && child !== undefined && child !== false;
const flat = (children) => children.flat(Infinity).filter(isThere);

/** Returns an id that no other element has. */
export const newId = (() => {
  let last = 0;
  return (stem) => `${stem}-${++last}`;
})();
