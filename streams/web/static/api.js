// The JSON API as the page uses it. The token lives in this tab's session storage and travels in a header only.

import { revisions } from "./stream.js";

const TOKEN = "mediana-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (text) => sessionStorage.setItem(TOKEN, text),
  forget: () => sessionStorage.removeItem(TOKEN),
};

const authorization = () => (token.get() ? { Authorization: `Bearer ${token.get()}` } : {});

/** An answer that is none: the three parts of the API's error body, and the HTTP status (0: no answer at all). */
export class ApiError extends Error {
  constructor(status, code, message, hint) {
    super(message);
    Object.assign(this, { status, code, hint });
  }
}

/** The body and tag of a resource; null when it is still the one tagged `etag`. Throws ApiError. */
export async function get(path, { etag = null, signal = null } = {}) {
  const headers = { Accept: "application/json", ...authorization() };
  if (etag) headers["If-None-Match"] = etag;
  let response;
  let body = null;
  try {
    // "no-store": the tag is ours to send, or the browser would answer a 304 with its own copy.
    response = await fetch(`api/v1/${path}`, { headers, signal, cache: "no-store" });
    if (response.status === 304) return null;
    body = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "", "");
  }
  if (!response.ok) throw refusal(response, body);
  return { body, etag: response.headers.get("ETag") };
}

function refusal(response, body) {
  const { code = "", message = "", hint = "" } = body?.error ?? {};
  return new ApiError(response.status, code, message, hint);
}

/** A file's content and name. Throws ApiError, or TypeError when the line breaks. */
export async function file(path) {
  const response = await fetch(`api/v1/${path}`, { headers: authorization(), cache: "no-store" });
  if (!response.ok) throw refusal(response, await response.json());
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition"))?.[1] ?? "mediana.csv";
  return { content: await response.blob(), name };
}

/** The revisions of an account as they are published; see `revisions`. */
export const follow = (account, options) => revisions(`api/v1/accounts/${encodeURIComponent(account)}/events`, { ...options, headers: authorization() });

export const accounts = async () => (await get("accounts")).body.accounts.map((account) => account.account_id);

export const report = (account, options) => get(`accounts/${encodeURIComponent(account)}/report`, options);

export const metrics = async (account, query, options) =>
  (await get(`accounts/${encodeURIComponent(account)}/metrics?${query}`, options)).body;
