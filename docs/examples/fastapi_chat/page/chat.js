// The conversation: what was said, what is being said, and how to stop it.

import { markdown } from "./markdown.js";

const $ = (id) => document.getElementById(id);
const turns = [];
let stopping = null; // the AbortController of the answer under way

function show(role, name) {
  $("welcome")?.remove();
  const article = document.createElement("article");
  const heading = document.createElement("h2");
  const text = document.createElement("div");
  article.className = role === "user" ? "mine" : "theirs";
  heading.textContent = name;
  text.className = "text";
  article.append(heading, text);
  $("conversation").append(article);
  return article;
}

function note(article, words, bad = false) {
  const line = document.createElement("p");
  line.className = bad ? "note bad" : "note";
  line.textContent = words;
  article.append(line);
  $("status").textContent = words;
}

/* Read server-sent events from a body; yields [event, data]. */
async function* events(body) {
  let rest = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let step = await reader.read(); !step.done; step = await reader.read()) {
    const frames = (rest + step.value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const fields = frame.split("\n").map((line) => line.match(/^(\w+): (.*)$/s)).filter(Boolean);
      const { event, data } = Object.fromEntries(fields.map(([, name, value]) => [name, value]));
      if (data) yield [event, JSON.parse(data)];
    }
  }
}

/* Draw the text at most once a frame, and keep its end in view for who is reading there. */
function painter(article) {
  let wanted = null;
  const paint = (text) => {
    const below = document.documentElement.scrollHeight - innerHeight - scrollY;
    article.querySelector(".text").replaceChildren(markdown(text));
    if (below < 80) scrollTo({ top: document.documentElement.scrollHeight });
  };
  return (text) => {
    if (wanted === null) requestAnimationFrame(() => { paint(wanted); wanted = null; });
    wanted = text;
  };
}

function busy(article, controller) {
  stopping = controller;
  article.ariaBusy = controller ? "true" : "false";
  $("send").hidden = Boolean(controller);
  $("stop").hidden = !controller;
}

function failed(response, problem) {
  const wait = response.headers.get("retry-after");
  return (problem.detail ?? "The question could not be sent.") + (wait ? ` Try again in ${wait} s.` : "");
}

async function answer(article) {
  const controller = new AbortController();
  const paint = painter(article);
  let text = "";
  busy(article, controller);
  $("status").textContent = "Llama is answering";
  try {
    const response = await fetch("chat", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(turns),
      signal: controller.signal,
    });
    if (!response.ok) {
      note(article, failed(response, await response.json().catch(() => ({}))), true);
      return;
    }
    let ended = false;
    for await (const [event, data] of events(response.body)) {
      if (event === "message") paint((text += data.delta));
      if (event === "error") note(article, `${data.message} (${data.code}, ${data.request_id})`, true);
      ended ||= event === "done" || event === "error";
      if (event === "done") $("status").textContent = `Llama: ${text}`;
    }
    if (!ended) note(article, "The connection broke off.", true);
  } catch (error) {
    const stopped = controller.signal.aborted;
    note(article, stopped ? "Stopped." : "The connection broke off.", !stopped);
  } finally {
    busy(article, null);
    if (text) turns.push({ role: "assistant", content: text });
    else turns.pop(); // an unanswered question is no part of the conversation
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || stopping) return;
  turns.push({ role: "user", content: question });
  show("user", "You").querySelector(".text").textContent = question;
  $("form").reset();
  answer(show("assistant", "Llama"));
  scrollTo({ top: document.documentElement.scrollHeight });
});

$("stop").addEventListener("click", () => {
  stopping?.abort();
  $("question").focus();
});

$("anew").addEventListener("click", () => {
  stopping?.abort();
  location.reload();
});

// A browser may keep a page that was left, and its connection, for coming back.
addEventListener("pagehide", () => stopping?.abort());

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stopping?.abort();
  if (event.key === "Enter" && event.target === $("question") && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("form").requestSubmit();
  }
});
