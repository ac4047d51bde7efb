// As much of JSON Schema as the hub's documents use. Properties that a schema does not name are let be: more may come.

const LENGTHS = {
  const: (value, wanted) => value === wanted,
  enum: (value, wanted) => wanted.includes(value),
  minLength: (value, wanted) => value.length >= wanted,
  maxLength: (value, wanted) => value.length <= wanted,
  pattern: (value, wanted) => new RegExp(wanted).test(value),
};
const TYPES = {
  string: (value) => typeof value === "string",
  integer: (value) => Number.isInteger(value),
  boolean: (value) => typeof value === "boolean",
  null: (value) => value === null,
  object: (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  array: Array.isArray,
};

// What is wrong with a value; an empty list: nothing.
export function faults(schema, value, root = schema, at = "$") {
  if (schema.$ref) return faults(root.$defs[schema.$ref.split("/").pop()], value, root, at);
  if (schema.type && !TYPES[schema.type](value)) return [`${at}: no ${schema.type}`];
  const found = [];
  for (const [word, holds] of Object.entries(LENGTHS)) {
    if (word in schema && !holds(value, schema[word])) found.push(`${at}: ${word} ${JSON.stringify(schema[word])}`);
  }
  if (schema.anyOf && schema.anyOf.every((each) => faults(each, value, root, at).length)) found.push(`${at}: no choice fits`);
  for (const name of schema.required ?? []) if (!(name in value)) found.push(`${at}: ${name} is missing`);
  for (const [name, each] of Object.entries(schema.properties ?? {})) {
    if (name in value) found.push(...faults(each, value[name], root, `${at}.${name}`));
  }
  if (schema.items) value.forEach((item, index) => found.push(...faults(schema.items, item, root, `${at}[${index}]`)));
  return found;
}
