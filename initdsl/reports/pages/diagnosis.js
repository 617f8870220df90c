const value = (x) => (typeof x === "number" ? x : typeof x === "string" ? Number(x.replace("inf", "Infinity")) : NaN);

// ---- charts: what changes along the repeated layers

const CHARTS = [
  ["std of activations", "std", true],
  ["std of gradients", "grad_std", true],
  ["mean cosine between samples", "similarity", false],
  ["update over weight", "update_ratio", true],
];
const [W, H, LEFT, RIGHT, TOP, BOTTOM] = [420, 210, 56, 10, 10, 34];

function along(one, field) {
  if (field === "update_ratio") return one.layers.filter((layer) => layer.update_ratio !== null);
  if (!one.trunk) return one.layers;
  const names = new Set(one.trunk.layers);
  return one.layers.filter((layer) => names.has(layer.name));
}

function ticks(low, high, logarithmic) {
  if (logarithmic) {
    const step = Math.max(1, Math.ceil((high - low) / 5));
    const found = [];
    for (let p = Math.ceil(low - 1e-9); p <= high + 1e-9; p += step) found.push([p, p >= -2 && p <= 3 ? String(Number((10 ** p).toPrecision(1))) : `1e${p}`.replace("-", "−")]);
    return found.length > 1 ? found : [low, high].map((p) => [p, number(Number((10 ** p).toPrecision(2)))]);
  }
  return [0, 1, 2, 3, 4].map((i) => low + ((high - low) * i) / 4).map((y) => [y, number(Number(y.toPrecision(2)))]);
}

function chart([title, field, logarithmic]) {
  const series = data.map((one) => along(one, field).map((layer, i) => ({ x: i, y: value(layer[field]), name: layer.name }))
    .filter((point) => Number.isFinite(point.y) && (!logarithmic || point.y > 0)));
  const all = series.flat();
  if (all.length < 2) return null;
  const scale = (y) => (logarithmic ? Math.log10(y) : y);
  let [low, high] = [Math.min(...all.map((p) => scale(p.y))), Math.max(...all.map((p) => scale(p.y)))];
  const least = logarithmic ? 1 : 0.2; // less than that is noise, and is shown flat
  if (high - low < least) [low, high] = [(low + high - least) / 2, (low + high + least) / 2];
  const most = Math.max(1, ...all.map((p) => p.x));
  const px = (x) => LEFT + ((W - LEFT - RIGHT) * x) / most;
  const py = (y) => TOP + (H - TOP - BOTTOM) * (1 - (scale(y) - low) / (high - low));
  const svg = make("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title}: ${series.map((s) => s.length ? `from ${number(s[0].y)} to ${number(s.at(-1).y)}` : "nothing").join("; ")}` });
  for (const [y, text] of ticks(low, high, logarithmic)) {
    const at = TOP + (H - TOP - BOTTOM) * (1 - (y - low) / (high - low));
    svg.append(make("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: at, y2: at }), make("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, text));
  }
  series.forEach((points, n) => {
    if (points.length && field !== "update_ratio") svg.append(make("polyline", { class: `s${n}`, points: points.map((p) => `${px(p.x).toFixed(1)},${py(p.y).toFixed(1)}`).join(" ") }));
    if (points.length <= 200 || field === "update_ratio") for (const p of points) svg.append(make("circle", { class: `p${n}`, cx: px(p.x).toFixed(1), cy: py(p.y).toFixed(1), r: 2.5 }, make("title", {}, `${p.name}: ${number(p.y)}`)));
  });
  const first = along(data[0], field);
  svg.append(make("text", { x: LEFT, y: H - 10 }, first[0].name.slice(0, 28)), make("text", { x: W - RIGHT, y: H - 10, "text-anchor": "end" }, first.at(-1).name.slice(-28)));
  return make("figure", {}, make("figcaption", {}, title), svg);
}
document.getElementById("charts").append(...CHARTS.map(chart).filter(Boolean));

// ---- the table

const percent = (x) => (x === null ? "" : `${Math.round(x * 100)} %`);
const plain = (x) => (x === null || x === "nan" ? "" : number(typeof x === "number" ? Number(x.toPrecision(3)) : x));
const COLUMNS = [
  ["mean", (l) => plain(l.mean)], ["std", (l) => plain(l.std), (l) => l.nonfinite > 0],
  ["grad mean", (l) => plain(l.grad_mean)], ["grad std", (l) => plain(l.grad_std), (l) => l.grad_nonfinite > 0],
  ["dead", (l) => percent(l.dead), (l) => l.dead > 0.25], ["saturated", (l) => percent(l.saturated), (l) => l.saturated > 0.5],
  ["cosine", (l) => plain(l.similarity), (l) => l.similarity > 0.95], ["rank", (l) => (l.rank === null ? "" : `${plain(l.rank)}/${l.rows}`)],
  ["alike", (l) => (l.symmetric === null ? "" : l.symmetric ? `${l.symmetric}/${l.units}` : "0"), (l) => l.symmetric > 0],
  ["update", (l) => plain(l.update_ratio), (l) => l.update_ratio > 0.3],
];
const search = document.getElementById("search");
const leaves = document.getElementById("leaves");
const table = document.getElementById("layers");
const MOST = 500;

function draw() {
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const trunk = new Set(data[0].trunk?.layers ?? []);
  const some = trunk.size && !leaves.checked && !wanted.length;
  const fits = (layer) => (some ? trunk.has(layer.name) : wanted.every((word) => `${layer.name} ${layer.class}`.toLowerCase().includes(word)));
  const others = data.slice(1).map((one) => new Map(one.layers.map((layer) => [layer.name, layer])));
  const found = data[0].layers.filter(fits);
  const head = make("tr", {}, ...["layer", "class", "shape"].map((name) => make("th", { scope: "col" }, name)),
    ...COLUMNS.flatMap(([name]) => data.map((_, n) => make("th", { scope: "col", class: data.length > 1 ? `key${n}` : null }, data.length > 1 ? `${name} ${"AB"[n]}` : name))));
  const rows = found.slice(0, MOST).map((layer) => {
    const both = [layer, ...others.map((map) => map.get(layer.name))];
    return make("tr", {}, make("th", { scope: "row", class: "mono" }, layer.name), make("td", {}, layer.class), make("td", {}, layer.shape.join("×")),
      ...COLUMNS.flatMap(([, show, bad]) => both.map((l) => make("td", { class: l && bad?.(l) ? "bad" : null }, l ? show(l) : ""))));
  });
  table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  document.getElementById("count").textContent = `${found.length} of ${data[0].layers.length} layers${found.length > MOST ? `, the first ${MOST} shown` : ""}${some ? `; the ${data[0].trunk.class} row by row` : ""}`;
}
search.addEventListener("input", draw);
leaves.addEventListener("change", draw);
document.addEventListener("keydown", (event) => {
  const typing = event.target.tagName === "INPUT" && event.target.type === "search";
  if (event.key === "/" && !typing) { event.preventDefault(); search.focus(); }
  else if (event.key === "Escape" && search.value) { search.value = ""; draw(); }
});
draw();
