// Pictures: cameras and what the policy node draws. Only those that are shown are sent.

import { Chosen } from "./chosen.js";

const TITLES = {
  coverage: "where things stood when the kept episodes began, and when they ended",
  debug_image: "what the policy sees, and its energy",
  candidates: "candidates from above, blue is low energy; red: the command",
  start_overlay: "the wanted start of a trial over the live picture",
};

const STALE = 2000; // ms after which a picture is no longer what is there now
const LASTING = ["coverage"]; // pictures that are sent only when they change

export class Figures {
  constructor(place) {
    this.place = place;
    this.figures = new Map();
    this.order = ""; // names of the figures as they stand
  }

  draw(names) {
    for (const [name, { figure }] of this.figures) {
      if (!names.includes(name)) {
        figure.remove();
        this.figures.delete(name);
      }
    }
    for (const name of names) if (!this.figures.has(name)) this.add(name);
    if (names.join() !== this.order) this.place.append(...names.map((name) => this.figures.get(name).figure));
    this.order = names.join();
    this.place.querySelector(".nothing").hidden = this.figures.size > 0;
  }

  drawChosen(told) {
    for (const [name, { figure, chosen }] of this.figures) {
      if (chosen) figure.dataset.note = chosen.draw(told[name]);
    }
  }

  // A picture that stands still looks like a scene that does.
  age() {
    for (const [name, { figure, check, time }] of this.figures) {
      const late = performance.now() - time > STALE && !LASTING.includes(name);
      figure.classList.toggle("stale", check.checked && late);
    }
  }

  shown() {
    return [...this.figures].filter(([, { check }]) => check.checked).map(([name]) => name);
  }

  add(name) {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const label = document.createElement("label"), check = document.createElement("input");
    const screen = document.createElement(name === "candidates" ? "canvas" : "img");
    check.type = "checkbox";
    check.checked = localStorage.getItem(`hide ${name}`) === null;
    figure.classList.toggle("off", !check.checked);
    check.onchange = () => {
      this.figures.get(name).time = performance.now();
      figure.classList.toggle("off", !check.checked);
      if (check.checked) localStorage.removeItem(`hide ${name}`);
      else localStorage.setItem(`hide ${name}`, "yes");
    };
    label.append(check, " ", TITLES[name] ?? name);
    caption.append(label);
    const isCamera = !(name in TITLES), chosen = isCamera ? new Chosen(screen) : null;
    if (isCamera) screen.alt = name;
    else figure.classList.add(name);
    figure.append(screen, ...(chosen ? [chosen.svg] : []), caption);
    figure.hidden = LASTING.includes(name); // until there is one
    this.figures.set(name, { figure, check, screen, chosen, time: performance.now() });
  }

  picture(name, bytes) {
    const entry = this.figures.get(name), screen = entry?.screen;
    if (!entry) return;
    entry.time = performance.now();
    entry.figure.hidden = false;
    if (screen instanceof HTMLCanvasElement) drawCandidates(screen, JSON.parse(new TextDecoder().decode(bytes)));
    else if (!screen.dataset.busy) show(screen, new Blob([bytes], { type: "image/jpeg" }));
  }
}

function show(image, blob) {
  const address = URL.createObjectURL(blob);
  image.dataset.busy = "yes"; // while it is decoded, newer ones are left out
  image.onload = image.onerror = () => {
    delete image.dataset.busy;
    URL.revokeObjectURL(address);
  };
  image.src = address;
}

// As seen from above: x of the robot's base is up, y is left.
function drawCandidates(canvas, { points, colours, command }) {
  const ratio = window.devicePixelRatio || 1;
  const width = (canvas.width = Math.round(canvas.clientWidth * ratio));
  const height = (canvas.height = Math.round(canvas.clientHeight * ratio));
  const all = [...points, ...command];
  if (!all.length || !width) return;
  const [x0, x1] = range(all.map((p) => p[0])), [y0, y1] = range(all.map((p) => p[1]));
  const scale = Math.min(height / (x1 - x0 || 1e-3), width / (y1 - y0 || 1e-3)) * 0.86;
  const place = ([x, y]) => [width / 2 - (y - (y0 + y1) / 2) * scale, height / 2 - (x - (x0 + x1) / 2) * scale];
  const g = canvas.getContext("2d");
  points.map((point, i) => [point, colours[i]]).reverse().forEach(([point, colour]) => {
    g.fillStyle = `rgb(${colour})`;
    g.beginPath();
    g.arc(...place(point), 3 * ratio, 0, 7);
    g.fill();
  });
  g.strokeStyle = getComputedStyle(canvas).getPropertyValue("--stop");
  g.lineWidth = 3 * ratio;
  g.lineJoin = "round";
  g.beginPath();
  command.forEach((point, i) => (i ? g.lineTo(...place(point)) : g.moveTo(...place(point))));
  g.stroke();
}

function range(values) {
  return [Math.min(...values), Math.max(...values)];
}
