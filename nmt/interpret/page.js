/* The sentences of the page, one at a time. */

const sentences = data;
const state = { sentence: 0, layer: 0, head: -1, step: 0, selected: null };
const weights = () => attentionWeights(sentences[state.sentence], state, $("merge").checked);

function draw() {
  const view = weights();
  for (const [side, words] of [["source", view.source], ["target", view.target]]) {
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
  drawHeatMap(view).forEach((row, t) => {
    row.onpointerenter = () => highlight("target", t);
    row.onpointerleave = updateHighlight;
  });
  $("gridview").hidden = $("view").value !== "grid";
  $("stepview").hidden = $("view").value !== "steps";
  drawStep(sentences[state.sentence], state);
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

/* Show the first step of a sentence, and offer its layers and heads. */
function showSentence(index) {
  const explanation = sentences[index];
  Object.assign(state, { sentence: index, layer: explanation.layer - 1, head: -1, step: 0, selected: null });
  offerLayersAndHeads(explanation, state);
  draw();
}

function goToStep(offset) {
  state.step = moveStep(sentences[state.sentence], state, offset);
  drawStep(sentences[state.sentence], state);
  updateHighlight();
}

if (sentences.length) {
  setOptions($("sentence"), sentences.map((s, i) => [i, `${i + 1}. ${s.source.text}`]));
  $("sentence").onchange = event => showSentence(Number(event.target.value));
  $("layer").onchange = event => { state.layer = Number(event.target.value); draw(); };
  $("head").onchange = event => { state.head = Number(event.target.value); draw(); };
  for (const id of ["merge", "view"]) $(id).onchange = () => { state.selected = null; draw(); };
  $("back").onclick = () => goToStep(-1);
  $("forward").onclick = () => goToStep(1);
  document.onkeydown = event => {
    if ($("stepview").hidden || event.target.tagName === "SELECT") return;
    if (event.key === "ArrowLeft") goToStep(-1);
    if (event.key === "ArrowRight") goToStep(1);
  };
  showSentence(0);
} else {
  document.body.textContent = "No sentence to explain.";
}
