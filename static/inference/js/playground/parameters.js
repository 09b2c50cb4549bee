// The form of parameters: what of it is sent, and its state as JSON.
import { translate } from "../../../llamagpu/js/words.js";

const form = document.getElementById("parameters");
const system = document.getElementById("system");
const stops = document.getElementById("stop-strings");
const format = document.getElementById("format");
const formatText = document.getElementById("format-text");
const problem = document.getElementById("format-problem");

const EXAMPLES = {
  json_schema: JSON.stringify(
    {
      type: "object",
      properties: { name: { type: "string" }, year: { type: "integer" } },
      required: ["name", "year"],
      additionalProperties: false,
    },
    null,
    2,
  ),
  regex: "(yes|no)",
};

const numbers = () => [...form.querySelectorAll("input[type=number]")];
const fromLines = (text) => text.split("\n").filter((line) => line !== "");

function showFormat() {
  const kind = format.value;
  document.getElementById("format-source").hidden = !(kind in EXAMPLES);
  if (kind in EXAMPLES && (!formatText.value || Object.values(EXAMPLES).includes(formatText.value))) {
    formatText.value = EXAMPLES[kind];
  }
  formatText.classList.remove("is-invalid");
}

function responseFormat() {
  if (format.value === "text") return null;
  if (format.value === "json_object") return { type: "json_object" };
  if (format.value === "regex") return { type: "regex", regex: formatText.value };
  return { type: "json_schema", json_schema: { name: "answer", schema: JSON.parse(formatText.value) } };
}

// The sampling parameters of a request, or null where a field is wrong; the field then says so.
export function read() {
  let isRight = true;
  const values = {};
  for (const field of numbers()) {
    const isFieldRight = field.validity.valid;
    field.classList.toggle("is-invalid", !isFieldRight);
    isRight &&= isFieldRight;
    const isGiven = field.value !== "" && field.valueAsNumber !== Number(field.dataset.apiDefault ?? NaN);
    if (isGiven) values[field.name] = field.valueAsNumber;
  }
  const stop = fromLines(stops.value);
  if (stop.length) values.stop = stop;
  formatText.classList.remove("is-invalid");
  try {
    const wanted = responseFormat();
    if (wanted) values.response_format = wanted;
  } catch (error) {
    problem.textContent = translate("No JSON: {problem}", { problem: error.message });
    formatText.classList.add("is-invalid");
    isRight = false;
  }
  return isRight ? values : null;
}

export const systemPrompt = () => system.value.trim();

export function fill(values, systemText) {
  form.reset();
  system.value = systemText;
  for (const field of numbers()) if (field.name in values) field.value = values[field.name];
  if (values.stop) stops.value = values.stop.join("\n");
  const wanted = values.response_format;
  format.value = wanted?.type ?? "text";
  if (wanted?.type === "json_schema") formatText.value = JSON.stringify(wanted.json_schema.schema, null, 2);
  if (wanted?.type === "regex") formatText.value = wanted.regex;
  showFormat();
}

format.addEventListener("change", showFormat);
form.addEventListener("reset", () => setTimeout(showFormat));
form.addEventListener("submit", (event) => event.preventDefault());
