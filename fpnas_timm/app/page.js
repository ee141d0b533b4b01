'use strict';
// Asks the server and shows its answers; everything that is computed, is computed there.
const $ = id => document.getElementById(id);
const state = { space: 'fpnas_l0', stops: {}, picked: null, groups: [], fields: {}, search: null, model: '', max: 0, channels: 3 };
const running = {};

// one request of a kind at a time: a later one makes the earlier one pointless
async function ask(name, body, query = '') {
  running[name]?.abort();
  const own = running[name] = new AbortController();
  const raw = body instanceof Blob;
  try {
    const answer = await fetch(`/api/${name}${query}`, {
      method: 'POST', signal: own.signal, body: raw ? body : JSON.stringify(body),
      headers: { 'content-type': raw ? 'application/octet-stream' : 'application/json' },
    });
    const found = await answer.json().catch(() => ({ error: `the explorer answered with status ${answer.status}` }));
    return running[name] === own ? found : null;
  } catch (e) {
    return e.name === 'AbortError' ? null : { error: 'no answer: has fpnas app been ended?' };
  }
}

function text(tag, content, kind = '') {
  const made = document.createElement(tag);
  made.textContent = content;
  made.className = kind;
  return made;
}

// what costs are counted for
const counted = () => ({ classes: Number($('classes-count').value) || 1000, channels: state.channels });

// ---- networks
async function show(edit = null) {
  const asked = { a: $('a').value, b: $('panel-b').hidden ? '' : $('b').value, space: state.space, ...counted() };
  if (edit) asked.edit = edit;
  const answer = await ask('network', asked);
  if (!answer) return;
  if (answer.error) {
    $('a-error').textContent = answer.error;
    return;
  }
  if (edit && answer.a.error) {  // the string is as before: only the change is wrong
    $('editor').querySelector('.wrong').textContent = answer.a.error;
    return;
  }
  for (const name of ['a', 'b']) {
    const one = answer[name];
    const wrong = one?.error ?? '';
    $(`${name}-error`).textContent = wrong;
    $(name).classList.toggle('bad', Boolean(wrong));
    $(name).setAttribute('aria-invalid', String(Boolean(wrong)));
    document.querySelector(`#panel-${name} .shown`).classList.toggle('stale', Boolean(wrong));
    if (!one || wrong) continue;
    for (const part of ['cards', 'where', 'figure']) $(`${name}-${part}`).innerHTML = one[part];
    if (name === 'a') {
      state.groups = one.groups;
      state.arch = one.arch;
      if (edit) $('a').value = one.arch;
    } else state.with = one.arch;
  }
  if (answer.html.costs) {
    $('costs').innerHTML = answer.html.costs;
    $('scatter').innerHTML = answer.html.scatter;
    $('legend').innerHTML = answer.html.legend;
  }
  const two = Boolean(answer.b && !answer.b.error);
  $('cost').classList.toggle('two-tables', two);
  if (!$('editor').hidden || edit) pick(state.picked, false);
  remember();
}

function address() {
  const query = new URLSearchParams();
  if (!state.space.startsWith('{')) query.set('space', state.space);
  if ($('a').value.trim()) query.set('arch', $('a').value.trim());
  if (counted().classes !== 1000) query.set('classes', counted().classes);
  if (!$('panel-b').hidden && $('b').value.trim()) query.set('with', $('b').value.trim());
  return `${location.origin}${location.pathname}?${query}`;
}

const remember = () => history.replaceState(null, '', address());

function compare(string) {
  $('panel-b').hidden = string === null;
  $('b').value = string ?? '';
  document.querySelector('.pair').classList.toggle('two', string !== null);
  $('keep').hidden = string !== null;
  show();
}

// ---- one block
const NUMBERS = { repeats: [1, 32, 1], expansion: [0, 16, 'any'], channels: [1, 8192, 1] };

function pick(at, focus = true) {
  const [group, block] = at ?? [];
  const fields = state.groups[group];
  state.picked = fields ? at : null;
  $('editor').hidden = !fields;
  for (const g of document.querySelectorAll('#a-figure g.block')) {
    g.classList.toggle('picked', Boolean(fields) && g.dataset.at === `${group}.${block}`);
  }
  if (!fields) return;
  const scope = $('editor').querySelector('input[name=scope]:checked')?.value ?? 'group';
  const within = document.activeElement?.closest?.('#editor') ? document.activeElement.name : '';
  const parts = [text('div', `group ${group}, block ${block} of ${fields.repeats}`, 'title')];
  if (fields.repeats > 1) {
    const choice = document.createElement('div');
    choice.className = 'scope';
    for (const [value, says] of [['group', `all ${fields.repeats} blocks of the group`], ['block', 'this block only']]) {
      const label = text('label', '', 'choice');
      const radio = Object.assign(document.createElement('input'), { type: 'radio', name: 'scope', value });
      radio.checked = value === scope;
      label.append(radio, says);
      choice.append(label);
    }
    parts.push(choice);
  }
  for (const [name, value] of Object.entries(fields)) parts.push(field(name, value));
  parts.push(Object.assign(text('button', 'close'), { type: 'button', id: 'close' }));
  const wrong = text('p', '', 'wrong');
  wrong.setAttribute('role', 'alert');
  $('editor').replaceChildren(...parts, wrong);
  if (within) $('editor').elements[within]?.focus?.();
  else if (focus) $('editor').querySelector('select, input[type=number]').focus();
}

function field(name, value) {
  const label = text('label', { act: 'non-linearity' }[name] ?? name);
  let input;
  if (state.fields[name]) {
    input = document.createElement('select');
    input.append(...state.fields[name].map(([v, says]) => new Option(says, v, false, String(v) === String(value))));
  } else {
    const [min, max, step] = NUMBERS[name];
    input = Object.assign(document.createElement('input'), { type: 'number', min, max, step, value });
  }
  input.name = name;
  label.append(input);
  return label;
}

$('editor').addEventListener('change', event => {
  const { name, value } = event.target;
  if (name === 'scope') return;
  const [group, block] = state.picked;
  const scope = $('editor').querySelector('input[name=scope]:checked')?.value;
  const edit = { group, changes: { [name]: name === 'act' ? value : value === '' ? null : Number(value) } };
  if (scope === 'block') edit.block = block;
  show(edit).then(() => {
    if (scope === 'block' && !$('editor').querySelector('.wrong')?.textContent && block > 0) pick([group + 1, 0], false);
  });
});
$('editor').addEventListener('submit', event => event.preventDefault());
$('editor').addEventListener('click', event => { if (event.target.id === 'close') close(); });
document.addEventListener('keydown', event => { if (event.key === 'Escape' && !$('editor').hidden) close(); });

function close() {
  const at = state.picked;
  pick(null);
  document.querySelector(`#a-figure g.block[data-at="${at?.join('.')}"]`)?.focus();
}

$('a-figure').addEventListener('click', event => {
  const block = event.target.closest('g.block[data-at]');
  if (block) pick(block.dataset.at.split('.').map(Number), false);
});
$('a-figure').addEventListener('keydown', event => {
  const block = event.target.closest('g.block[data-at]');
  if (!block || !['Enter', ' ', 'ArrowLeft', 'ArrowRight'].includes(event.key)) return;
  event.preventDefault();
  if (event.key.startsWith('Arrow')) {
    const all = [...$('a-figure').querySelectorAll('g.block[data-at]')];
    all[all.indexOf(block) + (event.key === 'ArrowLeft' ? -1 : 1)]?.focus();
  } else pick(block.dataset.at.split('.').map(Number));
});

// ---- spaces and budgets
const shown = n => n >= 1e9 ? `${(n / 1e9).toPrecision(3)} G` : n >= 1e6 ? `${(n / 1e6).toPrecision(3)} M` : n.toLocaleString('en');

async function openSpace(space, keep = false) {
  const answer = await ask('space', { space, ...counted() });
  if (!answer) return false;
  if (answer.error) {
    $('space-says').textContent = answer.error;
    $('space-says').className = 'wrong';
    return false;
  }
  if (answer.classes && answer.classes !== counted().classes) {
    $('classes-count').value = answer.classes;
    return openSpace(space, keep);
  }
  $('decode-says').textContent = '';
  state.space = space;
  state.stops = answer.stops;
  $('space-says').className = 'faint';
  $('space-says').textContent = `${answer.name}: ${answer.size} networks, ${[answer.img_size].flat().join(' x ')} px${answer.latency ? `; ${answer.latency}` : ''}`;
  $('latency-row').hidden = !answer.latency;
  for (const name of Object.keys(answer.stops)) {
    $(name).max = answer.stops[name].length - 1;
    if (!keep) $(name).value = answer.start[name];
    slid(name);
  }
  return true;
}

function slid(name) {
  const on = $(`use-${name}`).checked;
  const stop = state.stops[name][$(name).value];
  const says = on ? `at most ${name === 'latency' ? `${stop} ms` : shown(stop)}` : 'any';
  $(name).disabled = !on;
  $(name).setAttribute('aria-valuetext', says);
  document.querySelector(`output[for=${name}]`).textContent = says;
}

async function decode() {
  const asked = { space: state.space, ...counted() };
  for (const [name, stops] of Object.entries(state.stops)) asked[name] = $(`use-${name}`).checked ? stops[$(name).value] : null;
  if (state.search && $('use-search').checked) Object.assign(asked, { folder: state.search.folder, epoch: state.search.epoch });
  $('decode-says').textContent = 'decoding';
  $('decode-says').className = 'busy';
  const answer = await ask('decode', asked);
  if (!answer) return;
  $('decode-says').className = answer.error ? 'wrong' : 'faint';
  $('decode-says').textContent = answer.error ??
    `most probable within the budgets, proved: ${shown(answer.macs)} multiply-adds, ${shown(answer.params)} parameters`;
  if (answer.error) return;
  $('a').value = answer.arch;
  pick(null);
  await show();
}

for (const name of ['macs', 'params', 'latency']) {
  $(name).addEventListener('input', () => slid(name));
  $(name).addEventListener('change', decode);
  $(`use-${name}`).addEventListener('change', () => { slid(name); decode(); });
}
$('decode').addEventListener('click', decode);
$('classes-count').addEventListener('change', async () => {
  if (await openSpace(state.space, true)) show();
});
$('space').addEventListener('change', async () => {
  $('space-file').value = '';
  const own = Boolean($('space').selectedOptions[0].dataset.own);  // that of the search
  state.channels = own ? state.search.channels : 3;
  $('use-search').checked = own && state.search.learned;
  if (await openSpace($('space').value)) decode();
});
$('space-file').addEventListener('change', async () => {
  const [file] = $('space-file').files;
  if (!file) return;
  if (file.size > 200000) {
    $('space-says').textContent = `${file.name}: more than 200,000 bytes, too large for a space file`;
    $('space-says').className = 'wrong';
  } else if (await openSpace((await file.text()).trim() || '{}')) decode();
});
for (const name of ['a', 'b']) $(name).addEventListener('input', () => show());
$('keep').addEventListener('click', () => compare(state.arch ?? $('a').value));
$('drop').addEventListener('click', () => compare(null));
$('swap').addEventListener('click', () => {
  [$('a').value, $('b').value] = [$('b').value, $('a').value];
  pick(null);
  show();
});

async function copy(button, value) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(value);
    button.textContent = 'copied';
  } catch {
    button.textContent = 'not allowed here';
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}
for (const button of document.querySelectorAll('[data-copy]')) {
  button.addEventListener('click', () => copy(button, $(button.dataset.copy).value));
}
$('link').addEventListener('click', event => copy(event.target, address()));

// ---- the folder of a search
async function openSearch(folder, epoch = null) {
  const answer = await ask('search', { folder, epoch });
  if (!answer) return;
  $('search-error').textContent = answer.error ?? '';
  if (answer.error) return;
  const first = state.search?.folder !== folder;
  state.search = answer;
  $('search-shown').hidden = false;
  $('from-search').hidden = !answer.learned;
  $('epoch').max = answer.epochs - 1;
  $('epoch').value = answer.epoch;
  $('epoch-says').textContent = `${answer.epoch + 1} of ${answer.epochs} (${answer.progress})`;
  $('search-html').innerHTML = answer.html;
  $('use-epoch').disabled = !answer.arch;
  $('use-epoch').textContent = `show the ${answer.learned ? 'most probable' : 'best'} network of then as A`;
  $('use-result').hidden = !answer.result;
  if (!first) return;
  $('classes-count').value = answer.classes;
  state.channels = answer.channels;
  if (await openSpace(answer.space)) {
    const own = new Option(`${answer.name} (of the search)`, answer.space);
    $('space').querySelector('[data-own]')?.remove();
    own.dataset.own = '1';
    $('space').append(own);
    $('space').value = answer.space;
    $('use-search').checked = answer.learned;
    show();
  }
}
$('open-search').addEventListener('submit', event => {
  event.preventDefault();
  openSearch($('search-folder').value);
});
$('epoch').addEventListener('input', () => openSearch(state.search.folder, Number($('epoch').value)));
$('use-search').addEventListener('change', decode);
for (const [id, what] of [['use-epoch', 'arch'], ['use-result', 'result']]) {
  $(id).addEventListener('click', () => {
    $('a').value = state.search[what];
    pick(null);
    show();
    $('network').scrollIntoView();
  });
}

// ---- a trained model
$('open-model').addEventListener('submit', async event => {
  event.preventDefault();
  const answer = await ask('model', { folder: $('model-folder').value });
  if (!answer) return;
  $('model-error').textContent = answer.error ?? '';
  $('drop-zone').hidden = Boolean(answer.error);
  $('model-says').textContent = answer.error ? '' : `${answer.folder}: ${answer.model}, ${answer.classes ?? '?'} classes`;
  state.model = answer.folder ?? '';
  $('classes').replaceChildren();  // those of another model
  $('preview').hidden = true;
  $('image').value = '';
});

async function classify(file) {
  if (!file || !state.model) return;
  $('classes').replaceChildren();
  $('model-error').textContent = file.size > state.max
    ? `${file.name}: more than ${state.max.toLocaleString('en')} bytes: expected at most so many` : '';
  $('preview').hidden = true;
  if ($('model-error').textContent) return;
  URL.revokeObjectURL($('preview').src);
  $('classes').append(text('p', 'classifying; the first image takes some seconds, since torch and the model are loaded', 'busy'));
  const answer = await ask('classify', file, `?folder=${encodeURIComponent(state.model)}`);
  if (!answer) return;
  $('model-error').textContent = answer.error ?? '';
  if (answer.error) return $('classes').replaceChildren();
  $('preview').src = URL.createObjectURL(file);
  $('preview').alt = file.name;
  $('preview').hidden = false;
  $('classes').replaceChildren(...answer.classes.map(({ name, prob }) => {
    const row = text('div', '', 'class');
    row.style.setProperty('--w', `${100 * prob}%`);
    row.append(text('span', name), text('span', `${(100 * prob).toFixed(1)} %`));
    return row;
  }));
}
$('image').addEventListener('change', () => classify($('image').files[0]));
for (const name of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(name, event => {
    event.preventDefault();  // a file that misses the box is not opened instead of the page
    $('drop-zone').classList.toggle('over', name === 'dragover' && Boolean(event.target.closest?.('#drop-zone')));
    if (name === 'drop' && event.target.closest?.('#drop-zone')) classify(event.dataTransfer.files[0]);
  });
}

// ---- the beginning
(async () => {
  const start = await (await fetch('/api/start')).json();
  const query = new URLSearchParams(location.search);
  state.fields = start.fields;
  state.max = start.max_image;
  $('space').append(...start.spaces.map(name => new Option(name, name)));
  $('search').hidden = $('classify').hidden = !start.folders;
  $('foot').textContent = `fpnas_timm ${start.version}` + (start.folders ? '' :
    '. Searches and trained models are opened by fpnas app on your own machine.');
  const space = start.spaces.includes(query.get('space')) ? query.get('space') : 'fpnas_l0';
  $('space').value = space;
  $('a').value = query.get('arch') ?? (start.models.includes(space) ? space : start.models[0]);
  $('classes-count').value = Number(query.get('classes')) || 1000;
  await openSpace(space);
  if (query.get('with')) compare(query.get('with'));
  else show();
})();
