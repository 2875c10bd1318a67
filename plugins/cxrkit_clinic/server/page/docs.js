// What /openapi.json says, to read.

import { byId, element } from "./dom.js";

const description = await (await fetch("/openapi.json")).json();
for (const [path, methods] of Object.entries(description.paths)) {
  for (const [method, about] of Object.entries(methods)) {
    const entry = element("article", {}, element("h2", {}, element("code", { textContent: `${method.toUpperCase()} ${path}` })));
    entry.append(element("p", { textContent: about.description ?? about.summary }));
    for (const parameter of about.parameters ?? []) {
      const text = `${parameter.name} (${parameter.in}): ${parameter.description ?? parameter.schema.type}`;
      entry.append(element("p", {}, element("code", { textContent: text })));
    }
    for (const [kind, body] of Object.entries(about.requestBody?.content ?? {})) {
      const name = body.schema.$ref?.split("/").at(-1);
      const schema = name ? description.components.schemas[name] : body.schema;
      entry.append(element("p", { textContent: `Body, ${kind}:` }));
      for (const [field, type] of Object.entries(schema.properties)) {
        const text = `${field}: ${type.description ?? type.format ?? type.enum?.join(" | ") ?? type.type}`;
        entry.append(element("p", {}, element("code", { textContent: text })));
      }
    }
    for (const [status, answer] of Object.entries(about.responses)) {
      entry.append(element("p", { textContent: `${status}: ${answer.description}` }));
    }
    byId("paths").append(entry);
  }
}
