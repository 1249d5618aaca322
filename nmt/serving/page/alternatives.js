/* The menu of other continuations at a word of the translation. */

const NBEST = 5;
const menu = { token: null, request: null };

/* Open the menu at an element of a word. */
async function openAlternatives(token) {
  closeAlternatives();
  menu.token = token;
  const request = menu.request = new AbortController();
  const { sentence, index } = wordOf.get(token);
  const list = clear("alternatives");
  list.hidden = false;
  showMenuNote("Searching for alternatives…");
  try {
    const choices = await findAlternatives(sentence, index, request.signal);
    if (!choices.length) return showMenuNote("The model proposes no other word here.");
    list.replaceChildren();
    choices.forEach(choice => makeChoice(list, sentence, index, choice));
    placeMenu();
    list.querySelector("button").focus({ preventScroll: true });
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof RequestError)) throw error;
    showMenuNote(error.message);
  }
}

/* Show text in place of choices. */
function showMenuNote(text) {
  const note = make("p", text, clear("alternatives"), "faint");
  note.setAttribute("role", "menuitem");
  note.setAttribute("aria-disabled", "true");
  placeMenu();
}

/* Return translations with the same words before `index` and different words there, best first.

   These are the n best translations after that prefix. Their next words are often the same, so the
   most probable subwords of the explanation lead to more. */
async function findAlternatives(sentence, index, signal) {
  const { source, target, max_nbest, constraints } = state.route, { text } = sentence.translation;
  const words = splitWords(text), prefix = text.slice(0, words[index].index).trimEnd();
  const search = async (prefixes, nbest) => {
    const parameters = { q: prefixes.map(() => sentence.source), source, target, nbest, alignment: true };
    const constrained = constraints ? { ...parameters, prefix: prefixes, terms: readGlossary() } : parameters;
    const { translations } = await send("v1/translate", constrained, signal);
    return translations.flatMap(best => best.nbest ?? [best]);
  };
  const before = words.slice(0, index).map(match => match[0]).join(" ");
  const choices = new Map();
  const add = translations => translations.forEach(translation => {
    const others = splitWords(translation.text).map(match => match[0]), next = others[index];
    if (others.slice(0, index).join(" ") !== before || !next || next === words[index][0] || choices.has(next)) return;
    choices.set(next, { next, following: others.slice(index + 1).join(" "), translation });
  });
  add(await search([prefix], Math.min(NBEST, max_nbest)));
  await shown.explained;
  signal.throwIfAborted();
  const isNew = start => ![words[index][0], ...choices.keys()].some(word => word.startsWith(start));
  const starts = constraints && choices.size < NBEST ? wordStarts(sentence, index).filter(isNew) : [];
  if (starts.length) add(await search(starts.map(start => `${prefix} ${start}`.trimStart()), 1));
  return [...choices.values()].slice(0, NBEST);
}

/* Return the most probable beginnings of a word, if the explanation of the sentence is known. */
function wordStarts(sentence, index) {
  const { explanation } = sentence.translation;
  const candidates = explanation?.top[explanation.target.word_of.indexOf(index)] ?? [];
  return candidates.filter(([piece]) => /^\u2581./.test(piece)).map(([piece]) => piece.slice(1));
}

function makeChoice(list, sentence, index, { next, following, translation }) {
  const item = make("button", undefined, list);
  item.type = "button";
  item.lang = state.route.target;
  item.dir = "auto";
  item.setAttribute("role", "menuitem");
  make("strong", next, item);
  item.append(" ");
  make("span", following, item, "faint");
  item.addEventListener("click", () => {
    closeAlternatives();
    setTranslation(sentence, translation);
    sentence.tokens[index].focus();
  });
}

/* Place the menu below its word, inside the panel. */
function placeMenu() {
  const list = $("alternatives"), panel = list.offsetParent.getBoundingClientRect();
  const word = menu.token.getClientRects()[0];
  const left = Math.min(word.left - panel.left, panel.width - list.offsetWidth - 8);
  list.style.left = `${Math.max(8, left)}px`;
  list.style.top = `${word.bottom - panel.top + 6}px`;
}

function closeAlternatives() {
  menu.request?.abort();
  $("alternatives").hidden = true;
}

function setUpAlternatives() {
  const list = $("alternatives");
  list.addEventListener("keydown", event => {
    const items = [...list.querySelectorAll("button")], i = items.indexOf(document.activeElement);
    const next = { ArrowDown: i + 1, ArrowUp: i - 1 + items.length, Home: 0, End: items.length - 1 }[event.key];
    if (next === undefined || !items.length) return;
    event.preventDefault();
    items[next % items.length].focus();
  });
  document.addEventListener("keydown", event => {
    if (event.key !== "Escape" || list.hidden) return;
    closeAlternatives();
    menu.token.focus();
  });
  document.addEventListener("pointerdown", event => {
    if (!list.contains(event.target)) closeAlternatives();
  });
  list.addEventListener("focusout", event => {
    if (event.relatedTarget && !list.contains(event.relatedTarget)) closeAlternatives();
  });
}
