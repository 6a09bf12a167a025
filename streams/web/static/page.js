// The page: reads a view from its own address, fetches one snapshot's numbers for it, draws them, and looks every
// 15 seconds whether a newer snapshot has been published.

import * as api from "./api.js";
import { boxes } from "./boxes.js";
import { controls, head, offered } from "./controls.js";
import { h, replace } from "./dom.js";
import { Formatter } from "./format.js";
import { clearTrends } from "./trend.js";
import { metricsQuery, readView, viewLink } from "./view.js";

const POLL_MS = 15_000;
const language = document.documentElement.lang;
const { default: words } = await import(`./words/${language}.js`);
const page = { head: document.getElementById("head"), main: document.getElementById("main"), announce: document.getElementById("announce") };

let view = readView();
let accounts = [];
let report = null; // the newest document
let tag = null; // its ETag
let answer = null; // the metrics of `answered`, a view's link
let answered = null;
let failure = null;
let loading = null; // the AbortController of the load under way

/** Show another view, as a new entry of the browser's history. */
function go(next) {
  view = next;
  history.pushState(null, "", viewLink(view));
  load();
}

/** Fetch what the view needs and draw it; a load that is overtaken by another draws nothing. */
async function load() {
  loading?.abort();
  const mine = (loading = new AbortController());
  const wanted = viewLink(view);
  page.main.setAttribute("aria-busy", "true");
  try {
    const before = report?.revision;
    accounts = await api.accounts();
    if (!view.account && accounts.length) {
      view = { ...view, account: accounts[0] };
      history.replaceState(null, "", viewLink(view));
    }
    if (!view.account) throw new api.ApiError(404, "no_report", "", "");
    const options = { signal: mine.signal };
    const [document_, numbers] = await Promise.all([api.report(view.account, options), api.metrics(view.account, metricsQuery(view), options)]);
    if (mine !== loading) return;
    [report, tag, answer, answered, failure] = [document_.body, document_.etag, numbers, viewLink(view), null];
    if (before && before !== report.revision) page.announce.textContent = formatter().say("updated", { revision: report.revision });
  } catch (error) {
    if (error.name === "AbortError" || mine !== loading) return;
    if (!(error instanceof api.ApiError)) console.error(error);
    failure = error;
    if (answered !== wanted || error.status === 401 || error.status === 403) answer = null;
  }
  loading = null;
  draw();
}

/** Look for a newer snapshot, or for the end of a failure. */
async function poll() {
  if (document.hidden || loading) return;
  if (failure || !report) {
    if (failure?.status !== 401 && failure?.status !== 403 && failure?.status !== 400) await load();
    return;
  }
  try {
    if (await api.report(view.account, { etag: tag })) await load();
  } catch (error) {
    if (loading) return;
    failure = error;
    draw();
  }
}

const formatter = () => new Formatter(language, words, answer?.timezone ?? report?.timezone ?? "UTC");

function draw() {
  const f = formatter();
  const name = answer && (report?.account?.name ?? view.account);
  const options = { view, accounts, name, hasToken: Boolean(api.token.get()), go, forgetToken, status: answer && status(f) };
  clearTrends();
  document.title = name ? `${name} · ${f.say("title")}` : f.say("title");
  replace(page.head, head(f, options));
  replace(page.main, answer ? body(f) : trouble(f));
  page.main.removeAttribute("aria-busy");
}

/** As of when, which revision, complete or not, on whose clock. */
function status(f) {
  const missing = report?.lag?.records;
  const whole = answer.complete
    ? h("span", { class: "good" }, f.say("complete"))
    : h("span", { class: "warn" }, missing ? f.say("incomplete", { count: f.count(missing) }) : f.say("incomplete_unknown"), report?.incomplete_reasons?.length > 0 && ` (${report.incomplete_reasons.join("; ")})`);
  return h("p", { class: "status" }, h("time", { datetime: answer.as_of }, f.say("as_of", { instant: f.instant(answer.as_of) })), ` (${answer.timezone}) · `, f.say("revision", { revision: f.count(answer.revision) }), " · ", whole);
}

function body(f) {
  const { metrics, previous } = answer;
  const names = { group: report?.account?.groups ?? {}, advisor: report?.account?.advisors ?? {} };
  const span = f.say("shown_period", { from: f.day(answer.from), to: f.day(answer.to), previous_from: f.day(previous.from), previous_to: f.day(previous.to) });
  const error = report?.sketch_relative_error;
  const filtered = Object.values(view.filters).some((values) => values.length);
  return [
    failure && h("p", { class: "banner", role: "alert" }, f.say("stale", { instant: f.instant(answer.as_of) })),
    controls(f, { view, answer, values: offered(f, view, report, metrics), go }),
    h("p", { class: "span" }, span),
    metrics.uncounted_advisor_messages > 0 && h("p", { class: "banner" }, f.say("uncounted", { count: f.count(metrics.uncounted_advisor_messages) })),
    h("div", { class: "cards" }, boxes(f, metrics, previous.metrics, { filters: view.filters, names, targets: report?.account?.targets, waitingNow: filtered ? null : report?.waiting })),
    error && h("p", { class: "hint" }, f.say("accuracy", { error: f.share(error) })),
  ];
}

/** What is shown in place of the numbers. */
function trouble(f) {
  if (!failure) return h("p", { class: "empty" }, f.say("loading"));
  if (failure.status === 401 || failure.status === 403) return tokenForm(f);
  if (failure.code === "no_report" && !accounts.length) {
    return h("section", { class: "card notice" }, h("h2", {}, f.say("no_report_title")), h("p", {}, f.say("no_report_text")), h("pre", {}, "mediana snapshot"), h("p", { class: "hint" }, f.say("no_report_wait")));
  }
  const again = failure.status === 400 ? null : h("p", { class: "hint" }, f.say("retrying"));
  return [
    h("section", { class: "card notice", role: "alert" }, h("h2", {}, f.say("error_title")), h("p", {}, failure.status === 0 ? f.say("unreachable") : failure.message), failure.hint && h("p", {}, failure.hint), again),
    accounts.length > 0 && controls(f, { view, answer: null, values: offered(f, view, report, null), go }),
  ];
}

function tokenForm(f) {
  const use = (event) => {
    event.preventDefault();
    api.token.set(new FormData(event.target).get("token").trim());
    load();
  };
  return h(
    "form",
    { class: "card notice", onsubmit: use },
    h("h2", {}, f.say("token_title")),
    api.token.get() && h("p", { class: "warn", role: "alert" }, `${failure.message} ${failure.hint}`),
    h("p", {}, f.say("token_text")),
    h("label", {}, f.say("token"), h("input", { type: "password", name: "token", required: true, autocomplete: "off", "data-key": "token" })),
    h("button", { type: "submit" }, f.say("token_use")),
  );
}

function forgetToken() {
  api.token.forget();
  [report, answer, tag] = [null, null, null];
  load();
}

window.addEventListener("popstate", () => {
  view = readView();
  load();
});
document.addEventListener("visibilitychange", poll);
// A filter that is open closes when the reader goes on elsewhere.
document.addEventListener("pointerdown", (event) => {
  for (const open of document.querySelectorAll("details.filter[open]")) if (!open.contains(event.target)) open.open = false;
});
// The charts take their colours when they are drawn.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
setInterval(poll, POLL_MS);
draw();
load();
