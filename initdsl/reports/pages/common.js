"use strict";
const data = JSON.parse(document.getElementById("data").textContent);

/** An element with attributes and children; text is always text. */
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "rect", "line", "polyline", "circle", "text", "g", "title"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A number as people read it: four digits, no needless zeros; the words for what is no number. */
function number(value) {
  if (typeof value === "string") return { inf: "∞", "-inf": "−∞", nan: "nan" }[value] ?? value;
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e-4 && size < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2).replace(/\.?0+e/, "e");
  return text.replaceAll("-", "−").replace("e+", "e");
}
