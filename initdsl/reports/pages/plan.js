// What a row of a plan's tree shows: rule, expected and measured. The tree itself is tree.js.

const { rules, done } = data;
const STATE = 2;
const STATES = ["uncovered", "partial", "set", "default", "kept"];

const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"; // the heights of bars

function range(low, high) {
  return low === high || typeof low === "string" ? number(low) : `${number(low)} … ${number(high)}`;
}

function line(text, title) {
  return make("span", { class: "line", title }, text);
}

/** The words of a row that a search looks at, its name aside. */
function searched(leaf) {
  const [, kind, , , , , others = []] = leaf;
  const [shape, dtype, , effect, made] = kinds[kind];
  return [shape, dtype, effect, ...others, ...made.map((n) => rules[n].slice(0, 2).join(" "))];
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
