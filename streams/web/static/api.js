// The JSON API as the page uses it. The token lives in this tab's session storage and travels in a header only.

const TOKEN = "mediana-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (text) => sessionStorage.setItem(TOKEN, text),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/** An answer that is none: the three parts of the API's error body, and the HTTP status (0: no answer at all). */
export class ApiError extends Error {
  constructor(status, code, message, hint) {
    super(message);
    Object.assign(this, { status, code, hint });
  }
}

/** The body and tag of a resource; null when it is still the one tagged `etag`. Throws ApiError. */
export async function get(path, { etag = null, signal = null } = {}) {
  const headers = { Accept: "application/json" };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
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
  if (!response.ok) {
    const { code = "", message = "", hint = "" } = body?.error ?? {};
    throw new ApiError(response.status, code, message, hint);
  }
  return { body, etag: response.headers.get("ETag") };
}

export const accounts = async () => (await get("accounts")).body.accounts.map((account) => account.account_id);

export const report = (account, options) => get(`accounts/${encodeURIComponent(account)}/report`, options);

export const metrics = async (account, query, options) =>
  (await get(`accounts/${encodeURIComponent(account)}/metrics?${query}`, options)).body;
