// Figures and times as people read them, in the language of the page and the zone of the reader.

const language = document.documentElement.lang || "en";
const number = (digits) => new Intl.NumberFormat(language, { maximumFractionDigits: digits });
const whole = number(0);
const NONE = "–";

const isMissing = (value) => value === null || value === undefined || Number.isNaN(value);

export const count = (value) => (isMissing(value) ? NONE : whole.format(value));

export function rounded(value, digits = 1) {
  return isMissing(value) ? NONE : number(Math.abs(value) >= 100 ? 0 : digits).format(value);
}

export const percent = (value) => (isMissing(value) ? NONE : `${rounded(value)} %`);

export function bytes(value) {
  if (isMissing(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  let amount = value;
  while (Math.abs(amount) >= 1024 && step < units.length - 1) {
    amount /= 1024;
    step += 1;
  }
  return `${number(step === 0 || amount >= 100 ? 0 : 1).format(amount)} ${units[step]}`;
}

// Seconds to a short duration: 12 ms, 3.4 s, 5 min 10 s, 2 h 3 min, 4 d 1 h.
export function duration(seconds) {
  if (isMissing(seconds)) return NONE;
  if (seconds < 1) return `${number(seconds < 0.01 ? 1 : 0).format(seconds * 1000)} ms`;
  if (seconds < 60) return `${number(seconds < 10 ? 2 : 1).format(seconds)} s`;
  const parts = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = parts.findIndex(([size]) => seconds >= size);
  const [size, unit] = parts[first];
  const rest = parts[first + 1];
  const left = rest ? Math.floor((seconds % size) / rest[0]) : 0;
  return `${Math.floor(seconds / size)} ${unit}${left ? ` ${left} ${rest[1]}` : ""}`;
}

const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });

export const timeOfDay = (date) => clock.format(new Date(date));
export const shortTime = (date) => minute.format(new Date(date));
export const dayAndTime = (date) => day.format(new Date(date));
export const dateTime = (date) => full.format(new Date(date));

const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });

export function ago(date) {
  const seconds = (new Date(date) - Date.now()) / 1000;
  for (const [size, unit] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    if (Math.abs(seconds) >= size) return relative.format(Math.round(seconds / size), unit);
  }
  return relative.format(Math.round(seconds), "second");
}
