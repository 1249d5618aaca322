/* The controls of the page: languages, clipboard, files, glossary and key. */

const languageName = code => data.languages.find(language => language.code === code)?.name ?? code;
const targetsOf = code => data.languages.find(language => language.code === code)?.targets ?? [];
const sources = data.languages.filter(language => language.targets.length).map(language => language.code);

/* Offer the target languages of the source language, and keep the selected one if possible. */
function offerTargets(selected = $("to").value) {
  const source = $("from").value;
  const isTarget = ({ code }) => source === "auto"
    ? sources.some(other => targetsOf(other).includes(code)) : targetsOf(source).includes(code);
  const targets = data.languages.filter(isTarget);
  setOptions($("to"), targets.map(({ code, name }) => [code, name]));
  if (targets.some(({ code }) => code === selected)) $("to").value = selected;
  showLanguages();
}

/* Mark the texts with their languages, and allow a swap if there is a model for it. */
function showLanguages() {
  const target = $("to").value, detected = $("from").value === "auto";
  const source = detected ? state.route?.source ?? "" : $("from").value;
  $("from").options[0].textContent = detected && source ? `Detected: ${languageName(source)}` : "Detect language";
  $("text").lang = source;
  $("translation").lang = $("alternatives").lang = target;
  $("swap").disabled = !source || !targetsOf(target).includes(source);
  const hasTerms = state.route?.constraints ?? true;
  $("glossary").disabled = !hasTerms;
  if (!hasTerms) $("glossary-note").textContent = "This model is served by CTranslate2, which has no glossary.";
}

function swapLanguages() {
  const source = $("from").value === "auto" ? state.route.source : $("from").value;
  const text = translatedText(), target = $("to").value;
  $("from").value = target;
  offerTargets(source);
  if (text.trim()) $("text").value = text;
  showLength();
  translate();
}

function showLength() {
  const length = [...$("text").value].length, limit = data.settings.charLimit;
  $("length").textContent = `${length.toLocaleString("en")} / ${limit.toLocaleString("en")}`;
  $("length").classList.toggle("error", length > limit);
  $("clear").hidden = !length;
}

async function copyTranslation() {
  const text = translatedText();
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // the clipboard is only for pages with HTTPS or of this machine
    const box = make("textarea", text, document.body);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
}

/* Translate a file, and offer the translation as a download. */
async function translateFile(file) {
  const note = clear("file-status");
  note.hidden = false;
  note.textContent = `Translating ${file.name}…`;
  try {
    const form = new FormData();
    form.append("source", await sourceOfFile(file));
    form.append("target", $("to").value);
    form.append("file", file);
    const { translatedFileUrl } = await send("translate_file", form);
    note.textContent = `${file.name}: `;
    const link = make("a", "Download the translation", note);
    link.href = translatedFileUrl;
    link.download = "";
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    note.textContent = `${file.name}: ${error.message}`;
  }
}

/* Return the selected source language, or detect that of the beginning of a file. */
async function sourceOfFile(file) {
  if ($("from").value !== "auto") return $("from").value;
  const q = (await file.slice(0, 4000).text()).replace(/\ufffd+$/, "");
  return (await send("v1/split", { q, source: "auto", target: $("to").value })).source;
}

function setUpFiles() {
  const card = $("translator"), formats = data.settings.supportedFilesFormat;
  $("file").accept = formats.join(",");
  $("open").title = formats.join(" ");
  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    if ($("file").files.length) translateFile($("file").files[0]);
    $("file").value = "";
  });
  const hasFile = event => event.dataTransfer?.types.includes("Files");
  card.addEventListener("dragover", event => {
    if (!hasFile(event)) return;
    event.preventDefault();
    card.classList.add("dropping");
  });
  card.addEventListener("dragleave", event => {
    if (!card.contains(event.relatedTarget)) card.classList.remove("dropping");
  });
  card.addEventListener("drop", event => {
    card.classList.remove("dropping");
    if (!hasFile(event)) return;
    event.preventDefault();
    if (event.dataTransfer.files.length) translateFile(event.dataTransfer.files[0]);
  });
}

function setUpPage() {
  const { source, target } = data.settings.language;
  setOptions($("from"), [["auto", "Detect language"], ...sources.map(code => [code, languageName(code)])]);
  $("from").value = source.code;
  offerTargets(target.code);
  $("from").addEventListener("change", () => { offerTargets(); translate(); });
  $("to").addEventListener("change", () => { showLanguages(); translate(); });
  $("swap").addEventListener("click", swapLanguages);
  $("text").addEventListener("input", () => { showLength(); translateSoon(); });
  for (const name of ["click", "keyup"]) {
    $("text").addEventListener(name, event => {
      const isMove = name === "click" || event.key.startsWith("Arrow");
      if (isMove && !$("translation").classList.contains("stale")) selectWord(wordAtCursor());
    });
  }
  $("clear").addEventListener("click", () => {
    $("text").value = "";
    showLength();
    translate();
    $("text").focus();
  });
  $("glossary").addEventListener("input", translateSoon);
  $("copy").addEventListener("click", copyTranslation);
  $("key-form").addEventListener("submit", event => {
    event.preventDefault();
    storeKey();
    translate();
  });
  if (data.settings.keyRequired && !sessionStorage.getItem(KEY)) showKeyForm();
  makeSelectable("translation", openAlternatives);
  setUpExplanation();
  setUpAlternatives();
  setUpFiles();
  showLength();
  translate();
}

setUpPage();
