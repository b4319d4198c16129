// Numbers, times and metrics as people read them; the words are those of report.html.

const NAMES = {
  error: "error", latency_ms: "latency", params: "parameters", macs: "multiply-adds",
  activation_bytes: "activation memory", energy_mj: "energy", rtf: "real-time factor",
  kv_bytes: "key-value caches",
};
const NBSP = "\u00a0";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Returns what a metric is called. */
export const nameOf = (metric) => NAMES[metric] ?? metric;

/** Returns an integer with thousands separators. */
export const count = (value) => whole.format(value);

/** Returns three significant digits, or all of an integer part of more. */
export function significant(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e15 || size < 1e-4) return value.toExponential(2).replace("-", "−");
  return (size >= 100 ? whole.format(value) : value.toPrecision(3)).replace("-", "−");
}

/** Returns bytes in the unit that leaves three digits. */
export function bytes(value) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (value >= size) return `${significant(value / size)}${NBSP}${unit}`;
  }
  return `${count(value)}${NBSP}B`;
}

/** Returns a metric with its unit; that of `error` is given. */
export function shown(metric, value, unit = "%") {
  if (value === null || value === undefined) return "–";
  if (metric === "error") {
    return unit === "%" ? `${value.toFixed(2)}${NBSP}%`
      : `${significant(value)}${unit && unit !== "1" ? NBSP + unit : ""}`;
  }
  if (metric === "latency_ms") return `${significant(value)}${NBSP}ms`;
  if (metric === "energy_mj") return `${significant(value)}${NBSP}mJ`;
  if (metric.endsWith("_bytes")) return bytes(value);
  return Number.isInteger(value) ? count(value) : significant(value);
}

/** Returns what stands beside an axis. */
export function axisLabel({ name, unit, label }) {
  if (label) return label;
  if (!unit || unit === "1") return nameOf(name);
  return `${nameOf(name)} [${unit}]`;
}

/** Returns a share in percent, such as `50.1 %`. */
export const percent = (share) => `${(100 * share).toFixed(1)}${NBSP}%`;

/** Returns seconds as `3.2 s`, `4 min 10 s` or `2 h 5 min`. */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)}${NBSP}s`;
  const all = Math.round(seconds);
  if (all < 60) return `${all}${NBSP}s`;
  const [hours, minutes, rest] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  if (hours >= 48) return `${Math.floor(hours / 24)}${NBSP}d ${hours % 24}${NBSP}h`;
  if (hours) return `${hours}${NBSP}h ${minutes}${NBSP}min`;
  return `${minutes}${NBSP}min ${rest}${NBSP}s`;
}

/** Returns how long ago a moment was, in one unit. */
export function ago(then, now = Date.now() / 1000) {
  const past = Math.max(0, now - then);
  if (past < 10) return "just now";
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    if (past >= size) return `${Math.floor(past / size)}${NBSP}${unit} ago`;
  }
  return "just now";
}

/** Returns a moment in the reader's time zone, such as `2026-03-01 14:05`. */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const two = (value) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} `
    + `${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** Returns `one thing` or `3 things`. */
export const plural = (number, thing) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;
