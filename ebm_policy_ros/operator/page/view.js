// Drawing of a state into the page.

import { Chart } from "./chart.js";
import { ALONE, alarm, disk, situation } from "./words.js";

const $ = (id) => document.getElementById(id);
const LOG_KEPT = 200;

export class View {
  constructor() {
    this.state = null;
    this.isStopping = false;
    this.isSliding = false;
    this.confidence = new Chart($("chart-confidence"), {
      series: [{ name: "features", colour: "--accent" }, { name: "colours", colour: "--look" }],
      unit: "threshold = 1", least: 1.5,
    });
    this.confidence.level = 1;
    this.times = new Chart($("chart-times"), {
      series: [{ name: "decision", colour: "--accent" }, { name: "stamp to command", colour: "--look" }],
      unit: "ms", least: 20,
    });
  }

  // The part that also changes without news: how long the page has heard nothing.
  drawSituation(silence) {
    const { word, reason, commander, tone } = situation(this.state, silence);
    document.body.classList.toggle("alone", !this.state || silence > ALONE);
    set("word", word);
    set("reason", reason);
    set("commander", commander);
    document.body.dataset.tone = tone;
    const text = alarm(this.state, silence, this.isStopping);
    set("alarm", text);
    $("alarm").hidden = !text;
    $("stop").classList.toggle("pending", this.isStopping);
    set("stop-hint", this.isStopping ? "trying until it is confirmed" : "space or escape");
  }

  draw(state) {
    this.state = state;
    this.drawPolicy(state.policy);
    this.drawRecorder(state.recorder);
    this.drawStreams(state.policy);
    this.drawCharts(state);
    const others = state.pages.map((page) => page.name + (page.silent ? " (silent)" : ""));
    set("pages", others.join(", "));
  }

  drawPolicy(policy) {
    $("control").classList.toggle("away", !policy.is_heard);
    // A path is shown by its name, whole under the mouse.
    const name = policy.policy?.split("/").pop().replace(/\.safetensors$/, "");
    set("policy-role", policy.lifecycle === "active" ? "running" : "chosen");
    set("policy-name", (policy.hidden ? "hidden" : name) || "–");
    $("policy-name").title = policy.hidden ? "" : policy.policy ?? "";
    set("policy-hash", (policy.hidden ? "hidden" : policy.sha256?.slice(0, 12)) || "–");
    const started = policy.hidden ? "a hidden policy" : name;
    set("start-note", policy.is_heard && started ? `runs ${started}; the arm may move` : "the arm may move");
    if (!this.isSliding && typeof policy.speed === "number") $("speed").value = policy.speed;
    set("speed-now", typeof policy.speed === "number" ? `${Math.round(policy.speed * 100)} %` : "–");
    for (const button of document.querySelectorAll("[data-command=shadow]")) {
      button.setAttribute("aria-pressed", policy.is_heard && String(policy.shadow) === button.dataset.value);
    }
    const select = $("policies");
    if (select.dataset.names !== policy.policies.join()) {
      const before = select.value;
      select.dataset.names = policy.policies.join();
      select.replaceChildren(...policy.policies.map((name) => new Option(name)));
      select.value = policy.policies.includes(before) ? before : "";
      if (!select.value) select.dataset.running = "";
      $("load").classList.remove("armed"); // who pressed it once must see the new list
    }
    if (name && select.dataset.running !== name) {
      select.dataset.running = name;
      select.value = policy.policies.includes(name) ? name : "";
    }
    // A policy is swapped only for one that is loaded.
    const isLoaded = policy.is_heard && policy.lifecycle !== "unconfigured";
    select.disabled = !isLoaded;
    $("load").disabled = !isLoaded || !select.value;
    $("load-note").hidden = isLoaded;
  }

  drawRecorder(recorder) {
    const isRecording = recorder.is_heard && recorder.state === "recording";
    set("recorder-state", recorder.is_heard ? recorder.state : "not running");
    $("recorder-state").classList.toggle("recording", isRecording);
    $("recorder").classList.toggle("away", !recorder.is_heard);
    set("episode", isRecording ? `${recorder.episode}, ${recorder.elapsed_s.toFixed(0)} s` : "–");
    const kept = recorder.kept;
    // Without the keys of a terminal: the page has buttons.
    set("next-step", recorder.is_heard ? (recorder.next ?? "").replace(/ \((enter|[A-Z])\)/g, "") : "");
    const aim = recorder.target ? ` of ${recorder.target}` : "";
    set("successes", kept ? `${kept.successes_in_folder ?? "–"}${aim}` : "–");
    set("kept", kept ? `${kept.success} success, ${kept.failure} failure` : "–");
    set("in-folder", kept ? `${kept.in_folder} ${kept.in_folder === 1 ? "episode" : "episodes"}` : "–");
    set("disk", disk(recorder));
    set("recorder-warnings", recorder.is_heard ? (recorder.warnings ?? []).join("; ") : "");
  }

  drawStreams(policy) {
    $("streams").closest(".card").classList.toggle("away", !policy.is_heard);
    rows("streams", policy.streams.map((stream) => [
      stream.name, stream.age && `${(1000 * stream.age).toFixed(0)} ms`, stream.rate && `${stream.rate} Hz`,
      stream.message,
    ]), policy.streams.map((stream) => (stream.is_good ? "good" : "bad")));
    const measured = Object.entries(policy.diagnostics).filter(([key]) => key.endsWith("(ms)"));
    rows("times", measured.map(([key, value]) => [key.replace(/ p50.*/, ""), ...value.split(" / ")]));
    const counts = Object.entries(policy.counts ?? {}).map(([name, count]) => `${count} ${name}`);
    set("counts", counts.join(", "));
  }

  drawCharts(state) {
    const policy = state.policy, now = performance.now() / 1000;
    const isActive = policy.is_heard && policy.lifecycle === "active";
    const share = (name) => {
      const distance = policy.distances?.[name], most = policy.thresholds?.[name];
      return isActive && typeof distance === "number" && most > 0 ? distance / most : null;
    };
    const latest = policy.latest_ms ?? {};
    this.confidence.add(now, [share("features"), share("colours")]);
    this.times.add(now, isActive ? [latest.decision, latest["stamp to command"]] : []);
    const unsure = !policy.unsure ? "" : policy.unsure.length ? "unsure" : "familiar"; // "" without a decision
    const isCalibrated = Object.keys(policy.thresholds ?? {}).length > 0;
    const verdict = isCalibrated ? unsure : "the policy is not calibrated";
    // What tells policies apart is not there in a blind comparison.
    set("confidence-now", policy.hidden ? "hidden in a blind comparison" : isActive ? verdict : "");
    set("times-now", isActive && latest.decision ? `decision ${latest.decision.toFixed(0)} ms` : "");
    if (state.n % 3 === 0) for (const chart of [this.confidence, this.times]) chart.draw();
  }

  log(entries) {
    const list = $("log");
    for (const { n, time, level, source, text } of entries) {
      if (n <= (this.logged ?? 0)) continue;
      this.logged = n;
      const item = document.createElement("li");
      item.className = level;
      for (const [kind, content] of [["time", new Date(time * 1000).toLocaleTimeString([], { hour12: false })], ["b", source], ["span", text]]) {
        item.append(Object.assign(document.createElement(kind), { textContent: content }), " ");
      }
      list.prepend(item);
    }
    while (list.children.length > LOG_KEPT) list.lastChild.remove();
  }
}

export function set(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

function rows(id, cells, classes = []) {
  const body = $(id);
  while (body.children.length > cells.length) body.lastChild.remove();
  cells.forEach((texts, i) => {
    const row = body.children[i] ?? body.appendChild(document.createElement("tr"));
    if (row.className !== (classes[i] ?? "")) row.className = classes[i] ?? "";
    texts.forEach((text, j) => {
      const cell = row.children[j] ?? row.appendChild(document.createElement("td"));
      if (cell.textContent !== String(text)) cell.textContent = text;
    });
  });
}
