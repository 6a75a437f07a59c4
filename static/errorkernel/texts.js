// The texts of the scripts in the reader's language: the server puts them into each page (web/console/script_texts.py).

const element = document.getElementById("texts");
const texts = element ? JSON.parse(element.textContent) : {};
const language = document.documentElement.lang || "en";
const plurals = new Intl.PluralRules(language);

export const number = (value) => value.toLocaleString(language);

// The text `name` with its {placeholders} filled in; a pair is singular and plural, chosen by `count`.
export function text(name, values = {}) {
  const entry = texts[name];
  const chosen = Array.isArray(entry) ? entry[plurals.select(values.count) === "one" ? 0 : 1] : entry;
  return chosen.replace(/\{(\w+)\}/g, (_, place) => (typeof values[place] === "number" ? number(values[place]) : values[place]));
}
