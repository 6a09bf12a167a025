// One number with what it was in the previous period, and small tables of numbers.

import { h } from "./dom.js";
import { isNumber } from "./format.js";

const SHOW = { count: "count", duration: "duration", share: "share" };
/** Whether less is better, for the kinds where one way is better at all. */
const BETTER = { duration: -1, share: 1 };

/** The number as text. */
export const shown = (f, value, kind) => f[SHOW[kind]](value);

/** How a number moved since the previous period; nothing when there is none to compare with. */
export function moved(f, now, before, kind, { short = false } = {}) {
  const change = f.change(now, before, kind);
  if (!change) return short || before === undefined ? null : h("span", { class: "moved was" }, `${f.say("previous")} ${shown(f, before, kind)}`);
  const { direction, text } = change;
  const better = (BETTER[kind] ?? 0) * direction;
  const tone = better > 0 ? "better" : better < 0 ? "worse" : "even";
  const word = direction > 0 ? "up" : direction < 0 ? "down" : "unchanged";
  const sign = direction > 0 ? "▲" : direction < 0 ? "▼" : "=";
  const was = `${f.say("previous")} ${shown(f, before, kind)}`;
  return h(
    "span",
    { class: "moved", title: was },
    h("span", { class: tone }, h("span", { "aria-hidden": "true" }, sign), h("span", { class: "unseen" }, f.say(word)), direction ? ` ${text}` : ""),
    h("span", { class: short ? "unseen" : "was" }, ` ${was}`),
  );
}

/** A number, its name and its move. `size`: "large" for a box's first number. */
export function figure(f, name, now, before, { kind = "count", size = "", note = null } = {}) {
  return h(
    "div",
    { class: `figure ${size}` },
    h("dt", {}, name, note && h("span", { class: "note" }, ` · ${note}`)),
    h("dd", {}, h("span", { class: "value" }, shown(f, now, kind)), moved(f, now, before, kind)),
  );
}

export const figures = (...items) => h("dl", { class: "figures" }, items);

/** Rows of `{name: count}` with a bar for each share of the whole, largest first. */
export function breakdown(f, title, now, before, label) {
  const names = Object.keys({ ...now, ...before }).sort((a, b) => (now[b] ?? 0) - (now[a] ?? 0) || a.localeCompare(b));
  const total = Object.values(now).reduce((sum, n) => sum + n, 0);
  if (!names.length) return null;
  return h(
    "table",
    { class: "breakdown" },
    h("caption", {}, title),
    names.map((name) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, label(name)),
        h("td", { class: "bar-cell" }, bar(total ? (now[name] ?? 0) / total : 0)),
        h("td", {}, h("span", { class: "value" }, f.count(now[name] ?? 0)), moved(f, now[name] ?? 0, before ? (before[name] ?? 0) : undefined, "count", { short: true })),
      ),
    ),
  );
}

/** A bar for a share of one; the number stands beside it, so it is left out for screen readers. */
export const bar = (share) => h("span", { class: "bar", "aria-hidden": "true", style: { "--share": isNumber(share) ? share : 0 } });
