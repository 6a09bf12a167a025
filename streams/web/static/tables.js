// Tables that sort by any column. How a table is sorted outlives its redrawing.

import { h, replace } from "./dom.js";
import { moved, shown } from "./figures.js";

const sorting = new Map();

/**
 * A table. `columns`: {key, title, kind ("text", "count", "duration", "share"), value(row), below(row)?}; `before` maps a row's
 * first column to the row of the previous period.
 */
export function sortableTable(f, { id, title, columns, rows, before = new Map(), first }) {
  const box = h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": f.say("table_scroll", { title }), "data-key": `table-${id}`, "data-scroll": id });
  if (!sorting.has(id)) sorting.set(id, first);
  const draw = () => replace(box, table());
  const table = () => {
    const { key, descending } = sorting.get(id);
    return h(
      "table",
      { class: "sortable" },
      h("caption", { class: "unseen" }, title),
      h("thead", {}, h("tr", {}, columns.map((column) => head(column, key === column.key ? descending : null)))),
      h("tbody", {}, sorted(rows, columns.find((column) => column.key === key), descending, f.language).map(line)),
    );
  };
  const head = (column, descending) => {
    const sort = () => {
      sorting.set(id, { key: column.key, descending: descending === null ? column.kind !== "text" : !descending });
      draw();
    };
    const order = descending === null ? null : descending ? "descending" : "ascending";
    return h("th", { scope: "col", class: column.kind, "aria-sort": order }, h("button", { type: "button", onclick: sort, "data-key": `sort-${id}-${column.key}` }, column.title, h("span", { class: "order", "aria-hidden": "true" }, order ? (descending ? "▼" : "▲") : "")));
  };
  const line = (row) => {
    const old = before.get(columns[0].value(row));
    return h("tr", {}, columns.map((column, i) => {
      if (i === 0) return h("th", { scope: "row" }, column.value(row));
      const value = column.value(row);
      return h("td", { class: column.kind }, h("span", { class: "value" }, shown(f, value, column.kind)), old && moved(f, value, column.value(old), column.kind, { short: true }), column.below?.(row) && h("span", { class: "below" }, column.below(row)));
    }));
  };
  draw();
  return box;
}

/** Rows in order of a column; rows without a value come last, whatever the direction. Ties keep their order. */
function sorted(rows, column, descending, language) {
  const sign = descending ? -1 : 1;
  return [...rows].sort((left, right) => {
    const [a, b] = [column.value(left), column.value(right)];
    const missing = (a === null || a === undefined) - (b === null || b === undefined);
    if (missing) return missing;
    return sign * (column.kind === "text" ? String(a).localeCompare(String(b), language) : (a ?? 0) - (b ?? 0));
  });
}
