// Panel of a comparison on an arm: what judge_policy asks, its answers as buttons, and what it told.

import { set } from "./view.js";

const $ = (id) => document.getElementById(id);
const UNREAD = 1000; // ms for which new buttons take no tap: it was meant for what stood there before

export class Trial {
  // command(button, name, value) sends a command and shows its answer.
  constructor(command) {
    this.command = command;
    this.drawn = "";
  }

  draw({ judge, policy }) {
    $("trial").hidden = !judge;
    if (!judge) return;
    const { question, text, remark, answers, lines, has_ended: hasEnded, problem } = judge;
    set("trial-state", hasEnded ? "ended" : problem ? "lost" : "runs");
    set("trial-question", hasEnded ? "" : text || "One moment …");
    $("trial-question").hidden = $("trial-answers").hidden = hasEnded;
    set("trial-remark", problem || remark || "");
    set("trial-lines", lines.join("\n"));
    const open = Object.entries(problem || hasEnded ? {} : answers);
    const isStopped = policy.state === "stopped";
    this.drawAnswers(question, open, isStopped);
  }

  drawAnswers(question, answers, isStopped) {
    const wanted = JSON.stringify([question, answers, isStopped]);
    if (this.drawn === wanted) return;
    this.drawn = wanted;
    $("trial-answers").replaceChildren(...answers.map(([name, words]) => {
      const [first, ...rest] = words.split(";");
      const button = Object.assign(document.createElement("button"), { type: "button", className: name });
      button.append(first.charAt(0).toUpperCase() + first.slice(1));
      if (rest.length) button.append(Object.assign(document.createElement("small"), { textContent: rest.join(";") }));
      // It keeps its place, so that the others keep theirs when the policy stops.
      button.classList.toggle("needless", name === "reset" && !isStopped);
      button.onclick = () => this.command(button, "answer", [question, name]);
      button.disabled = true;
      setTimeout(() => (button.disabled = false), UNREAD);
      return button;
    }));
  }
}
