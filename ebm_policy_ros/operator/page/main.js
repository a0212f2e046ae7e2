// Start of the page: token, connection, buttons and keys.

import { Connection } from "./connection.js";
import { Figures } from "./figures.js";
import { Programs } from "./programs.js";
import { Trial } from "./trial.js";
import { View, set } from "./view.js";

const $ = (id) => document.getElementById(id);
const TWICE = 3000; // ms within which a button is pressed again

const issued = document.querySelector("meta[name=token]").content;
const view = new View();
const figures = new Figures(document.getElementById("pictures"));
const programs = new Programs((...parts) => connection && command(...parts));
const trial = new Trial((...parts) => connection && command(...parts));
let connection = null;
let newest = null; // state that waits to be drawn; a hidden page draws none for minutes

function begin(token) {
  connection = new Connection(token, {
    state: (state) => {
      if (!newest) requestAnimationFrame(draw);
      newest = state;
    },
    log: (entries) => view.log(entries),
    picture: (name, bytes) => figures.picture(name, bytes),
    stopping: (isPending) => {
      view.isStopping = isPending;
      view.drawSituation(connection.silence);
    },
    refused: () => {
      if (issued) return takeNewToken();
      sessionStorage.removeItem("token");
      askToken(token ? "This token is wrong." : "");
    },
  });
}

function draw() {
  const state = newest;
  newest = null;
  view.draw(state);
  view.drawSituation(connection.silence);
  trial.draw(state);
  programs.draw(state);
  figures.draw(state.pictures);
  figures.drawChosen((state.policy.is_heard && state.policy.chosen) || {});
  connection.show(figures.shown());
  connection.saw(state);
}

// The server was started anew and issues another token. A STOP on its way goes on.
async function takeNewToken() {
  try {
    const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
    connection.token = page.querySelector("meta[name=token]").content;
  } catch {
    // The next attempt is refused too, and comes back here.
  }
  setTimeout(() => connection.open(), 500);
}

function askToken(problem) {
  set("login-problem", problem);
  const dialog = $("login");
  dialog.onclose = () => {
    const token = $("token").value.trim();
    sessionStorage.setItem("token", token);
    begin(token);
  };
  dialog.showModal();
}

setInterval(() => {
  if (connection) view.drawSituation(connection.silence);
  figures.age();
}, 250);

// Buttons

async function command(button, name, value) {
  const answer = button.closest(".card").querySelector(".answer");
  answer.textContent = `${button.firstChild.textContent.trim()} …`;
  const { done, text } = await connection.command(name, value);
  answer.textContent = text;
  answer.classList.toggle("refused", !done);
}

// A button with data-twice acts only if it is pressed again; no dialog hides the page meanwhile.
function isMeant(button) {
  if (!button.dataset.twice || button.classList.contains("armed")) {
    button.classList.remove("armed");
    return true;
  }
  button.classList.add("armed");
  setTimeout(() => button.classList.remove("armed"), TWICE);
  return false;
}

for (const button of document.querySelectorAll("button[data-command]")) {
  const { command: name, value } = button.dataset;
  const meaning = { true: true, false: false, undefined: null }[value];
  button.onclick = () => connection && isMeant(button) && command(button, name, meaning === undefined ? value : meaning);
}
$("load").onclick = () => connection && isMeant($("load")) && command($("load"), "load_policy", $("policies").value);
$("speed").oninput = () => (view.isSliding = true);
// A slider that is put back where it was has no change to tell.
for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, () => (view.isSliding = false));
$("speed").onchange = async () => {
  view.isSliding = true;
  if (connection) await command($("speed").previousElementSibling, "speed", Number($("speed").value));
  view.isSliding = false;
};

// STOP: on the press already, not on the release.

const stop = () => connection?.stop();
$("stop").onpointerdown = stop;
$("stop").onclick = (event) => event.detail === 0 && stop(); // by a key or a screen reader
for (const kind of ["keydown", "keyup"]) {
  addEventListener(kind, (event) => {
    if (event.key !== "Escape" && event.key !== " ") return; // no field needs a space
    event.preventDefault(); // the space bar would press the focused button as well
    event.stopPropagation();
    if (kind === "keydown" && !event.repeat) stop();
  }, true);
}

// A hidden page shows nothing: it costs nothing.
document.addEventListener("visibilitychange", () => document.hidden && connection?.show([]));

const fromAddress = new URLSearchParams(location.hash.slice(1)).get("token");
if (fromAddress) history.replaceState(null, "", location.pathname);
const token = issued || fromAddress || sessionStorage.getItem("token");
if (fromAddress) sessionStorage.setItem("token", fromAddress);
if (token) begin(token);
else askToken("");
