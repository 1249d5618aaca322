/* Attention of an explanation as a heat map, and its decoding steps.

   `explanation` has the fields of `nmt explain --json`. `view` selects a layer, a head (-1 for the
   mean of all) and a decoding step, all counted from 0. */

const heat = weight => weight > 0.004 ? `rgba(var(--heat), ${Math.min(1, weight).toFixed(3)})` : "";

/* Return the indices of the selected heads. */
function selectedHeads(explanation, view) {
  return view.head < 0 ? explanation.weights[view.layer].map((_, i) => i) : [view.head];
}

/* Return target x source weights of one head or the mean of all, in pieces or merged to words. */
function attentionWeights(explanation, view, isMerged) {
  const { source, target } = explanation, heads = selectedHeads(explanation, view);
  const layer = explanation.weights[view.layer];
  const pieces = target.pieces.map((_, t) => source.pieces.map((_, j) =>
    heads.reduce((sum, head) => sum + layer[head][t][j], 0) / heads.length));
  if (!isMerged) return { matrix: pieces, source: source.pieces, target: target.pieces };
  const count = target.words.map((_, w) => target.word_of.filter(x => x === w).length);
  const matrix = target.words.map(() => source.words.map(() => 0));
  pieces.forEach((row, t) => row.forEach((weight, j) => {
    const w = target.word_of[t];
    matrix[w][source.word_of[j]] += weight / count[w];
  }));
  return { matrix, source: source.words, target: target.words };
}

/* Draw weights as a table with a row per target word; return its rows. */
function drawHeatMap({ matrix, source, target }) {
  const table = clear("grid");
  const head = make("tr", undefined, make("thead", undefined, table));
  make("td", "", head);
  source.forEach(word => {
    const header = make("th", undefined, head);
    header.scope = "col";
    make("span", word, header);
  });
  const body = make("tbody", undefined, table);
  return matrix.map((row, t) => {
    const line = make("tr", undefined, body);
    make("th", target[t], line).scope = "row";
    row.forEach((weight, j) => {
      const cell = make("td", undefined, line);
      cell.style.background = heat(weight);
      cell.title = `${target[t]} \u2190 ${source[j]}: ${weight.toFixed(3)}`;
    });
    return line;
  });
}

/* Draw the selected step: scores, softmax, context norm, most probable pieces and beam. */
function drawStep(explanation, view) {
  const t = view.step, { source, target } = explanation;
  $("where").textContent =
    `step ${t + 1} of ${target.pieces.length}: ${target.pieces[t]}  p ${Math.exp(explanation.log_probs[t]).toFixed(3)}`;
  $("back").disabled = t === 0;
  $("forward").disabled = t === target.pieces.length - 1;
  const heads = explanation.weights[view.layer].length;
  const meanOverHeads = field => source.pieces.map((_, j) => {
    const values = selectedHeads(explanation, view).map(head => explanation[field][view.layer][head][t][j]);
    return values.includes(null) ? null : values.reduce((a, b) => a + b, 0) / values.length;
  });
  const scores = meanOverHeads("scores"), softmax = meanOverHeads("softmax"), weights = meanOverHeads("weights");
  const hasGaussian = softmax.some((w, j) => w !== weights[j]);
  const table = clear("steps");
  const caption = make("tr", undefined, make("thead", undefined, table));
  const headTitle = view.head < 0 ? `mean of ${heads} heads` : `head ${view.head + 1}`;
  const titles = [heads > 1 ? headTitle : "", "score", "softmax", ...(hasGaussian ? ["gaussian", "weight"] : []), ""];
  titles.forEach(title => make(title ? "th" : "td", title, caption));
  const body = make("tbody", undefined, table);
  source.pieces.forEach((piece, j) => {
    const line = make("tr", undefined, body), score = scores[j];
    make("td", piece, line).dir = "auto";
    const soft = softmax[j], weight = weights[j];
    const cells = score === null ? ["outside", ""] : [score.toFixed(3), soft.toFixed(3)];
    if (hasGaussian) cells.push(...(score === null ? ["", ""] : [(soft ? weight / soft : 0).toFixed(3), weight.toFixed(3)]));
    cells.forEach(text => make("td", text, line));
    make("span", undefined, make("td", undefined, line), "bar").style.width = `${(10 * weight).toFixed(2)}rem`;
  });
  const sum = make("tr", undefined, body);
  ["sum", "", softmax.reduce((a, b) => a + b, 0).toFixed(3)].forEach(text => make(text ? "th" : "td", text, sum));
  const next = clear("next");
  make("p", `norm of the context vector ${explanation.context_norms[view.layer][t].toFixed(3)}`, next);
  make("p", "most probable next", next);
  const list = make("ul", undefined, next);
  explanation.top[t].forEach(([piece, p]) => make("li", `${piece}  ${p.toFixed(3)}`, list));
  if (t < explanation.beam.length) {
    make("p", "the beam, best first", next);
    const beam = make("ul", undefined, next);
    explanation.beam[t].forEach(({ pieces, log_prob, kept }) => {
      const text = `${log_prob.toFixed(3)}  ${pieces.join(" ")}${kept ? "" : "  (dropped)"}`;
      make("li", text, beam, kept ? "kept" : "dropped");
    });
  }
}

/* Return the step at a distance from the current one, within the explanation. */
function moveStep(explanation, view, offset) {
  return Math.min(explanation.target.pieces.length - 1, Math.max(0, view.step + offset));
}

/* Set the options of a select element, and hide its label if there is no choice. */
function setChoices(select, options) {
  setOptions(select, options);
  select.parentElement.hidden = options.length < 2;
}

/* Offer the layers and heads of an explanation, and select those of the view. */
function offerLayersAndHeads(explanation, view) {
  setChoices($("layer"), explanation.weights.map((_, i) => [i, i + 1]));
  $("layer").value = view.layer;
  const heads = explanation.weights[0].map((_, i) => [i, i + 1]);
  setChoices($("head"), heads.length > 1 ? [[-1, "mean"], ...heads] : heads);
  if (heads.length > 1) $("head").value = view.head;
}
