/* Attention of the selected sentence as a heat map, and its decoding steps. */

const sentences = data;
const state = { sentence: 0, layer: 0, head: -1, step: 0, selected: null };

/* Return target x source weights of one head or the mean of all, in pieces or merged to words. */
function weights() {
  const s = sentences[state.sentence], heads = s.weights[state.layer];
  const selectedHeads = state.head < 0 ? heads : [heads[state.head]];
  const T = s.target.pieces.length, S = s.source.pieces.length;
  const pieces = Array.from({ length: T }, (_, t) => Array.from({ length: S }, (_, j) =>
    selectedHeads.reduce((sum, head) => sum + head[t][j], 0) / selectedHeads.length));
  if (!$("merge").checked) return { matrix: pieces, source: s.source.pieces, target: s.target.pieces };
  const count = s.target.words.map((_, w) => s.target.word_of.filter(x => x === w).length);
  const matrix = s.target.words.map(() => s.source.words.map(() => 0));
  pieces.forEach((row, t) => row.forEach((weight, j) => {
    const w = s.target.word_of[t];
    matrix[w][s.source.word_of[j]] += weight / count[w];
  }));
  return { matrix, source: s.source.words, target: s.target.words };
}

const heat = weight => weight > 0.004 ? `rgba(var(--heat), ${Math.min(1, weight).toFixed(3)})` : "";

function draw() {
  const { matrix, source, target } = weights();
  for (const [side, words] of [["source", source], ["target", target]]) {
    const box = clear(side);
    words.forEach((word, i) => {
      const token = make("span", displayPiece(word), box, "token");
      token.dataset.index = i;
      token.onpointerenter = () => highlight(side, i);
      token.onpointerleave = updateHighlight;
      token.onclick = () => {
        const isSelected = state.selected && state.selected[0] === side && state.selected[1] === i;
        state.selected = isSelected ? null : [side, i];
        updateHighlight();
      };
      box.append(" ");
    });
  }
  const table = clear("grid");
  const head = make("tr", undefined, make("thead", undefined, table));
  make("th", "", head);
  source.forEach(word => make("span", word, make("th", undefined, head)));
  const body = make("tbody", undefined, table);
  matrix.forEach((row, t) => {
    const line = make("tr", undefined, body);
    make("th", target[t], line);
    line.onpointerenter = () => highlight("target", t);
    line.onpointerleave = updateHighlight;
    row.forEach((weight, j) => {
      const cell = make("td", undefined, line);
      cell.style.background = heat(weight);
      cell.title = `${target[t]} \u2190 ${source[j]}: ${weight.toFixed(3)}`;
    });
  });
  $("gridview").hidden = $("view").value !== "grid";
  $("stepview").hidden = $("view").value !== "steps";
  drawStep();
  updateHighlight();
}

/* Highlight the attention of the selected word, or of the current step in the view of steps. */
function updateHighlight() {
  const { word_of } = sentences[state.sentence].target;
  const stepTarget = ["target", $("merge").checked ? word_of[state.step] : state.step];
  highlight(...($("view").value === "steps" ? stepTarget : state.selected || [null]));
}

/* Highlight the attention from a target word, or to a source word. */
function highlight(side, index) {
  const { matrix } = weights();
  const rows = document.querySelectorAll("#grid tbody tr");
  rows.forEach((row, t) => row.classList.toggle("chosen", side === "target" && t === index));
  for (const [shown, opposite] of [["source", "target"], ["target", "source"]]) {
    [...$(shown).querySelectorAll(".token")].forEach((token, i) => {
      token.classList.toggle("chosen", side === shown && i === index);
      const weight = side === opposite && i < (shown === "source" ? matrix[0].length : matrix.length)
        ? (shown === "source" ? matrix[index][i] : matrix[i][index]) : 0;
      token.style.background = heat(weight);
    });
  }
}

/* Draw one decoding step: scores, softmax, context norm, most probable pieces and beam. */
function drawStep() {
  const s = sentences[state.sentence], t = state.step, pieces = s.target.pieces;
  $("where").textContent = `step ${t + 1} of ${pieces.length}: ${pieces[t]}  p ${Math.exp(s.log_probs[t]).toFixed(3)}`;
  $("back").disabled = t === 0;
  $("forward").disabled = t === pieces.length - 1;
  const heads = s.weights[state.layer].length;
  const selectedHeads = state.head < 0 ? s.weights[state.layer].map((_, i) => i) : [state.head];
  const meanOverHeads = field => s.source.pieces.map((_, j) => {
    const values = selectedHeads.map(head => s[field][state.layer][head][t][j]);
    return values.includes(null) ? null : values.reduce((a, b) => a + b, 0) / selectedHeads.length;
  });
  const hasGaussian = meanOverHeads("softmax").some((w, j) => w !== meanOverHeads("weights")[j]);
  const table = clear("steps");
  const caption = make("tr", undefined, make("thead", undefined, table));
  const headTitle = state.head < 0 ? `mean of ${heads} heads` : `head ${state.head + 1}`;
  const titles = [heads > 1 ? headTitle : "", "score", "softmax", ...(hasGaussian ? ["gaussian", "weight"] : []), ""];
  titles.forEach(title => make("th", title, caption));
  const body = make("tbody", undefined, table);
  s.source.pieces.forEach((piece, j) => {
    const line = make("tr", undefined, body), score = meanOverHeads("scores")[j];
    make("td", piece, line).dir = "auto";
    const soft = meanOverHeads("softmax")[j], weight = meanOverHeads("weights")[j];
    const cells = score === null ? ["outside", ""] : [score.toFixed(3), soft.toFixed(3)];
    if (hasGaussian) cells.push(...(score === null ? ["", ""] : [(soft ? weight / soft : 0).toFixed(3), weight.toFixed(3)]));
    cells.forEach(text => make("td", text, line));
    make("span", undefined, make("td", undefined, line), "bar").style.width = `${(10 * weight).toFixed(2)}rem`;
  });
  const sum = make("tr", undefined, body);
  ["sum", "", meanOverHeads("softmax").reduce((a, b) => a + b, 0).toFixed(3)].forEach(text => make("th", text, sum));
  const next = clear("next");
  make("p", `norm of the context vector ${s.context_norms[state.layer][t].toFixed(3)}`, next);
  make("p", "most probable next", next);
  const list = make("ul", undefined, next);
  s.top[t].forEach(([piece, p]) => make("li", `${piece}  ${p.toFixed(3)}`, list));
  if (t < s.beam.length) {
    make("p", "the beam, best first", next);
    const beam = make("ul", undefined, next);
    s.beam[t].forEach(({ pieces, log_prob, kept }) => {
      const text = `${log_prob.toFixed(3)}  ${pieces.join(" ")}${kept ? "" : "  (dropped)"}`;
      make("li", text, beam, kept ? "kept" : "dropped");
    });
  }
}

/* Set the options of a select element, and hide its label if there is no choice. */
function setChoices(select, options) {
  setOptions(select, options);
  select.parentElement.hidden = options.length < 2;
}

/* Show the first step of a sentence, and offer its layers and heads. */
function showSentence(index) {
  const s = sentences[index];
  Object.assign(state, { sentence: index, layer: s.layer - 1, head: -1, step: 0, selected: null });
  setChoices($("layer"), s.weights.map((_, i) => [i, i + 1]));
  $("layer").value = state.layer;
  const heads = s.weights[0].map((_, i) => [i, i + 1]);
  setChoices($("head"), heads.length > 1 ? [[-1, "mean"], ...heads] : heads);
  if (heads.length > 1) $("head").value = -1;
  draw();
}

function moveStep(offset) {
  const last = sentences[state.sentence].target.pieces.length - 1;
  state.step = Math.min(last, Math.max(0, state.step + offset));
  drawStep();
  updateHighlight();
}

if (sentences.length) {
  setOptions($("sentence"), sentences.map((s, i) => [i, `${i + 1}. ${s.source.text}`]));
  $("sentence").onchange = event => showSentence(Number(event.target.value));
  $("layer").onchange = event => { state.layer = Number(event.target.value); draw(); };
  $("head").onchange = event => { state.head = Number(event.target.value); draw(); };
  for (const id of ["merge", "view"]) $(id).onchange = () => { state.selected = null; draw(); };
  $("back").onclick = () => moveStep(-1);
  $("forward").onclick = () => moveStep(1);
  document.onkeydown = event => {
    if ($("stepview").hidden || event.target.tagName === "SELECT") return;
    if (event.key === "ArrowLeft") moveStep(-1);
    if (event.key === "ArrowRight") moveStep(1);
  };
  showSentence(0);
} else {
  document.body.textContent = "No sentence to explain.";
}
