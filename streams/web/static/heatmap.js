// The heatmap: 7 × 24 cells, coloured by conversations per hour that occurred, one of them reachable with Tab and the
// others with the arrow keys. On a narrow screen it stands upright, a row for each hour, so that a finger finds a cell.

import { h } from "./dom.js";

const WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/** Above this share the second text colour reads at 4.5:1 or better, below it the first; both themes' ramps are made so. */
const HOT = 0.745;
export const NARROW = matchMedia("(max-width: 45rem)");
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -23], End: [0, 23], PageUp: [-23, 0], PageDown: [23, 0] };

export function heatmap(f, counts, occurrences) {
  const average = (day, hour) => {
    const times = occurrences?.[day]?.[hour] ?? 1;
    return times ? counts[day][hour] / times : 0;
  };
  const most = Math.max(0, ...WEEKDAYS.flatMap((day) => counts[day].map((_, hour) => average(day, hour))));
  const readout = h("p", { class: "readout", "aria-hidden": "true" }, f.say("heat_hint"));
  const cell = (row, hour) => {
    const day = WEEKDAYS[row];
    const count = counts[day][hour];
    const times = occurrences?.[day]?.[hour] ?? null;
    const share = most ? average(day, hour) / most : 0;
    const values = { weekday: f.weekday(row, "long"), hour: hourText(hour), count: f.count(count), average: f.decimal(average(day, hour)), occurrences: times ?? "–" };
    const text = f.say(times === 0 && count === 0 ? "heat_never" : "heat_cell", values);
    return h("td", { role: "gridcell", tabindex: row + hour ? "-1" : "0", "aria-label": text, "data-key": `heat-${row}-${hour}`, class: times === 0 ? "never" : share > HOT ? "hot" : null, style: { "--heat-share": share } }, h("span", { "aria-hidden": "true" }, count || ""));
  };
  const upright = NARROW.matches;
  const days = WEEKDAYS.map((_, row) => row);
  const hours = counts.mon.map((_, hour) => hour);
  const cells = upright ? hours.map((hour) => days.map((row) => cell(row, hour))) : days.map((row) => hours.map((hour) => cell(row, hour)));
  const show = (event) => {
    const pointed = event.target.closest("td");
    if (pointed) readout.textContent = pointed.getAttribute("aria-label");
  };
  const move = (event) => {
    const step = MOVES[event.key];
    const row = cells.findIndex((line) => line.includes(event.target));
    if (!step || row < 0) return;
    event.preventDefault();
    const column = cells[row].indexOf(event.target);
    const target = cells[clamp(row + step[0], cells.length - 1)][clamp(column + step[1], cells[0].length - 1)];
    event.target.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  };
  const hourHead = (hour, scope) => h("th", { scope, role: HEADERS[scope] }, h("span", { class: upright ? null : "unseen" }, hourText(hour)), h("span", { "aria-hidden": "true" }, upright || hour % 3 ? "" : hour));
  const dayHead = (row, scope) => h("th", { scope, role: HEADERS[scope], "aria-label": f.weekday(row, "long") }, f.weekday(row, upright ? "narrow" : "short"));
  const [across, down] = upright ? [days.map((row) => dayHead(row, "col")), hours.map((hour) => hourHead(hour, "row"))] : [hours.map((hour) => hourHead(hour, "col")), days.map((row) => dayHead(row, "row"))];
  const grid = h(
    "table",
    { class: `heatmap${upright ? " upright" : ""}`, role: "grid", "aria-label": f.say("heatmap"), "aria-readonly": "true", onpointerover: show, onfocusin: show, onkeydown: move },
    h("thead", {}, h("tr", {}, h("th", { scope: "col", role: "columnheader" }, h("span", { class: "unseen" }, f.say(upright ? "hour" : "weekday"))), across)),
    h("tbody", {}, cells.map((line, i) => h("tr", {}, down[i], line))),
  );
  const scale = h("p", { class: "scale" }, h("span", { class: "ramp", "aria-hidden": "true" }), f.say("heat_scale", { most: f.decimal(most) }));
  return [grid, readout, scale];
}

const HEADERS = { col: "columnheader", row: "rowheader" };
const hourText = (hour) => `${String(hour).padStart(2, "0")}:00`;
const clamp = (n, most) => Math.max(0, Math.min(most, n));
