// Panel of the programs: demonstrations by script, trainings, comparisons.

import { set } from "./view.js";

const $ = (id) => document.getElementById(id);
const ENDS = { good: "Done", calm: "Cancelled", bad: "Failed" };
const UNITS = { s: "s", m: "min", h: "h" };

export class Programs {
  // command(button, name, value) sends a command and shows its answer.
  constructor(command) {
    $("demonstrate").onclick = () => command($("demonstrate"), "demonstrate", $("script-episodes").valueAsNumber);
    $("judged-second").onchange = () => (this.isChosen = true); // before that, the running policy
    $("train").onclick = () => command($("train"), "train", $("training-time").value);
    $("judge").onclick = () => {
      const trials = $("judged-trials").valueAsNumber;
      command($("judge"), "judge", [$("judged-first").value, $("judged-second").value, trials]);
    };
  }

  draw({ programs, policy, recorder, simulation }) {
    const { program, times, comparisons } = programs, isRunning = program !== null && !program.tone;
    set("program-state", isRunning ? "running" : "idle");
    const count = recorder.kept?.in_folder;
    const name = recorder.folder?.split("/").pop();
    const some = count === 1 ? "episode" : "episodes";
    set("demonstrations", recorder.is_heard ? `${count} ${some} in ${name}` : "no recorder runs");
    $("job-demonstrate").querySelector("label").hidden = $("demonstrate").hidden = !simulation.task;
    set("judge-note", simulation.task ? "in a simulation of its own" : "on the arm; you begin each trial");
    for (const id of ["demonstrate", "train", "judge"]) $(id).disabled = isRunning;
    options("training-time", times, (time) => `${parseInt(time)} ${UNITS[time.slice(-1)]}`);
    const added = options("judged-first", policy.policies);
    if (added) $("judged-first").value = added;
    options("judged-second", policy.policies);
    const running = policy.policy?.split("/").pop().replace(/\.safetensors$/, "");
    if (!this.isChosen && policy.policies.includes(running)) {
      this.isChosen = true;
      $("judged-second").value = running;
    }
    this.drawComparisons(comparisons);
    $("program").hidden = program === null;
    if (program) this.drawProgram(program, isRunning);
  }

  drawProgram({ title, result, tone, progress, lines }, isRunning) {
    set("program-title", title);
    $("cancel").parentElement.hidden = !isRunning;
    const bar = $("program-bar");
    if (progress) bar.value = progress.done / Math.max(1, progress.total);
    else bar.removeAttribute("value");
    const left = progress?.left ? `, ${progress.left} left` : "";
    const detail = progress?.detail ? `; ${progress.detail}` : "";
    const words = progress ? `${progress.done} of ${progress.total}, ${progress.elapsed} so far${left}${detail}` : "begins …";
    set("program-progress", isRunning ? words : "");
    set("program-lines", lines.join("\n"));
    set("program-result", tone ? `${ENDS[tone]}: ${result}` : "");
    $("program-result").className = tone;
  }

  drawComparisons(comparisons) {
    const list = $("comparisons"), told = comparisons.map(({ address }) => address).join();
    if (list.dataset.told === told) return;
    list.dataset.told = told;
    list.replaceChildren(...comparisons.map(({ name, address }) => {
      const item = document.createElement("li");
      const link = Object.assign(document.createElement("a"), { href: address, textContent: name });
      link.target = "_blank"; // the page with the STOP stays
      item.append(link);
      return item;
    }));
  }
}

// The choice stays while the list changes; returns a name that has come.
function options(id, names, text = (name) => name) {
  const select = $(id), before = select.value, known = select.dataset.names?.split(",");
  if (select.dataset.names === names.join()) return;
  select.dataset.names = names.join();
  select.replaceChildren(...names.map((name) => new Option(text(name), name)));
  if (names.includes(before)) select.value = before;
  return known && names.find((name) => !known.includes(name));
}
