// What a row of a diff's tree shows: before and after. The tree itself is tree.js.

const { rules } = data;
const STATE = 1;
const STATES = [
  "drawn otherwise", "set otherwise", "covered now", "no longer covered", "of another shape or dtype",
  "made of what changes", "new", "gone", "drawn alike, with other values", "as before",
];

/** The words of a row that a search looks at, its name aside. */
function searched(leaf) {
  const [shape, state, before, after, , was, now] = kinds[leaf[1]];
  return [shape, state, before, after, ...[...was, ...now].map((n) => rules[n].slice(0, 2).join(" "))];
}

function links(numbers) {
  return numbers.map((number) => {
    const [text, place, anchor] = rules[number];
    return make("a", { class: "from", href: `#${anchor}`, title: text, tabindex: "-1" }, place);
  });
}

function leafRow(item, base, flat) {
  const [name, kind, times] = item.leaf;
  const [shape, state, before, after, ratio, was, now] = kinds[kind];
  const cell = (cls, ...inside) => make("span", { class: cls, role: "gridcell" }, ...inside);
  const nameCell = cell("name", ...marked(flat ? item.path : `.${name}`));
  if (times > 1) nameCell.append(" ", make("span", { class: "times" }, `×${times}`));
  const label = (text) => make("span", { class: "label" }, text);
  const same = state === "as before";
  const old = cell("expected", ...(same ? [] : [label("before "), before, ...links(was)]));
  const made = cell("measured", label("after "), after, ...links(now));
  if (!same) made.prepend(make("span", { class: "status" }, state), " ");
  const cls = same ? "same" : state === "gone" || state === "no longer covered" ? "changed lost" : "changed";
  return make("div", { ...base, class: `row leaf diff ${cls}` }, nameCell, cell("shape", shape), old, made, cell("ratio", ...(ratio ? [label("std "), ratio] : [])));
}
