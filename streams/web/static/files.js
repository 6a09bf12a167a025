// Tables as files for spreadsheets, of the view that is shown.

import * as api from "./api.js";
import { h } from "./dom.js";
import { metricsQuery } from "./view.js";

/** What can be had, as [resource, table, key of its name in the dictionary]. */
const TABLES = [
  ["metrics", "days", "by_day"],
  ["metrics", "origins", "origins"],
  ["metrics", "channels", "by_channel"],
  ["metrics", "openers", "by_opener"],
  ["metrics", "heatmap", "heatmap"],
  ["metrics", "advisors", "by_advisor"],
  ["metrics", "groups", "by_group"],
  ["metrics", "distribution", "distribution"],
];
const ROWS = [
  ["rows", "first_responses", "first_response"],
  ["rows", "responses", "response"],
  ["rows", "contacts", "new_contacts"],
  ["rows", "conversations", "new_conversations"],
  ["rows", "closures", "closed_conversations"],
  ["rows", "outcomes", "origins"],
  ["rows", "waiting", "waiting"],
];

/** The file that belongs to each box. */
const OF_BOX = {
  ...Object.fromEntries(ROWS.filter(([, table]) => table !== "outcomes").map((file) => [file[2], file])),
  interactions: TABLES[0],
  origins: TABLES[1],
  heatmap: TABLES[4],
  by_advisor: TABLES[5],
  by_group: TABLES[6],
  by_channel: TABLES[2],
};

/** The link to a box's file. */
export const fileOfBox = (f, view, box) => link(f, view, OF_BOX[box], `csv-${box}`, "CSV", h("span", { class: "unseen" }, ` ${f.say(box)}`));

/** Every file, in a box of its own. */
export function allFiles(f, view) {
  const list = (title, files) => h("div", {}, h("h3", {}, f.say(title)), h("ul", { class: "files" }, files.map((file) => h("li", {}, link(f, view, file, `file-${file[1]}`, f.say(file[2]), h("span", { class: "note" }, ` ${file[1]}.csv`))))));
  return h(
    "section",
    { class: "card wide", id: "box-files", "aria-labelledby": "title-files" },
    h("h2", { id: "title-files" }, f.say("files")),
    h("p", { class: "hint" }, f.say("about_files")),
    h("div", { class: "halves" }, list("files_tables", TABLES), list("files_rows", ROWS)),
  );
}

function link(f, view, [resource, table], key, ...text) {
  const path = `accounts/${encodeURIComponent(view.account)}/${resource}.csv?table=${table}&${metricsQuery(view)}`;
  const element = h("a", { class: "csv", href: `api/v1/${path}`, download: "", "data-key": key, onclick: (event) => fetchFirst(f, event, element, path) }, ...text);
  return element;
}

/** A link cannot send a token. Where there is one, the file is fetched with it, and then saved. */
async function fetchFirst(f, event, element, path) {
  if (!api.token.get()) return;
  event.preventDefault();
  if (element.ariaBusy) return;
  element.ariaBusy = "true";
  element.parentElement.querySelector(".failed")?.remove();
  try {
    const { content, name } = await api.file(path);
    const address = URL.createObjectURL(content);
    h("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    element.after(h("span", { class: "failed warn", role: "alert" }, ` ${f.say("file_failed")} ${error.message}`));
  } finally {
    element.ariaBusy = null;
  }
}
