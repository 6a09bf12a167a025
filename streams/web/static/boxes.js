// The boxes of the report, drawn from one `metrics` object and the previous period's.

import { h } from "./dom.js";
import { fileOfBox } from "./files.js";
import { bar, breakdown, figure, figures, moved } from "./figures.js";
import { heatmap } from "./heatmap.js";
import { sortableTable } from "./tables.js";
import { trend } from "./trend.js";

const CLOCKS = ["business", "elapsed"];

/**
 * All boxes of a view. `names` says what to call a group, an advisor; `targets` are the account's, in seconds;
 * `waitingNow`: who waits whatever the period, when nothing is filtered.
 */
export function boxes(f, metrics, previous, { view, names, targets, waitingNow }) {
  const byAdvisor = view.filters.advisor.length > 0;
  const card = (id, body, { wide = false } = {}) => {
    let content;
    if (metrics[id] === undefined) content = h("p", { class: "empty" }, f.say("not_published"));
    else if (metrics[id] === null) content = h("p", { class: "empty" }, f.say(byAdvisor ? "not_with_advisor" : "not_published"));
    else content = body(metrics[id], previous?.[id] ?? undefined);
    return h(
      "section",
      { class: `card${wide ? " wide" : ""}`, id: `box-${id}`, "aria-labelledby": `title-${id}` },
      h("h2", { id: `title-${id}` }, f.say(id)),
      content,
      h("div", { class: "foot" }, h("details", { class: "about", "data-key": `about-${id}` }, h("summary", {}, f.say("what_is_this"), h("span", { class: "unseen" }, ` ${f.say(id)}`)), h("p", {}, f.say(`about_${id}`))), fileOfBox(f, view, id)),
    );
  };
  const optional = (id, ...rest) => (metrics[id] === undefined ? null : card(id, ...rest));
  const label = (dimension) => (value) => (value === null ? f.say("none") : (names[dimension]?.[value] ?? value));
  return [
    card("first_response", (now, before) => durations(f, "first_response", now, before, targets?.first_response_seconds)),
    card("response", (now, before) => durations(f, "response", now, before, targets?.response_seconds)),
    optional("waiting", (now, before) => waiting(f, now, before, waitingNow)),
    card("interactions", (now, before) => interactions(f, now, before)),
    card("new_contacts", (now, before) => newContacts(f, now, before)),
    card("closed_conversations", (now, before) => closedConversations(f, now, before)),
    card("new_conversations", (now, before) => newConversations(f, now, before), { wide: true }),
    card("origins", (now, before) => origins(f, now, before, label("origin")), { wide: true }),
    card("heatmap", (now) => heatmap(f, now, metrics.heatmap_occurrences), { wide: true }),
    optional("by_advisor", (now, before) => team(f, "advisor", now, before, (row) => row.name ?? label("advisor")(row.advisor)), { wide: true }),
    optional("by_group", (now, before) => team(f, "group", now, before, (row) => row.name ?? label("group")(row.group)), { wide: true }),
    optional("by_channel", (now, before) => team(f, "channel", now, before, (row) => label("channel")(row.channel)), { wide: true }),
  ];
}

function durations(f, id, now, before, target) {
  const row = (name, kind, value, cls = "") =>
    h("tr", { class: cls }, h("th", { scope: "row" }, name), CLOCKS.map((clock) => h("td", {}, h("span", { class: "value" }, f[kind](value(now, clock))), moved(f, value(now, clock), before && value(before, clock), kind))));
  const share = (timing, clock) => timing.within_target?.[clock];
  const targeted = CLOCKS.some((clock) => typeof share(now, clock) === "number");
  const within = target === undefined || target === null ? f.say("within_target") : f.say("within_target_of", { target: f.roundDuration(target) });
  return [
    h(
      "table",
      { class: "clocks" },
      h("caption", { class: "unseen" }, f.say(id)),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "unseen" }, f.say("clock"))), CLOCKS.map((clock) => h("th", { scope: "col" }, f.say(clock))))),
      h("tbody", {}, row(f.say("median"), "duration", (timing, clock) => timing[clock]?.median, "large"), row(f.say("p90"), "duration", (timing, clock) => timing[clock]?.p90), targeted && row(within, "share", share)),
    ),
    figures(figure(f, f.say("sample"), now.count, before?.count)),
    now.without_schedule > 0 && h("p", { class: "hint" }, f.say("without_schedule", { count: f.count(now.without_schedule) })),
    now.count > 0 && distribution(f, id, now),
  ];
}

function distribution(f, id, now) {
  const classes = now.distribution?.business ?? now.distribution?.elapsed;
  if (!classes?.length) return null;
  const name = ({ up_to }) => (up_to === null ? f.say("longer") : f.say("up_to", { duration: f.roundDuration(up_to) }));
  const cell = (clock, i) => {
    const count = now.distribution[clock]?.[i]?.count;
    return h("td", {}, h("span", { class: "value" }, f.count(count)), bar(count / now.count));
  };
  return h(
    "details",
    { class: "numbers", "data-key": `spread-${id}` },
    h("summary", {}, f.say("distribution")),
    h("table", { class: "spread" }, h("caption", { class: "unseen" }, f.say("distribution")), h("thead", {}, h("tr", {}, h("td"), CLOCKS.map((clock) => h("th", { scope: "col" }, f.say(clock))))), h("tbody", {}, classes.map((one, i) => h("tr", {}, h("th", { scope: "row" }, name(one)), CLOCKS.map((clock) => cell(clock, i)))))),
  );
}

function interactions(f, now, before) {
  const perDay = (box) => box && Object.fromEntries(Object.entries(box.by_day).map(([day, n]) => [day, n.contacts]));
  return [
    figures(
      figure(f, f.say("contacts"), now.contacts, before?.contacts, { size: "large", note: f.say("contacts_by_day") }),
      figure(f, f.say("advisor_contacts"), now.advisor_contacts, before?.advisor_contacts, { note: f.say("advisor_contacts_by_day") }),
    ),
    trend(f, "interactions", f.say("contacts"), perDay(now), perDay(before)),
  ];
}

function newContacts(f, now, before) {
  return [
    figures(
      figure(f, f.say("total"), now.total, before?.total, { size: "large" }),
      figure(f, f.say("deleted"), now.deleted, before?.deleted),
      figure(f, f.say("merged"), now.merged, before?.merged),
    ),
    trend(f, "new_contacts", f.say("new_contacts"), now.by_day, before?.by_day),
  ];
}

function newConversations(f, now, before) {
  return h(
    "div",
    { class: "halves" },
    h(
      "div",
      {},
      figures(
        figure(f, f.say("total"), now.total, before?.total, { size: "large" }),
        figure(f, f.say("active_contacts"), now.active_contacts, before?.active_contacts),
      ),
      trend(f, "new_conversations", f.say("new_conversations"), now.by_day, before?.by_day),
    ),
    h(
      "div",
      {},
      breakdown(f, f.say("by_channel"), now.by_channel, before?.by_channel, (name) => name),
      breakdown(f, f.say("by_opener"), now.by_opener, before?.by_opener, (name) => f.words[`opener_${name}`] ?? name),
    ),
  );
}

function closedConversations(f, now, before) {
  return [
    figures(
      figure(f, f.say("total"), now.total, before?.total, { size: "large" }),
      figure(f, f.say("closed_only"), now.closed, before?.closed),
      figure(f, f.say("transferred"), now.transferred, before?.transferred),
    ),
    trend(f, "closed_conversations", f.say("closed_conversations"), now.by_day, before?.by_day),
  ];
}

function waiting(f, now, before, all) {
  const oldest = all ? all.oldest : now.oldest;
  return [
    figures(
      all && figure(f, f.say("waiting_all"), all.contacts, undefined, { size: "large" }),
      all && figure(f, f.say("snoozed"), all.snoozed),
      figure(f, f.say("waiting_since_period"), now.contacts, before?.contacts, { size: all ? "" : "large" }),
      figure(f, f.say("snoozed"), now.snoozed, before?.snoozed),
    ),
    oldest && h("p", { class: "hint" }, `${f.say("oldest")} `, h("time", { datetime: oldest }, f.instant(oldest))),
  ];
}

function origins(f, rows, before, label) {
  if (!rows.length) return h("p", { class: "empty" }, f.say("nothing_here"));
  const name = (row) => label(row.origin);
  const count = (key) => ({ key, title: f.say(key), kind: "count", value: (row) => row[key] });
  return sortableTable(f, {
    id: "origins",
    title: f.say("origins"),
    columns: [{ key: "origin", title: f.say("origin"), kind: "text", value: name }, ...["new_contacts", "engaged", "closed", "resolved"].map(count)],
    rows,
    before: new Map((before ?? []).map((row) => [name(row), row])),
    first: { key: "new_contacts", descending: true },
  });
}

function team(f, dimension, rows, before, name) {
  if (!rows.length) return h("p", { class: "empty" }, f.say("nothing_here"));
  const number = (box) => box?.contacts ?? box?.total;
  const medians = ["first_response", "response"].flatMap((box) => [
    ...CLOCKS.map((clock) => ({ key: `${box}_${clock}`, title: f.say(`${box}_${clock}`), kind: "duration", value: (row) => row[box]?.[clock]?.median, below: (row) => row[box]?.count > 0 && f.say("p90_below", { duration: f.duration(row[box][clock]?.p90) }) })),
    { key: `${box}_within`, title: f.say(`${box}_within`), kind: "share", value: (row) => row[box]?.within_target?.business },
    { key: `${box}_count`, title: f.say("sample"), kind: "count", value: (row) => row[box]?.count },
  ]);
  return sortableTable(f, {
    id: `by_${dimension}`,
    title: f.say(`by_${dimension}`),
    columns: [
      { key: dimension, title: f.say(dimension), kind: "text", value: name },
      ...medians,
      ...(dimension === "advisor" ? [] : ["new_contacts", "new_conversations", "waiting"]).map((box) => ({ key: box, title: f.say(box), kind: "count", value: (row) => number(row[box]) })),
      { key: "interactions", title: f.say("interactions_short"), kind: "count", value: (row) => number(row.interactions) },
      { key: "closed_conversations", title: f.say("closed_conversations"), kind: "count", value: (row) => number(row.closed_conversations) },
    ],
    rows,
    before: new Map((before ?? []).map((row) => [name(row), row])),
    first: { key: dimension, descending: false },
  });
}
