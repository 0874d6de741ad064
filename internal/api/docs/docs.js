"use strict";

// Lays out /openapi.json as text. Nothing of the document is put in as HTML.

function element(name, attributes, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) e.setAttribute(key, value);
  e.append(...children.filter((c) => c !== undefined && c !== null));
  return e;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const types = [].concat(schema.type || []).filter((t) => t !== "null");
  if (types.includes("array")) return typeOf(schema.items) + "[]";
  if (schema.additionalProperties && typeof schema.additionalProperties === "object") {
    return "map of " + typeOf(schema.additionalProperties);
  }
  if (schema.enum) return schema.enum.join(" | ");
  return types.join(" or ") + (schema.format ? " (" + schema.format + ")" : "");
}

function table(head, rows) {
  if (!rows.length) return null;
  return element("table", {},
    element("thead", {}, element("tr", {}, ...head.map((h) => element("th", { scope: "col" }, h)))),
    element("tbody", {}, ...rows.map((r) => element("tr", {}, ...r.map((c) => element("td", {}, c))))));
}

function fields(schema) {
  const needed = new Set(schema.required || []);
  return table(["field", "type", ""], Object.entries(schema.properties || {}).map(([name, s]) => [
    element("code", {}, name), link(s), (needed.has(name) ? "required. " : "") + (s.description || ""),
  ]));
}

function link(schema) {
  const name = typeOf(schema);
  const target = (schema.$ref || (schema.items && schema.items.$ref) ||
    (schema.additionalProperties && schema.additionalProperties.$ref) || "").split("/").pop();
  return target ? element("a", { href: "#schema-" + target }, name) : element("span", {}, name);
}

function operation(path, method, op) {
  const body = op.requestBody && Object.values(op.requestBody.content)[0].schema;
  const answers = Object.entries(op.responses || {}).map(([status, r]) => {
    const content = Object.values(r.content || {})[0];
    return [status, content ? link(content.schema) : "", r.description || ""];
  });
  const parameters = (op.parameters || []).map((p) => [
    element("code", {}, p.name), p.in, typeOf(p.schema), p.description || p.schema.description || "",
  ]);
  const e = element("details", { id: op.operationId },
    element("summary", {}, element("b", {}, method.toUpperCase()), element("code", {}, path), " " + (op.summary || ""),
      element("span", { class: "role" }, op["x-role"] || "")),
    table(["parameter", "in", "type", ""], parameters),
    body ? element("p", {}, "Body: ", link(body)) : null,
    table(["answer", "document", ""], answers));
  e.dataset.text = [path, method, op.summary, op.operationId].join(" ").toLowerCase();
  return e;
}

async function show() {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error("HTTP " + answer.status);
  const spec = await answer.json();
  const main = document.getElementById("operations");
  const byTag = new Map();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, op] of Object.entries(methods)) {
      const tag = (op.tags || ["other"])[0];
      if (!byTag.has(tag)) byTag.set(tag, []);
      byTag.get(tag).push(operation(path, method, op));
    }
  }
  for (const [tag, operations] of byTag) {
    main.append(element("section", {}, element("h2", {}, tag), ...operations));
  }
  main.append(element("h2", {}, "Documents"));
  for (const [name, schema] of Object.entries(spec.components.schemas).sort()) {
    main.append(element("details", { id: "schema-" + name },
      element("summary", {}, element("code", {}, name)), fields(schema)));
  }
  document.getElementById("about").replaceChildren("Version " + spec.info.version + ". The document itself: ",
    element("a", { href: "/openapi.json" }, "/openapi.json"));
  openTarget();
}

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
}

document.getElementById("find").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const e of document.querySelectorAll("section details")) e.hidden = !e.dataset.text.includes(wanted);
});
window.addEventListener("hashchange", openTarget);
show().catch((error) => {
  document.getElementById("about").textContent = "The document at /openapi.json cannot be read: " + error.message;
});
