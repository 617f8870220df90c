// The tree of a page: modules that open, rows, search, filters and keys. What a row shows is the page's own:
// `leafRow`, `searched`, `STATES`, and at which place of a kind its state stands, `STATE`.

const MOST = 300; // rows at a time; more on request
const { kinds } = data;
const treeElement = document.getElementById("tree");
const search = document.getElementById("search");
const count = document.getElementById("count");
const status = (leaf) => kinds[leaf[1]][STATE];

// ---- the tree as objects: every node knows its depth, path and parent

function prepare(plain, path, depth, parent) {
  const node = { plain, name: plain.n, cls: plain.c, path, depth, parent, open: depth < 1, kids: null, all: null };
  node.fold = plain.f ? plain.f.length : 0;
  return node;
}
const root = prepare(data.tree, data.tree.n, 0, null);

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
    const dotted = item.path.replace(/^net\.?/, "").replace(/\[(\d+)\]/g, ".$1").replace(/^\./, "");
    item.text = [item.path, dotted, item.parent.cls ?? "", ...searched(item.leaf)].join(" ").toLowerCase();
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
  for (const state of STATES) {
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
