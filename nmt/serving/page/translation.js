/* Translation of the text while it is typed: sentence by sentence, each only once. */

const CHUNK = 4000;            // characters of a request, so that a long text appears in parts
const MAX_CACHED = 5000;       // sentences
const WITHOUT_SPACES = /^(ja|km|lo|my|th|wuu|yue|zh)\b/;  // languages
const cache = { settings: "", translations: new Map() };
const typing = { timer: null, request: null };

function showStatus(text, kind = "") {
  $("status").textContent = text;
  $("status").className = kind;
}

/* Translate after a pause. An earlier translation stops at once. */
function translateSoon() {
  typing.request?.abort();
  clearTimeout(typing.timer);
  typing.timer = setTimeout(translate, data.settings.frontendTimeout);
  selectWord(null);
  closeAlternatives();
  $("translation").classList.add("stale");
}

/* Translate the text now, and show the state of the translation. */
async function translate() {
  typing.request?.abort();
  clearTimeout(typing.timer);
  const request = typing.request = new AbortController();
  try {
    await translateText($("text").value, request.signal);
    $("translation").classList.remove("stale");
  } catch (error) {
    if (error.name === "AbortError" || request !== typing.request) return;
    if (!(error instanceof RequestError)) throw error;
    showStatus(error.status === WRONG_KEY ? "The translation needs an API key." : error.message, "error");
  }
}

async function translateText(text, signal) {
  const length = [...text].length, limit = data.settings.charLimit;
  if (!text.trim()) return showNothing();
  if (length > limit) {
    throw new RequestError(`The text is too long: ${length.toLocaleString("en")} characters, the limit is ${limit.toLocaleString("en")}.`);
  }
  const terms = readGlossary(), parameters = { source: $("from").value, target: $("to").value };
  showStatus("Translating…", "busy");
  const route = await sendUntilAnswered("v1/split", { q: text, ...parameters }, signal);
  const lines = locateSentences(text, route);
  useCache(JSON.stringify([route.source, route.target, terms]));
  const sentences = lines.flat().filter(sentence => sentence.source);
  sentences.forEach(sentence => { sentence.translation = cache.translations.get(sentence.source); });
  const pending = [...new Set(sentences.filter(s => !s.translation).map(s => s.source))];
  Object.assign(state, { route, lines, sentences, selected: null, hovered: null });
  showLanguages();
  for (const chunk of divide(pending)) {
    if (chunk.length < pending.length) {
      showTranslation();
      const count = sentences.filter(sentence => sentence.translation).length;
      showStatus(`Translating… ${count} of ${sentences.length} sentences`, "busy");
    }
    await requestTranslations(chunk, terms, signal);
  }
  showTranslation();
  showStatus(`Translated from ${languageName(route.source)}.`);
  showSentence(sentences.findLast(s => s.begin <= $("text").selectionStart) ?? sentences[0]);
  highlight();
}

/* Translate sentences, and add the translations to the cache and to the sentences of the text. */
async function requestTranslations(sources, terms, signal) {
  const { source, target, constraints } = state.route;
  const parameters = { q: sources, source, target, alignment: true, ...(constraints ? { terms } : {}) };
  const answer = await sendUntilAnswered("v1/translate", parameters, signal);
  sources.forEach((text, i) => cache.translations.set(text, withMatrix(text, answer.translations[i])));
  state.sentences.forEach(s => { s.translation ??= cache.translations.get(s.source); });
}

/* Return a translation with the attention that its links tell. */
function withMatrix(source, { text, alignment }) {
  return { text, matrix: linkMatrix(source, text, alignment) };
}

/* Replace the translation of a sentence by another one of the server. */
function setTranslation(sentence, answer) {
  const translation = withMatrix(sentence.source, answer);
  cache.translations.set(sentence.source, translation);
  state.sentences.filter(s => s.source === sentence.source).forEach(s => { s.translation = translation; });
  shown.sentence = null;
  showTranslation();
}

/* Return the sentences of each line, with their offsets in the text. */
function locateSentences(text, route) {
  let end = 0;
  return route.lines.map(line => line.map((part, i) => {
    const source = part.trim(), begin = Math.max(end, text.indexOf(source, end));
    end = begin + source.length;
    const [lead] = part.match(/^\s*/), space = source ? part.slice(lead.length + source.length) : "";
    const needsSpace = i < line.length - 1 && !space && !WITHOUT_SPACES.test(route.target);
    return { source, begin, lead, space: needsSpace ? " " : space };
  }));
}

/* Forget the translations if the settings have changed. */
function useCache(settings) {
  if (cache.settings === settings && cache.translations.size < MAX_CACHED) return;
  Object.assign(cache, { settings, translations: new Map() });
}

/* Divide texts into lists of at most CHUNK characters. */
function divide(texts) {
  const chunks = [];
  let size = CHUNK;
  texts.forEach(text => {
    size += text.length;
    if (size > CHUNK) { chunks.push([]); size = text.length; }
    chunks.at(-1).push(text);
  });
  return chunks;
}

/* Show the page without a text. */
function showNothing() {
  Object.assign(state, { lines: [], sentences: [], selected: null, hovered: null });
  showTranslation();
  showSentence(null);
  showStatus("");
  highlight();
}

/* Return the glossary as {source: target}. Throws RequestError and shows the line of a fault. */
function readGlossary() {
  const terms = {};
  let fault = "";
  $("glossary").value.split("\n").forEach((line, i) => {
    if (!line.trim()) return;
    const [source, target, ...others] = line.split("=").map(part => part.trim());
    if (!source || !target || others.length) fault ||= `Line ${i + 1}: expected source = target, got ${line.trim()}`;
    else if (Object.hasOwn(terms, source)) fault ||= `Line ${i + 1}: ${source} has two translations`;
    else terms[source] = target;
  });
  $("glossary-note").textContent = fault;
  if (fault) throw new RequestError("The glossary has a fault.");
  return terms;
}
