/* Words of the text and of its translation, and the attention between them.

   A word is {sentence, side, index}: `side` is "source" or "target", and `index` is that of the word
   in the sentence. A sentence is {source, begin, lead, space, translation}: `begin` is its offset in
   the text, `lead` and `space` are the white space around it. */

const state = {
  route: null,      // the answer of v1/split
  lines: [],        // lists of sentences
  sentences: [],    // those with text
  selected: null,   // a word
  hovered: null,    // a word
  painted: [],      // highlighted elements
};
const wordOf = new WeakMap();  // the word of an element

const splitWords = text => [...text.matchAll(/[^ \t\r\n]+/g)];
const wordHeat = weight => heat(0.55 * weight);

/* Append the words of one side of a sentence as elements that can be selected; return them. */
function makeWords(parent, sentence, side) {
  const text = side === "source" ? sentence.source : sentence.translation.text;
  let end = 0;
  const tokens = splitWords(text).map(({ 0: word, index: begin }, index) => {
    parent.append(text.slice(end, begin));
    end = begin + word.length;
    const token = make("span", word, parent, "token");
    token.setAttribute("role", "button");
    token.tabIndex = -1;
    wordOf.set(token, { sentence, side, index });
    return token;
  });
  parent.append(text.slice(end));
  return tokens;
}

/* Show the translations of all sentences; a sentence without one is pending. */
function showTranslation() {
  const box = clear("translation");
  for (const sentences of state.lines) {
    const line = make("div", undefined, box, "line");
    line.dir = "auto";
    for (const sentence of sentences) {
      line.append(sentence.lead);
      if (sentence.translation) sentence.tokens = makeWords(make("span", undefined, line, "sentence"), sentence, "target");
      else if (sentence.source) make("span", "…", line, "pending");
      line.append(sentence.space);
    }
    if (!line.textContent) make("br", undefined, line);
  }
  const first = box.querySelector(".token");
  if (first) first.tabIndex = 0;
  $("copy").disabled = !first;
}

/* Return the translation as text. */
function translatedText() {
  const parts = state.lines.map(line => line.map(s => s.lead + (s.translation?.text ?? "") + s.space).join(""));
  return parts.join("\n");
}

/* Return the index of the word at each character of a text. */
function wordIndices(text) {
  let index = -1, isInWord = false;
  return [...text].map(character => {
    const isBlank = /[ \t\r\n]/.test(character);
    if (!isBlank && !isInWord) index += 1;
    isInWord = !isBlank;
    return index;
  });
}

/* Return target x source weights of words, 1 for linked words; `links` are between characters. */
function linkMatrix(source, target, links) {
  const sourceWords = wordIndices(source), targetWords = wordIndices(target);
  const matrix = splitWords(target).map(() => splitWords(source).map(() => 0));
  links.forEach(([[sourceBegin], [targetBegin]]) => {
    matrix[targetWords[targetBegin]][sourceWords[sourceBegin]] = 1;
  });
  return matrix;
}

/* Return the attention between a word and each word of the other side. */
function weightsOf({ sentence, side, index }) {
  const { matrix } = sentence.translation;
  return side === "target" ? matrix[index] ?? [] : matrix.map(row => row[index]);
}

/* Select a word, and show its sentence below. */
function selectWord(word) {
  state.selected = word;
  state.hovered = null;
  if (word) showSentence(word.sentence);
  if (word?.side === "target") showStepOfWord(word);
  highlight();
  if (word?.side === "target") scrollToWord(word);
}

/* Highlight the hovered or the selected word, and the words that it attends to. */
function highlight() {
  const word = state.hovered ?? state.selected;
  state.painted.forEach(token => {
    token.classList.remove("chosen");
    token.removeAttribute("aria-current");
    token.style.background = "";
  });
  state.painted = word ? [...word.sentence.tokens, ...rowTokens(word.sentence)] : [];
  const weights = word ? weightsOf(word) : [];
  state.painted.forEach(token => {
    const { side, index } = wordOf.get(token);
    if (side !== word.side) token.style.background = wordHeat(weights[index] ?? 0);
    else if (index === word.index) {
      token.classList.add("chosen");
      token.setAttribute("aria-current", "true");
    }
  });
  showInText(word, weights);
  markInMap(word);
  describeOrigin(word, weights);
}

/* Highlight words in the text box: the layer behind it has the same text. */
function showInText(word, weights) {
  const mirror = clear("mirror"), text = $("text").value;
  let end = 0;
  if (word && text.startsWith(word.sentence.source, word.sentence.begin)) {
    splitWords(word.sentence.source).forEach((match, index) => {
      const begin = word.sentence.begin + match.index;
      mirror.append(text.slice(end, begin));
      end = begin + match[0].length;
      const mark = make("span", match[0], mirror);
      if (word.side === "target") mark.style.background = wordHeat(weights[index] ?? 0);
      else if (index === word.index) mark.className = "chosen";
    });
  }
  mirror.append(text.slice(end), "\n");
}

/* Write which words the highlighted word comes from, or where it leads to. */
function describeOrigin(word, weights) {
  if (!word) return void ($("origin").textContent = "");
  const { source, translation } = word.sentence, isTarget = word.side === "target";
  const names = splitWords(isTarget ? source : translation.text).map(match => match[0]);
  const [name] = splitWords(isTarget ? translation.text : source)[word.index];
  const ranked = names.map((text, i) => [text, weights[i] ?? 0]).filter(([, weight]) => weight >= 0.1);
  ranked.sort((a, b) => b[1] - a[1]);
  const others = ranked.slice(0, 3).map(([text, weight]) => translation.explanation ? `${text} ${weight.toFixed(2)}` : text);
  $("origin").textContent = others.length
    ? `${name} ${isTarget ? "\u2190" : "\u2192"} ${others.join(", ")}` : `${name}: no word with a weight of 0.1 or more`;
}

/* Return the word of the text at the cursor, or null. */
function wordAtCursor() {
  const cursor = $("text").selectionStart;
  const sentence = state.sentences.findLast(s => s.begin <= cursor);
  if (!sentence?.translation) return null;
  const index = splitWords(sentence.source).findIndex(
    ({ 0: word, index: begin }) => sentence.begin + begin <= cursor && cursor <= sentence.begin + begin + word.length);
  return index < 0 ? null : { sentence, side: "source", index };
}

/* Move the focus to another word of the same box. */
function moveBetweenWords(event) {
  const token = event.target.closest(".token");
  if (!token) return;
  const tokens = [...event.currentTarget.querySelectorAll(".token")], i = tokens.indexOf(token);
  const isRightToLeft = getComputedStyle(token.parentElement).direction === "rtl";
  const { sentence } = wordOf.get(token);
  const ofSentence = tokens.filter(other => wordOf.get(other).sentence === sentence);
  const next = {
    [isRightToLeft ? "ArrowLeft" : "ArrowRight"]: tokens[i + 1],
    [isRightToLeft ? "ArrowRight" : "ArrowLeft"]: tokens[i - 1],
    Home: ofSentence[0],
    End: ofSentence.at(-1),
  }[event.key];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

/* Let the pointer, the focus and the arrow keys select words in a box. */
function makeSelectable(id, open) {
  const box = $(id);
  const wordAt = event => wordOf.get(event.target.closest?.(".token"));
  box.addEventListener("pointerover", event => { state.hovered = wordAt(event) ?? null; highlight(); });
  box.addEventListener("pointerleave", () => { state.hovered = null; highlight(); });
  box.addEventListener("keydown", moveBetweenWords);
  box.addEventListener("focusin", event => {
    if (!wordAt(event)) return;
    box.querySelectorAll('.token[tabindex="0"]').forEach(token => { token.tabIndex = -1; });
    event.target.tabIndex = 0;
    selectWord(wordAt(event));
  });
  if (!open) return;
  box.addEventListener("click", event => { if (wordAt(event)) open(event.target); });
  box.addEventListener("keydown", event => {
    if (!["Enter", " "].includes(event.key) || !wordAt(event)) return;
    event.preventDefault();
    open(event.target);
  });
}
