/* Data of the page, and functions that create its elements. */

const $ = id => document.getElementById(id);
const data = JSON.parse($("data").textContent);

/* Append a new element to `parent`. */
function make(tag, text, parent, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  if (parent) parent.append(element);
  return element;
}

/* Remove the children of an element and return it. */
function clear(id) {
  $(id).replaceChildren();
  return $(id);
}

/* Replace the options of a select element by [value, text] pairs. */
function setOptions(select, options) {
  select.replaceChildren();
  options.forEach(([value, text]) => { make("option", text, select).value = value; });
}

const displayPiece = word => word.replaceAll("\u2581", " ").trim() || "\u2423";
