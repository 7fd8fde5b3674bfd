'use strict';
// Writes out /openapi.json for people.

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (className) element.className = className;
  return element;
}

// The schema with its references put in, as far as that ends.
function resolved(schema, all, seen = []) {
  if (Array.isArray(schema)) return schema.map((one) => resolved(one, all, seen));
  if (schema === null || typeof schema !== 'object') return schema;
  if (schema.$ref) {
    const name = schema.$ref.split('/').pop();
    return seen.includes(name) ? name : resolved(all[name], all, [...seen, name]);
  }
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, resolved(value, all, seen)]));
}

function bodies(title, content, all) {
  const parts = [];
  for (const [type, { schema, example }] of Object.entries(content ?? {})) {
    const details = make('details');
    details.append(make('summary', `${title}: ${type}`));
    if (example !== undefined) details.append(make('pre', JSON.stringify(example, null, 2)));
    if (schema) details.append(make('pre', JSON.stringify(resolved(schema, all), null, 2)));
    parts.push(details);
  }
  return parts;
}

async function write() {
  const api = await (await fetch('/openapi.json')).json();
  const all = api.components.schemas;
  document.getElementById('summary').textContent = api.info.summary ?? api.info.description ?? '';
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? 'Other';
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push({ path, method, operation });
    }
  }
  const main = document.getElementById('main');
  for (const [tag, operations] of groups) {
    const section = make('section', '', 'wide');
    section.append(make('h2', tag));
    for (const { path, method, operation } of operations) {
      const article = make('article', '', 'operation');
      const title = make('h3');
      title.append(make('span', method.toUpperCase(), 'method'), make('code', path));
      article.append(title, make('p', operation.summary));
      if (operation.description) article.append(make('p', operation.description, 'hint'));
      article.append(...bodies('Request', operation.requestBody?.content, all));
      for (const [status, response] of Object.entries(operation.responses))
        article.append(...bodies(status, response.content, all));
      section.append(article);
    }
    main.append(section);
  }
}

write().catch((error) => document.getElementById('main').append(make('p', `openapi.json could not be read: ${error.message}`)));
