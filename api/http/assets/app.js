'use strict';
// The demo page: everything it shows comes from the API that anybody may call.

const $ = (id) => document.getElementById(id);
let picture = null;  // {name, base64}

// --- Asking -------------------------------------------------------------------------------------

async function ask(path, body) {
  const headers = { 'Content-Type': 'application/json' };
  if ($('key').value) headers.Authorization = `Bearer ${$('key').value}`;
  const options = body === undefined ? { headers } : { method: 'POST', headers, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error?.message ?? `The server answered ${response.status}.`);
  return { answer, took: response.headers.get('x-total-time') };
}

// An item's own error, where the whole request succeeded.
function whole(entries) {
  const bad = entries.find((entry) => entry.object === 'error');
  if (bad) throw new Error(bad.error.message);
  return entries;
}

const texts = () => $('texts').value.split('\n').map((line) => line.trim()).filter(Boolean);

function item(text) {
  const one = {};
  if (picture) one.image = picture.base64;
  if (text) one.text = text;
  return one;
}

// --- Showing ------------------------------------------------------------------------------------

// A section has either its result or the sentence that says what it needs.
function show(element, there) {
  element.hidden = !there;
  element.closest('section').querySelector('.empty').hidden = there;
}

function cell(row, content, isNumber) {
  const td = row.insertCell();
  if (isNumber) td.className = 'number';
  td.append(content);
  return td;
}

function score(row, value) {
  const meter = document.createElement('meter');
  meter.max = 1;
  meter.value = Math.max(0, value);
  meter.setAttribute('aria-hidden', 'true');
  cell(row, value.toFixed(3), true).append(meter);
}

function fill(table, rows, write) {
  table.tBodies[0].replaceChildren();
  for (const one of rows) write(table.tBodies[0].insertRow(), one);
  show(table, rows.length > 0);
}

async function showMatch(lines) {
  if (!picture || !lines.length) return fill($('match'), [], () => {});
  const { answer } = await ask('/v1/match', { items: lines.map(item) });
  const rows = whole(answer.data).map((match, i) => ({ ...match, text: lines[i] }));
  rows.sort((a, b) => b.probability - a.probability);
  fill($('match'), rows, (row, match) => {
    cell(row, match.text);
    score(row, match.probability);
    cell(row, match.cosine.toFixed(3), true);
  });
}

async function showClasses(one, model) {
  const set = model.label_sets[0];
  if (!set) {
    $('class-hint').textContent = 'This bundle has no label set.';
    return fill($('classes'), [], () => {});
  }
  const { answer } = await ask('/v1/classify', { items: [one], label_set: set.name, top_k: 5 });
  $('class-hint').textContent = `Label set “${set.name}”.`;
  fill($('classes'), whole(answer.data)[0].scores, (row, { label, score: value }) => {
    cell(row, label);
    score(row, value);
  });
}

async function showNeighbours(one) {
  const { answer } = await ask('/v1/search', { query: one, k: 8 });
  $('near-hint').textContent = `In this server's index of ${answer.index.size}.`;
  fill($('near'), answer.data, (row, { id, score: value }) => {
    cell(row, id);
    score(row, value);
  });
}

async function showTokens(lines) {
  $('tokens').replaceChildren();
  show($('tokens'), lines.length > 0);
  if (!lines.length) return;
  const { answer } = await ask('/v1/tokenize', { texts: lines });
  answer.data.forEach(({ tokens }, i) => {
    const list = document.createElement('ol');
    list.className = 'tokens';
    list.setAttribute('aria-label', `Tokens of “${lines[i]}”`);
    for (const token of tokens) {
      const li = document.createElement('li');
      li.textContent = token.piece;
      li.title = `id ${token.id}`;
      if (token.special) li.className = 'special';
      list.append(li);
    }
    $('tokens').append(list);
  });
}

async function showVector(one) {
  const { answer, took } = await ask('/v1/fused/embeddings', { items: [one] });
  const embedding = whole(answer.data)[0];
  const values = embedding.embedding;
  const canvas = $('vector');
  canvas.width = values.length;
  canvas.height = 1;
  const pen = canvas.getContext('2d');
  const most = Math.max(...values.map(Math.abs));
  values.forEach((value, i) => {
    const strength = Math.round(90 - 55 * Math.abs(value) / most);
    pen.fillStyle = `hsl(${value < 0 ? 15 : 225} 75% ${strength}%)`;
    pen.fillRect(i, 0, 1, 1);
  });
  canvas.setAttribute('aria-label', `${values.length} numbers, the first: ${values.slice(0, 4).map((v) => v.toFixed(3)).join(', ')}`);
  $('vector-hint').textContent = `${values.length} numbers of ${{ fused: 'picture and text together', image: 'the picture alone', text: 'the text alone' }[embedding.side]}.`;
  show(canvas, true);
  return took;
}

function fail(error) {
  $('error').textContent = error.message;
  $('error').hidden = false;
  $('status').textContent = '';
}

async function look() {
  const lines = texts();
  $('error').hidden = true;
  if (!picture && !lines.length) return fail(new Error('Give a picture, a text, or both.'));
  $('run').disabled = true;
  $('status').textContent = 'Looking…';
  try {
    const one = item(lines[0]);
    const { answer } = await ask('/v1/models');
    const took = await showVector(one);
    await Promise.all([showMatch(lines), showClasses(one, answer.data[0]), showNeighbours(one), showTokens(lines)]);
    $('status').textContent = `Done; the fused vector took ${took} ms.`;
  } catch (error) {
    fail(error);
  } finally {
    $('run').disabled = false;
  }
}

async function keep() {
  $('error').hidden = true;
  const lines = texts();
  if (!picture && !lines.length) return fail(new Error('Give a picture, a text, or both.'));
  try {
    const id = [picture?.name, lines[0]].filter(Boolean).join(': ').slice(0, 200);
    const { answer } = await ask('/v1/search/items', { items: [{ id, ...item(lines[0]) }] });
    if (answer.errors.length) throw new Error(answer.errors[0].error.message);
    $('status').textContent = `Kept; the index has ${answer.index.size}.`;
    await showNeighbours(item(lines[0]));
  } catch (error) {
    fail(error);
  }
}

// --- The picture --------------------------------------------------------------------------------

function setPicture(file) {
  if (!file) return;
  if (!/^image\/(jpeg|png|webp)$/.test(file.type)) return fail(new Error(`${file.name || 'This'} is not a JPEG, PNG or WebP picture.`));
  const reader = new FileReader();
  reader.onload = () => {
    picture = { name: file.name || 'picture', base64: reader.result.slice(reader.result.indexOf(',') + 1) };
    $('preview').src = reader.result;
    $('preview').alt = `The chosen picture: ${picture.name}`;
    $('preview').hidden = false;
    $('drop-hint').hidden = true;
    $('clear').hidden = false;
    $('error').hidden = true;
  };
  reader.onerror = () => fail(new Error(`${file.name} could not be read.`));
  reader.readAsDataURL(file);
}

function clearPicture() {
  picture = null;
  $('file').value = '';
  $('preview').hidden = true;
  $('preview').removeAttribute('src');
  $('drop-hint').hidden = false;
  $('clear').hidden = true;
  $('file').focus();
}

$('file').addEventListener('change', (event) => setPicture(event.target.files[0]));
$('clear').addEventListener('click', clearPicture);
for (const kind of ['dragenter', 'dragover'])
  $('drop').addEventListener(kind, (event) => { event.preventDefault(); $('drop').classList.add('over'); });
for (const kind of ['dragleave', 'drop'])
  $('drop').addEventListener(kind, (event) => { event.preventDefault(); $('drop').classList.remove('over'); });
$('drop').addEventListener('drop', (event) => setPicture(event.dataTransfer.files[0]));
document.addEventListener('paste', (event) => setPicture(event.clipboardData.files[0]));
$('form').addEventListener('submit', (event) => { event.preventDefault(); look(); });
$('keep').addEventListener('click', keep);

ask('/v1/models').then(({ answer }) => {
  const model = answer.data[0];
  $('model-line').textContent = `${model.bundle}: vectors of ${model.embedding_size} numbers, texts of up to ${model.max_tokens} tokens.`;
}).catch(() => {});
