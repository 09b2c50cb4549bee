// A form made from a JSON Schema: texts, numbers, switches, choices, lists, objects within objects. What it
// has no field for is written as JSON.
import { translate } from "../../llamagpu/js/words.js";

const element = (tag, className, text = "") => {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
};

let count = 0;

const withHint = (schema, hint) => ({
  ...schema,
  description: schema.description ? `${schema.description.replace(/\.?$/, ".")} ${hint}` : hint,
});

function labelled(schema, name, field) {
  const box = element("div", "mb-3");
  field.id = `setting-${(count += 1)}`;
  const label = element("label", "form-label", schema.title ?? name.replaceAll("_", " "));
  label.htmlFor = field.id;
  box.append(label, field);
  if (schema.description) {
    const help = element("div", "form-text", schema.description);
    help.id = `${field.id}-help`;
    field.setAttribute("aria-describedby", help.id);
    box.append(help);
  }
  return box;
}

function choice(schema, name, value) {
  const field = element("select", "form-select");
  for (const option of schema.enum) {
    const item = element("option", "", String(option));
    item.selected = option === value;
    field.append(item);
  }
  return { box: labelled(schema, name, field), read: () => schema.enum[field.selectedIndex] };
}

function flag(schema, name, value) {
  const box = element("div", "form-check form-switch mb-3");
  const field = element("input", "form-check-input");
  field.type = "checkbox";
  field.role = "switch";
  field.checked = value === true;
  field.id = `setting-${(count += 1)}`;
  const label = element("label", "form-check-label", schema.title ?? name.replaceAll("_", " "));
  label.htmlFor = field.id;
  box.append(field, label);
  if (schema.description) box.append(element("div", "form-text", schema.description));
  return { box, read: () => field.checked };
}

function number(schema, name, value) {
  const field = element("input", "form-control");
  field.type = "number";
  field.step = schema.type === "integer" ? "1" : "any";
  if (schema.minimum !== undefined) field.min = schema.minimum;
  if (schema.maximum !== undefined) field.max = schema.maximum;
  field.value = value ?? "";
  return { box: labelled(schema, name, field), read: () => (field.value === "" ? undefined : field.valueAsNumber) };
}

function text(schema, name, value) {
  const isLong = (schema.maxLength ?? 0) > 200 || String(value ?? "").includes("\n");
  const field = element(isLong ? "textarea" : "input", "form-control");
  if (isLong) field.rows = 4;
  else field.type = schema.writeOnly ? "password" : "text";
  if (schema.writeOnly) {
    field.placeholder = translate("kept as it is");
    field.autocomplete = "off";
  }
  field.value = value ?? "";
  const isSecretKept = () => schema.writeOnly && field.value === "";
  return { box: labelled(schema, name, field), read: () => (isSecretKept() ? undefined : field.value) };
}

function lines(schema, name, value) {
  const field = element("textarea", "form-control");
  field.rows = Math.min(8, Math.max(2, (value ?? []).length + 1));
  field.value = (value ?? []).join("\n");
  const box = labelled(withHint(schema, translate("One a line.")), name, field);
  const isNumeric = ["number", "integer"].includes(schema.items?.type);
  const read = () => field.value.split("\n").filter((line) => line !== "").map((line) => (isNumeric ? Number(line) : line));
  return { box, read };
}

function checks(schema, name, value) {
  const box = element("fieldset", "mb-3");
  box.append(element("legend", "form-label fs-6 mb-1", schema.title ?? name.replaceAll("_", " ")));
  const fields = schema.items.enum.map((option) => {
    const line = element("div", "form-check form-check-inline");
    const field = element("input", "form-check-input");
    field.type = "checkbox";
    field.id = `setting-${(count += 1)}`;
    field.checked = (value ?? []).includes(option);
    const label = element("label", "form-check-label", String(option));
    label.htmlFor = field.id;
    line.append(field, label);
    box.append(line);
    return [option, field];
  });
  if (schema.description) box.append(element("div", "form-text", schema.description));
  return { box, read: () => fields.filter(([, field]) => field.checked).map(([option]) => option) };
}

function json(schema, name, value) {
  const field = element("textarea", "form-control font-monospace");
  field.rows = 4;
  field.spellcheck = false;
  field.value = value === undefined || value === null ? "" : JSON.stringify(value, null, 2);
  const read = () => {
    if (field.value.trim() === "") return undefined;
    try {
      return JSON.parse(field.value);
    } catch (error) {
      throw new Error(`${name}: ${translate("No JSON: {problem}", { problem: error.message })}`);
    }
  };
  return { box: labelled(withHint(schema, translate("As JSON.")), name, field), read };
}

function nested(schema, name, value) {
  const box = element("fieldset", "nested");
  box.append(element("legend", "form-label fs-6", schema.title ?? name.replaceAll("_", " ")));
  const inner = build(schema, value ?? {});
  box.append(...inner.boxes);
  return { box, read: inner.read };
}

const PLAIN_ITEMS = ["string", "number", "integer"];

function fieldFor(schema, name, value) {
  if (Array.isArray(schema.enum)) return choice(schema, name, value);
  if (schema.type === "boolean") return flag(schema, name, value);
  if (schema.type === "number" || schema.type === "integer") return number(schema, name, value);
  if (schema.type === "string") return text(schema, name, value);
  if (schema.type === "array" && Array.isArray(schema.items?.enum)) return checks(schema, name, value);
  if (schema.type === "array" && PLAIN_ITEMS.includes(schema.items?.type)) return lines(schema, name, value);
  if (schema.type === "object" && schema.properties) return nested(schema, name, value);
  return json(schema, name, value);
}

// {boxes, read}: the fields of an object's properties, and what they say. `read` raises Error.
export function build(schema, values) {
  const fields = Object.entries(schema.properties ?? {}).map(([name, inner]) => [
    name, fieldFor(inner, name, values[name] ?? inner.default),
  ]);
  const read = () => Object.fromEntries(fields.map(([name, field]) => [name, field.read()]).filter(([, value]) => value !== undefined));
  return { boxes: fields.map(([, field]) => field.box), read };
}
