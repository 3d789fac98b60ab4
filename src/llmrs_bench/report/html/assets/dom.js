// Elements are made here, and data comes onto the page as text nodes and attributes alone.
const byId = (id) => document.getElementById(id);

function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const isNumber = (value) => typeof value === "number";
const short = (value) => value.toFixed(3).replace(/^(-?)0\./, "$1.");
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
// With \u2264 before the least p that permutations can show.
const pValue = (p, least) => (p < 0.001 ? "<.001" : `${least ? "\u2264" : ""}${short(p)}`);

function amount(value) {
  if (!isNumber(value)) return "";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

function intervalWords(row, cell) {
  if (!isNumber(cell.low)) return "no interval";
  return row.exact ? "exact" : `${short(cell.low)}\u2013${short(cell.high)}`;
}

function option(value, text) {
  return el("option", { value }, text);
}

function fillSelect(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => option(value, text)));
  if (chosen !== undefined) select.value = chosen;
}

// How rows of a kind are drawn: by colour and by shape.
const KINDS = {
  "language model": { color: "var(--lm)", symbol: "circle" },
  recommender: { color: "var(--rec)", symbol: "square" },
  "click model": { color: "var(--rec)", symbol: "wye" },
  baseline: { color: "var(--base)", symbol: "diamond2" },
  fusion: { color: "var(--fusion)", symbol: "triangle" },
  import: { color: "var(--import)", symbol: "star" },
  oracle: { color: "var(--oracle)", symbol: "times" },
};
const kindLook = (kind) => KINDS[kind] ?? { color: "var(--ink)", symbol: "plus" };
