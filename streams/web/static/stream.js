// New revisions as they are published: server-sent events, read with `fetch`, because EventSource cannot send a token.

/** Past this silence a stream is taken for dead; the server sends a comment every 15 seconds. */
const SILENCE_MS = 45_000;

/**
 * Follow the revisions of an account until the stream ends, in whatever way; throws when it cannot be opened or breaks.
 * `known`: the revision shown. `open()` is called once it listens, `told(revision)` for each revision.
 */
export async function revisions(path, { headers, known, signal, open, told }) {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  const stop = () => silence.abort();
  signal.addEventListener("abort", stop);
  try {
    const asked = { ...headers, Accept: "text/event-stream", "Last-Event-ID": String(known) };
    const response = await fetch(path, { headers: asked, signal: silence.signal, cache: "no-store" });
    if (!response.ok) throw new Error(`the stream is refused: ${response.status}`);
    open();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const data = /^data: (.*)$/m.exec(block);
        if (data) told(JSON.parse(data[1]).revision);
      }
    }
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}
