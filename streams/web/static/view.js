// What is looked at (account, period, filters) as the page's query, so that any view can be linked and bookmarked.

export const DIMENSIONS = ["origin", "group", "channel", "advisor"];
export const PERIODS = ["today", "yesterday", "last_7_days", "last_30_days", "this_month", "last_month"];
/** How the query writes null. */
export const NONE = "none";

export function readView(search = location.search) {
  const query = new URLSearchParams(search);
  const [from, to] = [query.get("from"), query.get("to")];
  return {
    account: query.get("account"),
    lang: query.get("lang"),
    period: from || to ? null : query.get("period") || "last_7_days",
    from,
    to,
    filters: Object.fromEntries(DIMENSIONS.map((dimension) => [dimension, query.getAll(dimension)])),
  };
}

/** The query the metrics resource takes. */
export function metricsQuery(view) {
  const query = new URLSearchParams();
  if (view.period) query.set("period", view.period);
  if (view.from) query.set("from", view.from);
  if (view.to) query.set("to", view.to);
  for (const dimension of DIMENSIONS) for (const value of view.filters[dimension]) query.append(dimension, value);
  return query.toString();
}

/** The page's own address for a view. */
export function viewLink(view) {
  const query = new URLSearchParams();
  if (view.account) query.set("account", view.account);
  if (view.lang) query.set("lang", view.lang);
  return `?${[query.toString(), metricsQuery(view)].filter(Boolean).join("&")}`;
}
