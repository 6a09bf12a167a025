// The trend by day: bars of this period, a line for the previous one, and the same numbers as a table.

/* global uPlot */
import { h } from "./dom.js";

const HEIGHT = 130;
let drawn = [];

/** Forget the charts of the last drawing; call before drawing the page anew. */
export function clearTrends() {
  for (const { chart, watcher } of drawn) {
    watcher.disconnect();
    chart?.destroy();
  }
  drawn = [];
}

/** The trend of one number: `now` and `before` are `{date: number}`. A single day shows none. */
export function trend(f, id, name, now, before) {
  const days = Object.keys(now).sort();
  if (days.length < 2) return null;
  const oldDays = Object.keys(before ?? {}).sort();
  const values = days.map((day) => now[day]);
  const oldValues = days.map((_, i) => before?.[oldDays[i]] ?? null);
  const canvas = h("div", { class: "chart", "aria-hidden": "true" });
  draw(f, canvas, name, days, values, oldValues);
  const rows = days.map((day, i) => h("tr", {}, h("th", { scope: "row" }, f.day(day)), h("td", {}, f.count(values[i])), h("td", {}, f.count(oldValues[i]))));
  return [
    canvas,
    h("details", { class: "numbers", "data-key": `days-${id}` }, h("summary", {}, f.say("by_day")), h("div", { class: "scroll tall", tabindex: "0", role: "region", "data-key": `table-days-${id}`, "data-scroll": `days-${id}`, "aria-label": f.say("table_scroll", { title: name }) }, h("table", {}, h("caption", { class: "unseen" }, name), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, f.say("day")), h("th", { scope: "col" }, name), h("th", { scope: "col" }, f.say("previous_period")))), h("tbody", {}, rows)))),
  ];
}

function draw(f, canvas, name, days, values, oldValues) {
  const one = { chart: null, watcher: null };
  // The chart needs its width, which it has once it is in the page.
  one.watcher = new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width < 1) return;
    const size = { width: Math.floor(contentRect.width), height: HEIGHT };
    if (one.chart) one.chart.setSize(size);
    else one.chart = new uPlot(options(f, name, days, size, canvas), [days.map((_, i) => i), values, oldValues], canvas);
  });
  one.watcher.observe(canvas);
  drawn.push(one);
}

function options(f, name, days, size, canvas) {
  const colour = (variable) => getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
  const axis = { stroke: colour("--muted"), font: "11px system-ui, sans-serif", ticks: { show: false } };
  const number = (_, value) => (value === null || value === undefined ? "–" : f.count(value));
  return {
    ...size,
    padding: [8, 24, 0, 0],
    // The numbers of the day pointed at; while there is none, only the names of the lines.
    hooks: { setCursor: [({ cursor }) => canvas.classList.toggle("pointed", cursor.idx !== null && cursor.idx !== undefined)] },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: false, range: [-0.6, days.length - 0.4] }, y: { range: (_, least, most) => [0, Math.max(most ?? 0, 1)] } },
    axes: [
      { ...axis, grid: { show: false }, size: 22, gap: 2, space: 56, incrs: [1, 2, 7, 14, 28, 56, 91, 182], values: (_, ticks) => ticks.map((i) => (days[i] ? f.day(days[i], { day: "numeric", month: "short" }) : "")) },
      { ...axis, grid: { stroke: colour("--line"), width: 1 }, size: 40, gap: 4, space: 36, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 1e5, 1e6], values: (_, ticks) => ticks.map((n) => f.count(n)) },
    ],
    series: [
      { label: f.say("day"), value: (_, i) => (i === null || i === undefined ? "–" : f.day(days[i])) },
      { label: name, fill: colour("--accent"), stroke: colour("--accent"), width: 0, paths: uPlot.paths.bars({ size: [0.7, 36] }), points: { show: false }, value: number },
      { label: f.say("previous_period"), stroke: colour("--before"), width: 1.5, dash: [4, 3], points: { show: false }, value: number },
    ],
  };
}
