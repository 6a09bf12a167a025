// Numbers, durations, days and instants as people read them, in the page's language.

const DASH = "–";

export class Formatter {
  constructor(language, words, timezone) {
    this.language = language;
    this.words = words;
    this.timezone = timezone;
    this.integers = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
    this.decimals = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
  }

  /** The words under a key, `{names}` filled in. */
  say(key, values = {}) {
    return (this.words[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
  }

  count(n) {
    return isNumber(n) ? this.integers.format(n) : DASH;
  }

  decimal(n) {
    return isNumber(n) ? this.decimals.format(n) : DASH;
  }

  /** A share of one as a percentage. */
  share(part) {
    return isNumber(part) ? `${this.decimals.format(part * 100)} %` : DASH;
  }

  /** Seconds as "42 s", "2 min 05 s", "3 h 05 min", "2 d 03 h". */
  duration(seconds) {
    if (!isNumber(seconds)) return DASH;
    if (seconds < 9.95) return `${this.decimals.format(seconds)} s`;
    const whole = Math.round(seconds);
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return pair(whole, 60, "min", "s");
    const minutes = Math.round(whole / 60);
    if (minutes < 1440) return pair(minutes, 60, "h", "min");
    return pair(Math.round(minutes / 60), 24, "d", "h");
  }

  /** A duration without its empty second part: a target is "5 min", not "5 min 00 s". */
  roundDuration(seconds) {
    return this.duration(seconds).replace(/ 00 \w+$/, "");
  }

  /** "2026-11-22" as a day; `options` as of Intl.DateTimeFormat. */
  day(text, options = { day: "numeric", month: "short", year: "numeric" }) {
    return new Intl.DateTimeFormat(this.language, { ...options, timeZone: "UTC" }).format(new Date(`${text}T00:00Z`));
  }

  /** An RFC 3339 instant on the account's clock. */
  instant(text) {
    const date = new Date(text);
    if (!text || Number.isNaN(date.getTime())) return DASH;
    const shown = { dateStyle: "medium", timeStyle: "short" };
    try {
      return new Intl.DateTimeFormat(this.language, { ...shown, timeZone: this.timezone }).format(date);
    } catch {
      return `${new Intl.DateTimeFormat(this.language, { ...shown, timeZone: "UTC" }).format(date)} UTC`;
    }
  }

  /** 0 = Monday. */
  weekday(index, width = "short") {
    return this.day(`2024-01-0${index + 1}`, { weekday: width });
  }

  /** How a number moved: -1, 0, 1 and the move in words; null when one of the two is missing. */
  change(now, before, kind) {
    if (!isNumber(now) || !isNumber(before)) return null;
    const direction = Math.sign(now - before);
    if (direction === 0) return { direction, text: "=" };
    if (before === 0 && kind !== "share") return { direction, text: kind === "duration" ? this.duration(now) : this.count(now) };
    const moved = kind === "share" ? Math.abs(now - before) * 100 : (Math.abs(now - before) / before) * 100;
    // What is no move when rounded gets no arrow.
    if (moved < 0.05) return { direction: 0, text: "=" };
    const text = moved < 9.95 ? this.decimal(moved) : this.count(moved);
    return { direction, text: kind === "share" ? this.say("points", { count: text }) : `${text} %` };
  }
}

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** `n` small units as large and small ones: pair(125, 60, "min", "s") is "2 min 05 s". */
function pair(n, size, largeName, smallName) {
  return `${Math.floor(n / size)} ${largeName} ${String(n % size).padStart(2, "0")} ${smallName}`;
}
