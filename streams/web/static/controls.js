// Where the reader says what to look at: account, language, period, filters. Every choice is a link or changes one.

import { h } from "./dom.js";
import { DIMENSIONS, NONE, PERIODS, viewLink } from "./view.js";

const LANGUAGES = { en: "English", es: "Español", pt: "Português" };

/** The head of the page: title, account, language, token, and what the numbers stand for. */
export function head(f, { view, accounts, name, status, hasToken, go, forgetToken }) {
  const choose = (event) => go({ ...view, account: event.target.value, filters: Object.fromEntries(DIMENSIONS.map((d) => [d, []])) });
  return [
    h(
      "div",
      { class: "top" },
      h("div", {}, h("h1", {}, f.say("title")), name && h("p", { class: "account" }, name)),
      h(
        "div",
        { class: "tools" },
        accounts.length > 1 && h("label", {}, h("span", { class: "unseen" }, f.say("account")), h("select", { onchange: choose, "data-key": "account" }, accounts.map((id) => h("option", { value: id, selected: id === view.account }, id)))),
        hasToken && h("button", { type: "button", onclick: forgetToken, "data-key": "forget" }, f.say("token_forget")),
        h("nav", { "aria-label": f.say("language") }, Object.entries(LANGUAGES).map(([lang, title]) => h("a", { href: viewLink({ ...view, lang }), lang, hreflang: lang, title, "aria-current": lang === f.language ? "true" : null }, lang.toUpperCase()))),
      ),
    ),
    status,
  ];
}

/** Presets, the custom range and the filters. `values`: for each dimension, [value, label] pairs to offer. */
export function controls(f, { view, answer, values, go }) {
  return h("div", { class: "controls" }, periods(f, view, answer, go), filters(f, view, values, go));
}

function periods(f, view, answer, go) {
  const link = (period) => {
    const target = { ...view, period, from: null, to: null };
    const follow = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go(target);
    };
    return h("a", { href: viewLink(target), onclick: follow, "aria-current": view.period === period ? "true" : null, "data-key": `period-${period}` }, f.say(period));
  };
  const apply = (event) => {
    event.preventDefault();
    const { from, to } = Object.fromEntries(new FormData(event.target));
    go({ ...view, period: null, from, to });
  };
  const day = (name) => h("label", {}, f.say(name), h("input", { type: "date", name, required: true, value: answer?.[name] ?? view[name], "data-key": `range-${name}` }));
  return h(
    "div",
    { class: "periods" },
    h("nav", { "aria-label": f.say("period") }, PERIODS.map(link)),
    h("form", { class: "range", onsubmit: apply }, day("from"), day("to"), h("button", { type: "submit", "data-key": "range-apply" }, f.say("apply"))),
  );
}

function filters(f, view, values, go) {
  const chosen = DIMENSIONS.some((dimension) => view.filters[dimension].length);
  const clear = () => go({ ...view, filters: Object.fromEntries(DIMENSIONS.map((d) => [d, []])) });
  return h(
    "div",
    { class: "filters", role: "group", "aria-label": f.say("filters") },
    DIMENSIONS.map((dimension) => filter(f, view, dimension, values[dimension], go)),
    chosen && h("button", { type: "button", class: "clear", onclick: clear, "data-key": "clear" }, f.say("clear_filters")),
  );
}

function filter(f, view, dimension, values, go) {
  const picked = view.filters[dimension];
  const toggle = (value) => (event) => {
    const others = picked.filter((one) => one !== value);
    go({ ...view, filters: { ...view.filters, [dimension]: event.target.checked ? [...others, value] : others } });
  };
  const close = (event) => {
    const details = event.currentTarget;
    if (event.key !== "Escape" || !details.open) return;
    details.open = false;
    details.querySelector("summary").focus();
  };
  const names = picked.map((value) => values.find(([one]) => one === value)?.[1] ?? value);
  const option = ([value, label]) =>
    h("label", {}, h("input", { type: "checkbox", checked: picked.includes(value), onchange: toggle(value), "data-key": `filter-${dimension}-${value}` }), h("span", {}, label));
  return h(
    "details",
    { class: `filter${picked.length ? " active" : ""}`, "data-key": `filter-${dimension}`, name: "filter", onkeydown: close },
    h("summary", { "data-key": `filter-${dimension}-summary` }, f.say(dimension), picked.length > 0 && h("span", { class: "picked" }, `: ${names.join(", ")}`)),
    h("fieldset", {}, h("legend", { class: "unseen" }, f.say(dimension)), values.length ? values.map(option) : h("p", { class: "empty" }, f.say("no_values"))),
  );
}

/** What can be chosen in each dimension: what occurred in the report, what the settings name, what is chosen. */
export function offered(f, view, report, metrics) {
  const names = { group: report?.account?.groups ?? {}, advisor: report?.account?.advisors ?? {} };
  const occurred = {
    origin: (metrics?.origins ?? []).map((row) => row.origin),
    group: (metrics?.by_group ?? []).map((row) => row.group),
    channel: (metrics?.by_channel ?? []).map((row) => row.channel),
    advisor: (metrics?.by_advisor ?? []).map((row) => row.advisor),
  };
  const pairs = (dimension) => {
    const all = [...(report?.dimensions?.[dimension] ?? []), ...occurred[dimension], ...Object.keys(names[dimension] ?? {})];
    const words = new Set([...all.map((value) => value ?? NONE), ...view.filters[dimension]]);
    const label = (word) => (word === NONE ? f.say("none") : (names[dimension]?.[word] ?? word));
    return [...words].map((word) => [word, label(word)]).sort(([a, x], [b, y]) => (a === NONE) - (b === NONE) || x.localeCompare(y, f.language));
  };
  return Object.fromEntries(DIMENSIONS.map((dimension) => [dimension, pairs(dimension)]));
}
