// Shows the OpenAPI description of this registry and lets its requests be tried. Everything is set as text, never as HTML.
"use strict";

let csrf = "";

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// A schema in the words of its reader; references are followed, and not again into themselves.
function example(schema, known, above = []) {
  if (!schema) return null;
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return above.includes(name) ? {} : example(known[name], known, [...above, name]);
  }
  const choice = (schema.anyOf || schema.oneOf || []).find((one) => one.type !== "null");
  if (choice) return example(choice, known, above);
  if (schema.enum) return schema.enum[0];
  if (schema.type === "object") {
    const fields = Object.entries(schema.properties || {});
    return Object.fromEntries(fields.map(([name, one]) => [name, "default" in one ? one.default : example(one, known, above)]));
  }
  if (schema.type === "array") return [example(schema.items, known, above)];
  return { string: "", integer: 0, number: 0, boolean: false }[schema.type] ?? null;
}

function fieldsOf(operation) {
  const rows = (operation.parameters || []).map((one) => {
    const input = element("input", { name: one.name, required: one.required || false, ariaLabel: one.name });
    input.dataset.where = one.in;
    return element("tr", {}, element("th", {}, element("code", { textContent: one.name })), element("td", {}, input), element("td", { textContent: `${one.in}. ${one.description || ""}` }));
  });
  return rows.length ? element("table", {}, ...rows) : "";
}

function addressOf(base, path, form) {
  const query = new URLSearchParams();
  let address = path;
  for (const input of form.querySelectorAll("input[name]")) {
    const once = encodeURIComponent(input.value);
    // A repository's name has slashes, which a proxy on the way may decode.
    if (input.dataset.where === "path") address = address.replace(`{${input.name}}`, input.name === "repository" ? encodeURIComponent(once) : once);
    else if (input.value !== "") query.append(input.name, input.value);
  }
  return base + address + (query.size ? `?${query}` : "");
}

async function ask(method, address, body, shown) {
  shown.hidden = false;
  shown.textContent = "…";
  try {
    const headers = { ...(csrf && { "X-Harbor-CSRF-Token": csrf }), ...(body !== null && { "Content-Type": "application/json" }) };
    const answer = await fetch(address, { method: method.toUpperCase(), headers, body, credentials: "same-origin" });
    csrf = answer.headers.get("X-Harbor-CSRF-Token") || csrf;
    const told = ["location", "x-total-count", "link", "x-request-id"].filter((name) => answer.headers.has(name));
    let text = await answer.text();
    try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
    shown.textContent = [`${method.toUpperCase()} ${address}`, `${answer.status} ${answer.statusText}`, ...told.map((name) => `${name}: ${answer.headers.get(name)}`), "", text].join("\n");
  } catch (error) {
    shown.textContent = `The request failed: ${error.message}`;
  }
}

function tryOut(base, path, method, operation, known) {
  const schema = operation.requestBody?.content?.["application/json"]?.schema;
  const body = schema ? element("textarea", { spellcheck: false, ariaLabel: "Body", value: JSON.stringify(example(schema, known), null, 2) }) : null;
  const shown = element("pre", { hidden: true });
  const form = element("form", {}, fieldsOf(operation), body || "", element("p", {}, element("button", { textContent: "Send" })), shown);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(method, addressOf(base, path, form), body ? body.value : null, shown);
  });
  return form;
}

function answersOf(operation, known) {
  const rows = Object.entries(operation.responses).map(([status, answer]) => {
    const schema = answer.content?.["application/json"]?.schema;
    const form = schema && Number(status) < 400 ? element("pre", { textContent: JSON.stringify(example(schema, known), null, 2) }) : "";
    return element("tr", {}, element("th", { textContent: status }), element("td", {}, answer.description, form));
  });
  return element("table", {}, ...rows);
}

function operationOf(base, path, method, operation, known) {
  const title = element("summary", {}, element("span", { className: `method ${method}`, textContent: method.toUpperCase() }),
    element("span", { className: "path", textContent: path }), element("span", { className: "said", textContent: operation.description || operation.summary || "" }));
  const made = element("details", {}, title);
  made.dataset.words = `${method} ${path} ${operation.description || ""} ${operation.summary || ""} ${operation.tags}`.toLowerCase();
  // What is inside is made when it is first opened: there are many.
  made.addEventListener("toggle", () => made.append(element("div", {}, tryOut(base, path, method, operation, known), answersOf(operation, known))), { once: true });
  return made;
}

function show(description) {
  const base = description.servers[0].url, known = description.components.schemas, groups = new Map();
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = (operation.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operationOf(base, path, method, operation, known));
    }
  }
  document.getElementById("about").textContent = `${description.info.description} Version ${description.info.version}.`;
  document.getElementById("operations").replaceChildren(...[...groups].map(([tag, made]) => element("section", {}, element("h2", { textContent: tag }), ...made)));
}

document.getElementById("find").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const section of document.querySelectorAll("section")) {
    for (const one of section.querySelectorAll("details")) one.hidden = !words.every((word) => one.dataset.words.includes(word));
    section.hidden = !section.querySelector("details:not([hidden])");
  }
});

fetch("/api/v2.0/openapi.json").then((answer) => answer.json()).then(show).catch((error) => {
  document.getElementById("operations").textContent = `The description could not be read: ${error.message}`;
});
