/* The attention of one sentence: its words, the map, and the decoding steps. */

const view = { layer: null, head: -1, step: 0 };
const shown = { sentence: null, tokens: [], rows: [], request: null, explained: null };

/* Return the elements of the words of a sentence, if it is the one that is shown. */
const rowTokens = sentence => sentence === shown.sentence ? shown.tokens : [];

/* Show a sentence, and request its explanation if there is none. */
function showSentence(sentence) {
  if (sentence === shown.sentence) return;
  shown.request?.abort();
  Object.assign(shown, { sentence, tokens: [], rows: [] });
  $("attention").hidden = !sentence?.translation;
  if (!sentence?.translation) return;
  for (const side of ["source", "target"]) {
    const tokens = makeWords(clear(side), sentence, side);
    $(side).lang = state.route[side];
    if (tokens.length) tokens[0].tabIndex = 0;
    shown.tokens.push(...tokens);
  }
  const index = state.sentences.indexOf(sentence), count = state.sentences.length;
  $("sentences").hidden = count < 2;
  $("position").textContent = `Sentence ${index + 1} of ${count}`;
  $("previous").disabled = index === 0;
  $("following").disabled = index === count - 1;
  view.step = 0;
  if (sentence.translation.explanation) drawExplanation();
  else if (state.route.pivot) showNote(`The translation goes through ${languageName(state.route.pivot)}, so there is no map of its attention.`);
  else if (!state.route.attention) showNote("This model has no attention, so it does not show where a word comes from.");
  else shown.explained = requestExplanation(sentence);
}

/* Show text in place of an explanation. */
function showNote(text) {
  $("explanation").hidden = true;
  $("attention-note").hidden = false;
  $("attention-note").textContent = text;
}

async function requestExplanation(sentence) {
  const request = shown.request = new AbortController();
  const { source, target } = state.route, { text } = sentence.translation;
  $("explanation").classList.add("stale");
  try {
    sentence.translation.explanation =
      await send("v1/explain", { q: sentence.source, source, target, translation: text }, request.signal);
    drawExplanation();
    highlight();
    if (state.selected?.side === "target") scrollToWord(state.selected);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof RequestError)) throw error;
    showNote(error.message);
  } finally {
    if (shown.request === request) $("explanation").classList.remove("stale");
  }
}

/* Draw the map or the steps of the shown sentence. */
function drawExplanation() {
  const { sentence } = shown, { explanation } = sentence.translation;
  $("explanation").hidden = false;
  $("attention-note").hidden = true;
  view.layer = Math.min(view.layer ?? explanation.layer - 1, explanation.weights.length - 1);
  view.head = Math.min(view.head, explanation.weights[0].length - 1);
  offerLayersAndHeads(explanation, view);
  const { matrix } = attentionWeights(explanation, view, true);
  const hasSameWords = explanation.source.words.length === splitWords(sentence.source).length + 1
    && explanation.target.words.length === splitWords(sentence.translation.text).length + 1;
  if (hasSameWords) sentence.translation.matrix = matrix;
  const isMap = $("view").value === "grid";
  $("gridview").hidden = !isMap;
  $("stepview").hidden = isMap;
  $("merge-label").hidden = !isMap;
  shown.rows = drawHeatMap(attentionWeights(explanation, view, $("merge").checked));
  drawStep(explanation, view);
}

/* Return the word of a row or column of the map, or null for the end of the sentence. */
function wordInMap(side, index) {
  const { sentence } = shown, { explanation } = sentence.translation;
  const word = $("merge").checked ? index : explanation[side].word_of[index];
  return word < explanation[side].words.length - 1 ? { sentence, side, index: word } : null;
}

/* Mark the row or the column of a word in the map. */
function markInMap(word) {
  const isShown = word && word.sentence === shown.sentence;
  const isMarked = (side, i) => {
    const other = isShown && side === word.side ? wordInMap(side, i) : null;
    return other !== null && other.index === word.index;
  };
  shown.rows.forEach((row, t) => row.classList.toggle("chosen", isMarked("target", t)));
  if (!shown.rows.length) return;
  document.querySelectorAll("#grid thead th").forEach((th, j) => th.classList.toggle("chosen", isMarked("source", j)));
}

/* Scroll the map sideways to the strongest weight of a target word. */
function scrollToWord(word) {
  const row = shown.rows.find((_, t) => wordInMap("target", t)?.index === word.index);
  if (!row) return;
  const { matrix } = word.sentence.translation, box = $("gridview");
  const cell = row.cells[1 + matrix[word.index].indexOf(Math.max(...matrix[word.index]))];
  const begin = row.cells[0].offsetWidth, left = cell.offsetLeft - box.scrollLeft;
  if (left < begin || left + cell.offsetWidth > box.clientWidth) {
    box.scrollLeft = cell.offsetLeft - (begin + box.clientWidth) / 2;
  }
}

/* Return the word of the row, or of the column if the pointer is on its title. */
function wordAtPointer(event) {
  const cell = event.target.closest("th, td"), row = event.target.closest("tr");
  if (!cell || !shown.rows.length) return null;
  const t = shown.rows.indexOf(row);
  return t >= 0 ? wordInMap("target", t) : cell.cellIndex ? wordInMap("source", cell.cellIndex - 1) : null;
}

/* Go to a step, and select its word. */
function goToStep(offset) {
  const { explanation } = shown.sentence.translation;
  view.step = moveStep(explanation, view, offset);
  drawStep(explanation, view);
  const word = explanation.target.word_of[view.step];
  const isWord = word < shown.sentence.tokens.length;
  state.selected = isWord ? { sentence: shown.sentence, side: "target", index: word } : null;
  highlight();
}

/* Go to the first step of a word. */
function showStepOfWord({ sentence, index }) {
  const { explanation } = sentence.translation;
  if (!explanation || sentence !== shown.sentence) return;
  if (explanation.target.word_of[view.step] === index) return;
  view.step = Math.max(0, explanation.target.word_of.indexOf(index));
  drawStep(explanation, view);
}

/* Redraw after a choice of the controls. */
function redraw() {
  drawExplanation();
  if ($("view").value === "steps") goToStep(0);
  else highlight();
}

function setUpExplanation() {
  for (const side of ["source", "target"]) makeSelectable(side);
  const grid = $("grid");
  grid.addEventListener("pointerover", event => { state.hovered = wordAtPointer(event); highlight(); });
  grid.addEventListener("pointerleave", () => { state.hovered = null; highlight(); });
  grid.addEventListener("click", event => selectWord(wordAtPointer(event)));
  for (const id of ["layer", "head"]) {
    $(id).addEventListener("change", () => { view[id] = Number($(id).value); redraw(); });
  }
  for (const id of ["view", "merge"]) $(id).addEventListener("change", redraw);
  $("back").addEventListener("click", () => goToStep(-1));
  $("forward").addEventListener("click", () => goToStep(1));
  $("stepview").addEventListener("keydown", event => {
    const offset = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!offset) return;
    event.preventDefault();
    goToStep(offset);
  });
  const showNeighbour = offset => {
    selectWord(null);
    showSentence(state.sentences[state.sentences.indexOf(shown.sentence) + offset]);
  };
  $("previous").addEventListener("click", () => showNeighbour(-1));
  $("following").addEventListener("click", () => showNeighbour(1));
}
