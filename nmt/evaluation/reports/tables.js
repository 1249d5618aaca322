/* Data of the report, and tables of it. */

const { report, systems } = data;
const METRICS = { bleu: "BLEU", spbleu: "spBLEU", spbleu_flores101: "spBLEU-101", chrf: "chrF",
                  chrf_plus_plus: "chrF++", ter: "TER", comet: "COMET" };
const SIGNIFICANCE_LEVEL = 0.05, ROWS_PER_CLICK = 50;
const state = { set: Object.keys(report.test_sets)[0], metric: $("metric").value, curve: "loss",
                rows: ROWS_PER_CLICK };
/* The report of the selected test set, and what the page shows in addition to it. */
const setReport = () => report.test_sets[state.set];
const setData = () => data.sets[state.set];

/* -- elements ------------------------------------------------------------------------------------ */

/* Append text of a language; a bdi element follows the direction of its script. */
function makeText(text, parent, language, className) {
  const element = make("bdi", text, parent, className);
  element.lang = language;
  return element;
}

function makeDetails(title, parent) {
  const details = make("details", undefined, parent);
  make("summary", title, details);
  return details;
}

const colour = name => `var(--s${systems.indexOf(name) % 6 + 1})`;
const partition = (list, test) => [list.filter(test), list.filter(item => !test(item))];
const percent = share => `${(100 * share).toFixed(1)}%`;
const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const signed = value => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(1);

/* Append a row with a system, a bar of length `share`, and numbers. */
function makeBarRow(table, name, share, ...numbers) {
  const row = make("tr", undefined, table);
  make("td", name, row).dir = "auto";
  const track = make("span", undefined, make("td", undefined, row), "track");
  track.style.color = colour(name);
  make("span", undefined, track).style.width = percent(share);
  numbers.forEach(text => make("td", text, row, "number"));
}

/* -- tables -------------------------------------------------------------------------------------- */

const compare = (x, y) => typeof x === "string" ? x.localeCompare(y) : x - y;

/* Return rows sorted by a column; rows without a value come last. */
function sortRows(rows, { value }, isDescending) {
  const [present, missing] = partition(rows, row => value(row) !== null);
  const sign = isDescending ? -1 : 1;
  return [...present.sort((a, b) => compare(value(a), value(b)) * sign), ...missing];
}

/* Make a table that is sorted by clicks on its header.

   Columns are {title, text, isDescending, value(row), show(row, cell)}. `fill(body, column,
   isDescending)` writes the rows. `sortColumn` is the index of the first column to sort by. */
function makeSortableTable(box, columns, sortColumn, isDescending, fill) {
  box.replaceChildren();
  const table = make("table", undefined, box, "figures");
  const header = make("tr", undefined, make("thead", undefined, table));
  const body = make("tbody", undefined, table);
  const refresh = () => {
    [...header.children].forEach((th, i) => {
      th.ariaSort = i !== sortColumn ? "none" : isDescending ? "descending" : "ascending";
    });
    body.replaceChildren();
    fill(body, columns[sortColumn], isDescending);
  };
  columns.forEach((column, i) => {
    const th = make("th", undefined, header, column.text ? "text" : "");
    th.scope = "col";
    make("button", column.title, th).onclick = () => {
      isDescending = i === sortColumn ? !isDescending : Boolean(column.isDescending);
      sortColumn = i;
      refresh();
    };
  });
  refresh();
  return { table, refresh };
}

/* Append a row to a sortable table. */
function makeRow(row, columns, parent) {
  const tr = make("tr", undefined, parent);
  columns.forEach(column => column.show(row, make("td", undefined, tr, column.text ? "text" : "")));
  return tr;
}

/* Append a table of texts; the first column is aligned to the start. */
function makeTextTable(parent, titles, rows) {
  const table = make("table", undefined, make("div", undefined, parent, "scroll"), "figures");
  const header = make("tr", undefined, make("thead", undefined, table));
  titles.forEach((title, i) => make("th", title, header, i ? "" : "text"));
  const body = make("tbody", undefined, table);
  rows.forEach(row => {
    const tr = make("tr", undefined, body);
    row.forEach((text, i) => make("td", text, tr, i ? "" : "text"));
  });
}

/* Append a heat map of attention: source words across, target words down, weights in percent. */
function makeHeatMap(box, { source, target, weights }) {
  const table = make("table", undefined, box, "heat");
  table.ariaLabel = "attention";
  const header = make("tr", undefined, make("thead", undefined, table));
  make("td", undefined, header).style.border = "0";
  source.forEach(word => make("span", displayPiece(word), make("th", undefined, header)));
  const body = make("tbody", undefined, table);
  weights.forEach((row, t) => {
    const tr = make("tr", undefined, body);
    make("th", displayPiece(target[t]), tr);
    row.forEach((weight, s) => {
      const td = make("td", undefined, tr);
      if (weight) td.style.background = `rgba(var(--heat), ${Math.min(1, weight / 100)})`;
      td.title = `${displayPiece(target[t])} \u2190 ${displayPiece(source[s])}: ${(weight / 100).toFixed(2)}`;
    });
  });
}
