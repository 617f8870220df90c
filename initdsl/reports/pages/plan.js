const MOST = 300; // rows at a time; more on request
const { kinds, rules, done } = data;
const treeElement = document.getElementById("tree");
const search = document.getElementById("search");
const count = document.getElementById("count");
const status = (leaf) => kinds[leaf[1]][2];

// ---- the tree as objects: every node knows its depth, path and parent

function prepare(plain, path, depth, parent) {
  const node = { plain, name: plain.n, cls: plain.c, path, depth, parent, open: depth < 1, kids: null, all: null };
  node.fold = plain.f ? plain.f.length : 0;
  return node;
}
const root = prepare(data.tree, "net", 0, null);

/** The rows directly below a node: tensors, modules, then, of a fold, its members. */
function below(node) {
  if (node.kids) return node.kids;
  const { plain, depth } = node;
  node.kids = (plain.p ?? []).map((leaf) => ({ leaf, path: `${node.path}.${leaf[0]}`, depth: depth + 1, parent: node }));
  for (const child of plain.k ?? []) node.kids.push(prepare(child, node.path + child.n, depth + 1, node));
  if (plain.f) {
    const each = { each: true, name: `each of ${plain.f.length}`, path: node.path, depth: depth + 1, parent: node, open: false };
    const before = node.parent ? node.parent.path : "";
    each.kids = plain.f.map((member) => prepare(member, before + member.n, depth + 2, each));
    node.kids.push(each);
  }
  return node.kids;
}

function tensors(plain) {
  let sum = 0;
  const stack = [plain];
  while (stack.length) {
    const node = stack.pop();
    for (const leaf of node.p ?? []) sum += leaf[2] ?? 1;
    for (const child of node.k ?? []) stack.push(child);
  }
  return sum;
}

// ---- rows

const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"; // the heights of bars

function range(low, high) {
  return low === high || typeof low === "string" ? number(low) : `${number(low)} … ${number(high)}`;
}

function line(text, title) {
  return make("span", { class: "line", title }, text);
}

/** The bars of what was found, and the curve of what was expected, over one axis. */
function histogram(leaf) {
  const [, , , promise = 0, , bars = 0] = leaf;
  let low, high;
  if (bars) [low, high] = bars;
  else if (promise && promise[2] !== 0) {
    const spread = 3.5 * promise[3];
    low = typeof promise[4] === "string" ? promise[0] - spread : promise[4];
    high = typeof promise[5] === "string" ? promise[1] + spread : promise[5];
    if (promise[5] - promise[4] > 2 * spread) [low, high] = [promise[0] - spread, promise[1] + spread];
  } else return null;
  const svg = make("svg", { class: "histogram", viewBox: "0 0 120 30", role: "img" });
  const [width, height] = [120, 28];
  const counts = bars ? Array.from(bars[2], (c) => DIGITS.indexOf(c)) : [];
  const mass = (counts.reduce((a, b) => a + b, 0) / counts.length) * (high - low); // a density of 1, in bars
  const smooth = promise && promise[2] > 0 && promise[2] === promise[3] && high > low;
  const points = smooth ? curve(leaf, low, high).map(([x, y]) => [x, bars ? y * mass : y]) : [];
  const top = Math.max(1e-300, ...counts, ...points.map((point) => point[1]));
  const step = width / counts.length;
  counts.forEach((n, i) => {
    const tall = (height * n) / top;
    if (n) svg.append(make("rect", { class: "bar", x: (i * step + 0.3).toFixed(2), y: (height - tall).toFixed(2), width: (step - 0.6).toFixed(2), height: tall.toFixed(2) }));
  });
  const drawn = points.map(([x, y]) => `${(((x - low) / (high - low)) * width).toFixed(1)},${(height * (1 - y / top) + 0.5).toFixed(1)}`);
  if (drawn.length) svg.append(make("polyline", { class: "curve", points: drawn.join(" ") }));
  svg.append(make("line", { class: "axis", x1: 0, x2: width, y1: 28.5, y2: 28.5 }));
  svg.append(make("title", {}, `${bars ? "histogram of the values" : "expected density"}, from ${number(low)} to ${number(high)}`));
  return svg;
}

/** The density of the expected distribution: uniform, or normal between its bounds. */
function curve(leaf, low, high) {
  const [mean, , std, , a, b] = leaf[3];
  const text = kinds[leaf[1]][6] + kinds[leaf[1]][3];
  const inside = (x) => (typeof a === "string" || x >= a) && (typeof b === "string" || x <= b);
  const flat = typeof a !== "string" && Math.abs((b - a) / std - Math.sqrt(12)) < 1e-3;
  if (!flat && /orthogonal|sparse|eye/.test(text)) return [];
  const density = (x) => (!inside(x) ? 0 : flat ? 1 / (b - a) : Math.exp(-0.5 * ((x - mean) / std) ** 2) / (std * Math.sqrt(2 * Math.PI)));
  return Array.from({ length: 61 }, (_, i) => low + ((high - low) * i) / 60).map((x) => [x, density(x)]);
}

function marked(text) {
  const [found] = words().filter((word) => text.toLowerCase().includes(word));
  if (!found) return [text];
  const at = text.toLowerCase().indexOf(found);
  return [text.slice(0, at), make("mark", {}, text.slice(at, at + found.length)), text.slice(at + found.length)];
}

function row(item, flat) {
  const base = { role: "row", tabindex: "-1", "aria-level": item.depth + 1 };
  const element = item.leaf ? leafRow(item, base, flat) : moduleRow(item, base);
  element.style.setProperty("--depth", flat ? 0 : item.depth);
  element.item = item;
  return element;
}

function moduleRow(item, base) {
  const name = make("span", { class: "name", role: "gridcell" }, item.name);
  if (item.fold) name.append(" ", make("span", { class: "times" }, `×${item.fold}`));
  if (!item.each) {
    const inside = tensors(item.plain);
    name.append(" ", make("span", { class: "cls" }, `${item.cls}, ${inside.toLocaleString("en")} tensor${inside === 1 ? "" : "s"}`));
  }
  return make("div", { ...base, class: "row module", "aria-expanded": String(item.open) }, name);
}

function leafRow(item, base, flat) {
  const [name, kind, times = 1, promise = 0, found = 0, , others = []] = item.leaf;
  const [shape, dtype, state, effect, made, what, cameTo] = kinds[kind];
  const cell = (cls, ...inside) => make("span", { class: cls, role: "gridcell" }, ...inside);
  const nameCell = cell("name", ...marked(flat ? item.path : `.${name}`));
  if (times > 1) nameCell.append(" ", make("span", { class: "times" }, `×${times}`));
  if (what !== "parameter") nameCell.append(" ", make("small", {}, what));
  if (others.length) nameCell.append(make("small", { class: "from" }, `= ${others.join(" = ")}`));
  const ruleCell = cell("rule", state === "set" || state === "partial" ? "" : make("span", { class: "status" }, state), " ", effect && state !== "default" && state !== "kept" ? effect : "");
  if (state === "partial") ruleCell.prepend(make("span", { class: "status" }, state), " ");
  if (cameTo && times === 1) ruleCell.append(make("small", { class: "from" }, cameTo));
  for (const number of made) {
    const [text, place, anchor] = rules[number];
    ruleCell.append(make("a", { class: "from", href: `#${anchor}`, title: text, tabindex: "-1" }, place));
  }
  const promised = cell("expected", make("span", { class: "label" }, "expected "));
  if (promise) {
    promised.append(line(`mean ${range(promise[0], promise[1])}`), line(`std ${range(promise[2], promise[3])}`));
    if (promise[2] !== 0 && typeof promise[4] !== "string") promised.append(line(`in [${number(promise[4])}, ${number(promise[5])}]`));
  } else promised.append(make("span", { class: "soft", title: "the rules alone don't tell" }, "–"));
  const measured = cell("measured", make("span", { class: "label" }, "measured "));
  if (found) {
    if (found[0] === "nan") measured.append(line("no finite values"));
    else measured.append(line(`mean ${number(found[0])}`), line(`std ${range(found[1], found[2])}`), line(`in [${number(found[3])}, ${number(found[4])}]`));
    if (found[5]) measured.append(make("span", { class: "line bad" }, `${found[5].toLocaleString("en")} not finite`));
  } else measured.append(make("span", { class: "soft", title: done ? "it has no memory here" : "a plan fills nothing" }, "–"));
  const drawing = histogram(item.leaf);
  return make("div", { ...base, class: `row leaf ${state}` }, nameCell, cell("shape", shape, " ", make("small", {}, dtype)), ruleCell, promised, measured, cell("drawing", ...(drawing ? [drawing] : [])));
}

// ---- what is shown: the open part of the tree, or what a search finds

const words = () => search.value.toLowerCase().split(/\s+/).filter(Boolean);
const chosen = () => [...document.querySelectorAll("#filters input:checked")].map((box) => box.value);

function visible() {
  const list = [];
  const stack = [root];
  while (stack.length) {
    const item = stack.pop();
    list.push(item);
    if (item.leaf || !item.open) continue;
    const kids = below(item);
    for (let i = kids.length - 1; i >= 0; i--) stack.push(kids[i]);
  }
  return list;
}

function haystack(item) {
  if (item.text === undefined) {
    const [, kind, , , , , others = []] = item.leaf;
    const [shape, dtype, , effect, made] = kinds[kind];
    const dotted = item.path.replace(/^net\.?/, "").replace(/\[(\d+)\]/g, ".$1").replace(/^\./, "");
    item.text = [item.path, dotted, item.parent.cls ?? "", shape, dtype, effect, ...others, ...made.map((n) => rules[n].slice(0, 2).join(" "))].join(" ").toLowerCase();
  }
  return item.text;
}

/** Folded tensors that match; where a number is asked for that only one layer has, the layers one by one. */
function matches(wanted, states) {
  const list = [];
  const stack = [root];
  const fits = (item) => (!states.length || states.includes(status(item.leaf))) && wanted.every((word) => haystack(item).includes(word));
  while (stack.length) {
    const item = stack.pop();
    if (item.leaf) {
      if (fits(item)) list.push(item);
      continue;
    }
    if (item.each) continue;
    const kids = below(item);
    if (item.fold) {
      const folded = leaves(item).filter(fits);
      if (folded.length || !wanted.some((word) => /\d/.test(word))) list.push(...folded);
      else for (const member of kids.at(-1).kids.toReversed()) stack.push(member);
      continue;
    }
    for (let i = kids.length - 1; i >= 0; i--) stack.push(kids[i]);
  }
  return list;
}

function leaves(node) {
  if (node.all) return node.all;
  node.all = [];
  for (const kid of below(node)) {
    if (kid.leaf) node.all.push(kid);
    else if (!kid.each) node.all.push(...leaves(kid));
  }
  return node.all;
}

let rows = [];
let current = null;
let limit = MOST;

function draw(keep) {
  const wanted = words();
  const states = chosen();
  const flat = wanted.length > 0 || states.length > 0;
  rows = flat ? matches(wanted, states) : visible();
  const shown = rows.slice(0, limit).map((item) => row(item, flat));
  if (rows.length > limit) {
    const more = make("button", { type: "button" }, `show ${Math.min(MOST, rows.length - limit).toLocaleString("en")} more of ${rows.length.toLocaleString("en")}`);
    more.addEventListener("click", () => { limit += MOST; draw(rows[limit - MOST]); });
    shown.push(more);
  }
  treeElement.replaceChildren(...shown);
  const found = rows.reduce((sum, item) => sum + (item.leaf?.[2] ?? 1), 0);
  count.textContent = flat ? `${found.toLocaleString("en")} tensor${found === 1 ? "" : "s"} found` : "";
  const place = keep ? rows.indexOf(keep) : -1;
  select(treeElement.children[place >= 0 ? place : 0], place >= 0);
}

function select(element, focus) {
  if (!element?.item) return;
  if (current) {
    current.tabIndex = -1;
    for (const link of current.querySelectorAll("a")) link.tabIndex = -1;
  }
  current = element;
  current.tabIndex = 0;
  for (const link of current.querySelectorAll("a")) link.tabIndex = 0;
  if (focus) current.focus();
}

function toggle(item, open) {
  item.open = open;
  draw(item);
}

treeElement.addEventListener("click", (event) => {
  const element = event.target.closest(".row");
  if (!element || event.target.closest("a")) return;
  if (getSelection()?.toString()) return;
  if (element.item.leaf) select(element, true);
  else toggle(element.item, !element.item.open);
});

treeElement.addEventListener("keydown", (event) => {
  const element = event.target.closest(".row");
  if (!element || event.target.closest("a") || event.ctrlKey || event.metaKey || event.altKey) return;
  const { item } = element;
  const all = treeElement.children;
  const flat = words().length || chosen().length;
  const go = (to) => select(to, true);
  switch (event.key) {
    case "ArrowDown": if (element.nextElementSibling?.item) go(element.nextElementSibling); else element.nextElementSibling?.focus(); break;
    case "ArrowUp": go(element.previousElementSibling); break;
    case "Home": go(all[0]); break;
    case "End": go([...all].filter((e) => e.item).at(-1)); break;
    case "ArrowRight":
      if (!item.leaf && !item.open) toggle(item, true);
      else if (!item.leaf) go(element.nextElementSibling);
      break;
    case "ArrowLeft":
      if (!item.leaf && item.open) toggle(item, false);
      else if (item.parent && !flat) go([...all].find((e) => e.item === item.parent));
      break;
    case "Enter": case " ":
      if (!item.leaf) toggle(item, !item.open);
      else if (event.key === "Enter") element.querySelector("a")?.click();
      break;
    default: return;
  }
  event.preventDefault();
});

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName ?? "");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "Escape" && (search.value || chosen().length)) {
    search.value = "";
    for (const box of document.querySelectorAll("#filters input")) box.checked = false;
    limit = MOST;
    draw();
  }
});

let waiting;
search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { limit = MOST; draw(); }, 60);
});
search.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "Enter") { event.preventDefault(); clearTimeout(waiting); draw(); select(treeElement.children[0], true); }
});

// ---- filters: the states there are

{
  const states = {};
  const stack = [data.tree];
  while (stack.length) {
    const node = stack.pop();
    for (const leaf of node.p ?? []) states[status(leaf)] = (states[status(leaf)] ?? 0) + (leaf[2] ?? 1);
    for (const child of node.k ?? []) stack.push(child);
  }
  const filters = document.getElementById("filters");
  for (const state of ["uncovered", "partial", "set", "default", "kept"]) {
    if (!states[state]) continue;
    const box = make("input", { type: "checkbox", value: state });
    box.addEventListener("change", () => { limit = MOST; draw(); });
    filters.append(make("label", { class: "chip" }, box, `${state} ${states[state].toLocaleString("en")}`));
  }
}

const OPEN_AT_MOST = 5000;
document.getElementById("open").addEventListener("click", () => {
  let opened = 0;
  const queue = [root];
  for (const item of queue) {
    if (item.leaf || item.each || opened > OPEN_AT_MOST) continue;
    item.open = true;
    opened += 1;
    queue.push(...below(item));
  }
  draw();
});
document.getElementById("shut").addEventListener("click", () => {
  const stack = [root];
  while (stack.length) {
    const item = stack.pop();
    if (item.leaf) continue;
    item.open = item === root;
    stack.push(...(item.kids ?? []));
  }
  draw();
});

// a small network is shown whole
for (const queue = [root]; queue.length;) {
  const item = queue.shift();
  if (item.leaf || item.each) continue;
  item.open = true;
  queue.push(...below(item));
  if (visible().length + queue.length > 60) break;
}
draw();
