// The page: reads a view from its own address, fetches one snapshot's numbers for it, draws them, and is told when a
// newer snapshot is published; where it cannot be told, it looks every 15 seconds.

import * as api from "./api.js";
import { boxes } from "./boxes.js";
import { controls, head, offered } from "./controls.js";
import { h, replace } from "./dom.js";
import { allFiles } from "./files.js";
import { Formatter } from "./format.js";
import { NARROW } from "./heatmap.js";
import { clearTrends } from "./trend.js";
import { metricsQuery, readView, viewLink } from "./view.js";

const POLL_MS = 15_000;
const RECONNECT_MS = 5_000;
const LOOKS_WHILE_TOLD = 4;
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
let following = null; // whose revisions are told, and how to end that: {account, ending, live}

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

/** Be told of new revisions of the account that is shown, as long as the page is looked at. */
function follow() {
  const account = document.hidden || failure || !answer ? null : view.account;
  if ((following?.account ?? null) === account) return;
  following?.ending.abort();
  following = account && { account, ending: new AbortController(), live: false };
  if (account) listen(following);
}

async function listen(mine) {
  const { signal } = mine.ending;
  const open = () => (mine.live = true);
  const told = (revision) => revision !== report?.revision && mine === following && load();
  while (!signal.aborted) {
    try {
      await api.follow(mine.account, { signal, known: report?.revision, open, told });
    } catch {
      // Whatever it was: until the stream is back, `poll` looks, and tells the reader what is wrong.
    }
    mine.live = false;
    await new Promise((done) => setTimeout(done, RECONNECT_MS));
  }
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
  follow();
}

/** As of when, which revision, complete or not, on whose clock. */
function status(f) {
  const missing = report?.lag?.records;
  const since = answer.complete_from && f.say("complete_from", { instant: f.instant(answer.complete_from) });
  const what = missing ? f.say("incomplete", { count: f.count(missing) }) : since ? f.say("incomplete_lost") : f.say("incomplete_unknown");
  const whole = answer.complete
    ? h("span", { class: "good" }, f.say("complete"))
    : h("span", { class: "warn" }, what, since && `, ${since}`, report?.incomplete_reasons?.length > 0 && h("span", { lang: "en" }, ` (${report.incomplete_reasons.join("; ")})`));
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
    h("div", { class: "cards" }, boxes(f, metrics, previous.metrics, { view, names, targets: report?.account?.targets, waitingNow: filtered ? null : report?.waiting }), allFiles(f, view)),
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
    h("section", { class: "card notice", role: "alert" }, h("h2", {}, f.say("error_title")), reason(f), again),
    accounts.length > 0 && controls(f, { view, answer: null, values: offered(f, view, report, null), go }),
  ];
}

/** What went wrong: in the page's language if it is a known case, and as the server says it, which is in English. */
function reason(f) {
  const key = failure.status === 0 ? "unreachable" : `error_${failure.code}`;
  const known = f.words[key] && (language !== "en" || !failure.message) && f.say(key);
  const said = [failure.message, failure.hint].filter(Boolean).join(" ");
  return [known && h("p", {}, known), said && h("p", { class: known ? "hint" : null, lang: "en" }, said)];
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
    api.token.get() && h("div", { class: "warn", role: "alert" }, reason(f)),
    h("p", {}, f.say("token_text")),
    h("label", {}, f.say("token"), h("input", { type: "password", name: "token", required: true, autocomplete: "off", "data-key": "token" })),
    h("button", { type: "submit", "data-key": "token-use" }, f.say("token_use")),
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
document.addEventListener("visibilitychange", () => {
  follow();
  poll();
});
// A filter that is open closes when the reader goes on elsewhere.
document.addEventListener("pointerdown", (event) => {
  for (const open of document.querySelectorAll("details.filter[open]")) if (!open.contains(event.target)) open.open = false;
});
// The charts take their colours when they are drawn.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
// And the heatmap stands upright where it would be too narrow to touch.
NARROW.addEventListener("change", draw);
// While revisions are told it looks seldom: only to notice that the server has lost its Redis.
let looks = 0;
setInterval(() => (!following?.live || ++looks % LOOKS_WHILE_TOLD === 0) && poll(), POLL_MS);
draw();
load();
