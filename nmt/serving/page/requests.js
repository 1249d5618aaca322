/* Requests to the server, and the API key. */

const KEY = "nmt-api-key";
const RETRY_SECONDS = 5;
const RATE_LIMIT = 429, WRONG_KEY = 403, NO_ANSWER = 0;

/* A request that failed; `status` is NO_ANSWER if the server cannot be reached. */
class RequestError extends Error {
  constructor(message, status, retrySeconds) {
    super(message);
    Object.assign(this, { status, retrySeconds });
  }
}

/* Send parameters as JSON, or a form, and return the answer.

   Throws RequestError, or an AbortError if the signal aborts the request. */
async function send(path, parameters, signal) {
  const key = sessionStorage.getItem(KEY), isForm = parameters instanceof FormData;
  if (key && isForm) parameters.append("api_key", key);
  const body = isForm ? parameters : JSON.stringify(key ? { ...parameters, api_key: key } : parameters);
  const headers = isForm ? {} : { "Content-Type": "application/json" };
  let response, answer;
  try {
    response = await fetch(path, { method: "POST", headers, body, signal });
    answer = JSON.parse(await response.text());
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (!response) throw new RequestError("The server does not answer.", NO_ANSWER, RETRY_SECONDS);
    answer = {};
  }
  signal?.throwIfAborted();
  if (response.ok) return answer;
  const message = answer.error ?? `The server answered with status ${response.status}.`;
  if (response.status === WRONG_KEY) showKeyForm(key);
  throw new RequestError(message, response.status, Number(response.headers.get("Retry-After")) || RETRY_SECONDS);
}

/* Wait, and throw an AbortError if the signal aborts. */
function wait(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
  });
}

/* Send like `send`, and try again if there is no answer or the server is busy. */
async function sendUntilAnswered(path, parameters, signal) {
  for (;;) {
    try {
      return await send(path, parameters, signal);
    } catch (error) {
      if (![NO_ANSWER, RATE_LIMIT].includes(error.status)) throw error;
      const reason = error.status === RATE_LIMIT ? "Too many requests." : error.message;
      for (let seconds = error.retrySeconds; seconds > 0; seconds -= 1) {
        showStatus(`${reason} Next try in ${seconds} s.`, "error");
        await wait(1000, signal);
      }
      showStatus("Trying again…", "busy");
    }
  }
}

/* Ask for an API key; `refused` is the key that the server has refused, if any. */
function showKeyForm(refused) {
  $("key-form").hidden = false;
  $("key-note").textContent = refused ? "The server refused this key." : "This server needs an API key.";
}

/* Keep the key of the form until the tab is closed. */
function storeKey() {
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key-form").hidden = true;
  $("key-note").textContent = "";
}
