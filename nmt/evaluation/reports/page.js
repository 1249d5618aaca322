/* Sections of the page, and their reactions to input. */

/* -- header -------------------------------------------------------------------------------------- */

function fillHeader() {
  $("made").textContent = `nmt ${report.nmt}${report.commit ? `, commit ${report.commit}` : ""}`;
  systems.forEach(name => {
    const info = report.systems[name], item = make("li", undefined, $("systems"));
    makeLegendKey(item, name);
    make("strong", name, item).dir = "auto";
    const origin = [`${info.kind} ${info.path}`, info.checkpoint, info.engine && `by ${info.engine}`];
    make("span", ` ${origin.filter(Boolean).join(", ")}`, item, "faint").style.overflowWrap = "anywhere";
    const settings = Object.entries(info.decode ?? {}).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
    if (settings.length) make("pre", settings.join("\n"), makeDetails("decode settings", item));
  });
  const setNames = Object.keys(report.test_sets);
  setOptions($("set"), setNames.map(name => [name, name]));
  $("set").parentElement.hidden = setNames.length < 2;
  const setWarnings = setNames.flatMap(name => report.test_sets[name].cautions.map(text => `${name}: ${text}`));
  [...setWarnings, ...report.cautions].forEach(text => make("li", text, $("beware").lastChild));
  $("beware").hidden = !$("beware").lastChild.children.length;
  systems.forEach(name => {
    const entry = make("span", undefined, $("legend"));
    makeLegendKey(entry, name);
    make("span", name, entry).dir = "auto";
  });
  $("legend").hidden = systems.length < 2;
}

/* -- scores -------------------------------------------------------------------------------------- */

/* Return the columns of the scores table that have a value for at least one system. */
function scoreColumns() {
  const system = name => setReport().systems[name];
  const nameColumn = { title: "system", text: true, value: name => systems.indexOf(name), show: (name, td) => {
    makeLegendKey(td, name);
    make("bdi", name, td);
  } };
  const numberColumn = (title, value, digits, isDescending) => ({ title, value, isDescending, show: (name, td) => {
    td.textContent = value(name)?.toFixed(digits) ?? "";
  } });
  const metricColumn = metric => {
    const digits = metric === "comet" ? 4 : 2;
    const column = numberColumn(METRICS[metric], name => system(name).scores[metric], digits, metric !== "ter");
    return { ...column, show: (name, td) => {
      column.show(name, td);
      make("small", ` \u00b1 ${system(name).intervals[metric].half.toFixed(digits)}`, td);
    } };
  };
  const selected = Object.keys(METRICS).filter(metric => [...report.metrics, "comet"].includes(metric));
  const columns = [...selected.map(metricColumn),
                   numberColumn("BP", name => system(name).scores.brevity_penalty, 3),
                   numberColumn("ratio", name => system(name).scores.length_ratio, 3),
                   numberColumn("seconds", name => system(name).seconds, 1),
                   numberColumn("words/s", name => system(name).words_per_second, 0, true)];
  return [nameColumn, ...columns.filter(({ value }) => systems.some(name => value(name) !== null))];
}

function makeComparison(box, { says, difference, p_randomisation, p_bootstrap }) {
  const item = make("p", undefined, box);
  const isSignificant = difference !== 0 && Math.max(p_randomisation, p_bootstrap) < SIGNIFICANCE_LEVEL;
  make("span", isSignificant ? "significant" : "may be chance", item, isSignificant ? "tag sure" : "tag");
  make("bdi", says, item);
  item.title = `approximate randomisation p = ${p_randomisation.toFixed(4)}, bootstrap p = ${p_bootstrap.toFixed(4)}`;
}

/* Fill in the comparisons by the selected metric, and fold those by other metrics. */
function fillComparisons() {
  const box = clear("comparisons");
  const [selected, others] = partition(setReport().comparisons, ({ metric }) => metric === state.metric);
  selected.forEach(comparison => makeComparison(box, comparison));
  if (!others.length) return;
  const details = makeDetails("by other metrics", box);
  others.forEach(comparison => makeComparison(details, comparison));
}

function fillScores() {
  const { lines, references, src_lang, tgt_lang } = setReport();
  const languages = [src_lang, tgt_lang].filter(Boolean).join(" \u2192 ");
  $("about").textContent = [count(lines, "line"), languages, count(references, "reference")]
    .filter(Boolean).join(", ");
  const columns = scoreColumns();
  makeSortableTable($("table"), columns, 0, false, (body, column, isDescending) =>
    sortRows(systems, column, isDescending).forEach(name => makeRow(name, columns, body)));
  const signatures = systems.flatMap(name => Object.entries(setReport().systems[name].scores.signatures));
  $("signatures").textContent = [...new Set(signatures.map(([metric, text]) => `${metric}: ${text}`))].join("\n");
}

/* -- checks, copies and tokens ------------------------------------------------------------------- */

const flaggedLines = (name, check) => setReport().systems[name].suspicions[check];

/* Return [check, systems] with the systems that were checked; most flagged lines first. */
function rankChecks() {
  const checks = [...new Set(systems.flatMap(name => Object.keys(setReport().systems[name].suspicions)))];
  const largestCount = ([check, [worst]]) => flaggedLines(worst, check).count;
  return checks.map(check => [check, systems.filter(name => flaggedLines(name, check))
    .sort((a, b) => flaggedLines(b, check).count - flaggedLines(a, check).count)])
    .sort((a, b) => largestCount(b) - largestCount(a));
}

/* Append a card with the flagged lines of a check; `names` are its systems, worst first. */
function makeCheckCard(check, names) {
  const card = make("div", undefined, $("kinds"), "card");
  const button = make("button", check, make("h3", undefined, card));
  const { says, share: largestShare } = flaggedLines(names[0], check);
  button.title = `${says}\nclick for examples`;
  button.onclick = () => {
    resetFilters(check);
    fillExamples();
    $("lines").scrollIntoView();
  };
  const table = make("table", undefined, card);
  const details = makeDetails("definition and lines", card);
  make("p", says, details, "faint");
  const [flagged, clean] = partition(names, name => flaggedLines(name, check).count);
  if (clean.length) card.insertBefore(make("small", `on no line of ${clean.join(", ")}`), details);
  flagged.forEach(name => {
    const { share, lines } = flaggedLines(name, check);
    makeBarRow(table, name, share / largestShare, lines.length.toLocaleString("en"), percent(share));
    make("p", `${name}: ${lines.join(", ")}`, details, "faint");
  });
}

function fillChecks() {
  clear("kinds");
  const [failed, passed] = partition(rankChecks(), ([check, [worst]]) => flaggedLines(worst, check).count);
  failed.forEach(([check, names]) => makeCheckCard(check, names));
  $("clean").textContent = passed.length ? `On no line: ${passed.map(([check]) => check).join(", ")}.` : "";
}

function fillCopies() {
  const box = clear("copies"), { copies } = setReport().systems[systems[0]];
  const kinds = Object.keys(copies).filter(kind => copies[kind].expected);
  if (!kinds.length) return;
  const card = make("div", undefined, box, "card");
  make("h3", "Items copied from the source, lowest accuracy first", card);
  kinds.forEach(kind => {
    make("small", kind, card);
    const table = make("table", undefined, card);
    const copiesOf = name => setReport().systems[name].copies[kind];
    [...systems].sort((a, b) => copiesOf(a).accuracy - copiesOf(b).accuracy).forEach(name => {
      const { expected, found, accuracy } = copiesOf(name);
      makeBarRow(table, name, accuracy, `${found} of ${expected}`, percent(accuracy));
    });
  });
}

function fillTokens() {
  const box = clear("tokens"), runs = systems.filter(name => setReport().systems[name].subwords);
  if (!runs.length) return;
  const card = make("div", undefined, box, "card");
  make("h3", "Tokens", card);
  makeTextTable(card, ["", "source tokens/word", "target tokens/word", "bytes", "unknown"], runs.map(name => {
    const counts = setReport().systems[name].subwords;
    return [name, counts.src_tokens_a_word.toFixed(2), counts.tgt_tokens_a_word.toFixed(2),
            counts.byte_tokens, counts.unknown_tokens];
  }));
}

/* -- differences between reference and hypothesis -------------------------------------------------- */

/* A word: one character in a script without spaces, letters and digits, or a symbol. */
const UNSPACED = "[\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}]";
const WORD = new RegExp(
  `${UNSPACED}\\p{M}*|(?:(?!${UNSPACED})[\\p{L}\\p{M}\\p{N}\\u200c\\u200d])+|\\S(?:\\p{M}|\\u200d\\S)*`, "gu");

/* Return the words of a text, each with the white space before it. */
function splitWords(text) {
  let end = 0;
  return [...text.matchAll(WORD)].map(match => {
    const gap = text.slice(end, match.index);
    end = match.index + match[0].length;
    return { gap, word: match[0] };
  });
}

/* Align words by a longest common subsequence.

   Returns its length and steps [kind, word]; the kind is both, del (reference) or ins (hypothesis). */
function alignWords(reference, hypothesis) {
  const lengths = Array.from({ length: reference.length + 1 }, () => new Uint16Array(hypothesis.length + 1));
  for (let r = reference.length - 1; r >= 0; r--)
    for (let h = hypothesis.length - 1; h >= 0; h--)
      lengths[r][h] = reference[r].word === hypothesis[h].word
        ? lengths[r + 1][h + 1] + 1 : Math.max(lengths[r + 1][h], lengths[r][h + 1]);
  const steps = [];
  for (let r = 0, h = 0; r < reference.length || h < hypothesis.length;) {
    if (r < reference.length && h < hypothesis.length && reference[r].word === hypothesis[h].word) {
      steps.push(["both", hypothesis[h++]]);
      r++;
    } else if (h === hypothesis.length || (r < reference.length && lengths[r + 1][h] >= lengths[r][h + 1]))
      steps.push(["del", reference[r++]]);
    else steps.push(["ins", hypothesis[h++]]);
  }
  return { steps, commonLength: lengths[0][0] };
}

/* Append a hypothesis with its differences from the most similar reference; return that one's index. */
function makeDifference(parent, references, hypothesis, language) {
  const alignments = references.map(reference => alignWords(splitWords(reference), splitWords(hypothesis)));
  const nearest = alignments.reduce(
    (best, { commonLength }, i) => commonLength > alignments[best].commonLength ? i : best, 0);
  const box = makeText(undefined, parent, language, "said");
  let lastKind = "";
  alignments[nearest].steps.forEach(([kind, { gap, word }]) => {
    if (kind === lastKind) box.lastChild.textContent += gap + word;
    else {
      box.append(gap);
      box.append(kind === "both" ? word : make(kind, word));
    }
    lastKind = kind;
  });
  if (!hypothesis.trim()) make("small", " (empty)", box);
  return nearest;
}

/* -- examples ------------------------------------------------------------------------------------ */

const selectedList = () => setReport().examples[$("list").value];

/* Return the columns of the examples; the difference is that of the two systems of the list. */
function exampleColumns() {
  const numberColumn = (title, value, format, isDescending) => ({ title, value, isDescending, show: (row, td) => {
    td.textContent = format(value(row));
  } });
  const [first, second] = selectedList() ? selectedList().systems : systems;
  const side = setData().examples.some(row => row.source !== null) ? "source" : "reference";
  const language = side === "source" ? setReport().src_lang : setReport().tgt_lang;
  const text = row => row.source ?? row.references[0];
  const difference = row => row.chrf[second] - row.chrf[first];
  return [
    { title: "line", value: row => row.line, show: (row, td) => {
      make("button", row.line, td).ariaExpanded = "false";
    } },
    numberColumn(`${side} words`, row => row.words, String),
    ...systems.map(name => numberColumn(`chrF ${name}`, row => row.chrf[name], value => value.toFixed(1))),
    ...(second ? [numberColumn(`${second} \u2212 ${first}`, difference, signed, true)] : []),
    { title: side, text: true, value: text, show: (row, td) => makeText(text(row), td, language) },
  ];
}

const failsCheck = (row, check) => Object.values(row.suspicions).some(checks => checks.includes(check));
const normalizeText = text => text.normalize("NFKC").toLowerCase();

/* Return whether an example matches the selected list and check, and the search text. */
function matchesFilters(row) {
  const query = normalizeText($("search").value.trim()), check = $("kind").value, list = selectedList();
  const texts = [row.source ?? "", ...row.references, ...Object.values(row.hypotheses)];
  return (!list || list.examples.some(({ line }) => line === row.line))
    && (!check || failsCheck(row, check))
    && (!query || texts.some(text => normalizeText(text).includes(query)));
}

let refreshExamples = () => {};

/* Make the table of examples; the first sort column is the one before the text. */
function fillExamples() {
  const columns = exampleColumns();
  const fill = (body, column, isDescending) => {
    const rows = sortRows(setData().examples.filter(matchesFilters), column, isDescending);
    rows.slice(0, state.rows).forEach(row => makeExampleRow(body, row, columns));
    $("count").textContent = `${rows.length} of ${setData().examples.length} lines on this page; `
      + `the test set has ${setReport().lines.toLocaleString("en")}`;
    $("more").hidden = rows.length <= state.rows;
    document.querySelectorAll("#kinds button").forEach(button => {
      button.ariaPressed = String(button.textContent === $("kind").value);
    });
  };
  const { table, refresh } = makeSortableTable($("rows"), columns, columns.length - 2, false, fill);
  refreshExamples = refresh;
  table.id = "examples";
}

/* Append an example; a click unfolds its details. */
function makeExampleRow(body, row, columns) {
  const tr = makeRow(row, columns, body), button = tr.querySelector("button");
  tr.className = "row";
  let details = null;
  tr.onclick = () => {
    if (details) {
      details.remove();
      details = null;
    } else {
      details = make("tr");
      tr.after(details);
      const td = make("td", undefined, details, "detail");
      td.colSpan = columns.length;
      fillExampleDetails(make("div", undefined, td), row);
    }
    button.ariaExpanded = String(Boolean(details));
  };
}

/* Fill in the texts of an example, and the hypothesis and attention of each system. */
function fillExampleDetails(box, row) {
  const { src_lang, tgt_lang } = setReport();
  if (row.source !== null) {
    make("small", "source", box);
    makeText(row.source, box, src_lang, "said");
  }
  const hasSeveral = row.references.length > 1;
  row.references.forEach((text, i) => {
    make("small", hasSeveral ? `reference ${i + 1}` : "reference", box);
    makeText(text, box, tgt_lang, "said");
  });
  const columns = make("div", undefined, box, "columns");
  systems.forEach(name => {
    const part = make("div", undefined, columns), title = make("div", undefined, part);
    makeLegendKey(title, name);
    make("strong", name, title).dir = "auto";
    const score = make("small", ` ${row.chrf[name].toFixed(1)} chrF `, title);
    row.suspicions[name].forEach(check => {
      make("span", check, title, "tag wrong").title = flaggedLines(name, check).says;
    });
    const nearest = makeDifference(part, row.references, row.hypotheses[name], tgt_lang);
    if (hasSeveral) score.append(`against reference ${nearest + 1} `);
    const attention = (setData().attention[name] || {})[row.line];
    if (attention) makeHeatMap(make("div", undefined, part, "scroll"), attention);
  });
}

/* -- input --------------------------------------------------------------------------------------- */

function applyFilters() {
  state.rows = ROWS_PER_CLICK;
  refreshExamples();
}

/* Select all examples, or those that fail `check`, and clear the search text. */
function resetFilters(check = "") {
  const withCount = (name, number) => `${name} (${number})`;
  const countFailures = name => setData().examples.filter(row => failsCheck(row, name)).length;
  setOptions($("kind"), [["", "any or none"],
                         ...rankChecks().map(([name]) => [name, withCount(name, countFailures(name))])]);
  setOptions($("list"), [["", "all"],
                         ...setReport().examples.map(({ title, examples }, i) =>
                           [i, withCount(title, examples.length)])]);
  $("kind").value = check;
  $("search").value = "";
  state.rows = ROWS_PER_CLICK;
}

function drawCharts() {
  drawIntervals();
  fillComparisons();
  drawBreakdowns();
}

function showTestSet(name) {
  state.set = name;
  fillScores();
  drawCharts();
  fillChecks();
  fillCopies();
  fillTokens();
  resetFilters();
  fillExamples();
}

$("set").onchange = event => showTestSet(event.target.value);
$("metric").onchange = event => { state.metric = event.target.value; drawCharts(); };
$("list").onchange = () => { state.rows = ROWS_PER_CLICK; fillExamples(); };
$("kind").onchange = applyFilters;
$("search").oninput = applyFilters;
$("more").onclick = () => { state.rows += ROWS_PER_CLICK; refreshExamples(); };
fillHeader();
showTestSet(state.set);
let width = innerWidth;
window.onresize = () => {
  if (width !== innerWidth) drawCharts();
  width = innerWidth;
};
