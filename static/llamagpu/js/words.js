// Words of scripts in the language of the page. English stands in the scripts; of another language
// static/llamagpu/words/ has a file, made by `make messages`, which the page loads before.
const words = globalThis.pageWords ?? {};

// `{name}` in the text becomes the value of that name.
export const translate = (text, values = {}) =>
  (words[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
