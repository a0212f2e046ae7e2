"use strict";
(() => {
  const $ = (selector) => document.querySelector(selector);
  const list = $("#list");
  const cards = [...list.children];
  const box = (card) => card.querySelector(".tick input");
  const visible = () => [...list.children].filter((card) => !card.hidden);

  // Keep the ticks across reloads, if the browser allows storage for local files.
  const place = `${document.body.dataset.folder} ${document.body.dataset.written}`;
  const remember = (value) => {
    try {
      if (value === undefined) return JSON.parse(localStorage.getItem(place));
      localStorage.setItem(place, JSON.stringify(value));
    } catch {
      return null;
    }
  };

  function reasons(card) {
    return [...card.querySelectorAll(".issues li")].map((item) => {
      const chip = item.firstElementChild.textContent;
      const words = item.textContent.trim().slice(chip.length).replace(/\s+/g, " ").trim();
      return `# ${chip}: ${words}\n`;
    });
  }

  function tell() {
    const ticked = cards.filter((card) => box(card).checked);
    for (const card of cards) card.classList.toggle("ticked", box(card).checked);
    const head = "# Episodes that train_policy leaves out with --exclude, of "
      + `${document.body.dataset.folder.replace(/\s+/g, " ")}\n`;
    const text = head + ticked.map(
      (card) => `\n${reasons(card).join("")}${box(card).value}\n`).join("");
    $("#text").value = text;
    $("#count").textContent = ticked.length;
    $("#bar").hidden = false;
    $("#save").href = `data:text/plain;charset=utf-8,${encodeURIComponent(text)}`;
    remember(ticked.map((card) => box(card).value));
  }

  function arrange() {
    const words = $("#search").value.toLowerCase();
    const state = $("#state").value;
    const kind = $("#kind").value;
    for (const card of cards) {
      const text = `${card.dataset.name} ${card.querySelector(".issues")?.textContent ?? ""}`;
      const fits = state === "ticked" ? box(card).checked : !state || card.dataset.state === state;
      card.hidden = !(fits && text.toLowerCase().includes(words)
        && (!kind || card.dataset.kinds.split(" ").includes(kind)));
    }
    const order = $("#order").value;
    const key = order.replace("-", "");
    const sign = order.startsWith("-") ? -1 : 1;
    const value = (card) => (key === "name" ? 0 : sign * Number(card.dataset[key] ?? sign / 0));
    const number = (card) => Number(card.dataset.number);
    list.append(...cards.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      return x === y ? number(a) - number(b) : x - y;
    }));
    const count = visible().length;
    $("#shown").textContent = count === cards.length ? `${count} episodes`
      : `${count} of ${cards.length} episodes`;
    $("#none").hidden = count > 0;
    list.classList.toggle("no-strips", !$("#strips").checked);
  }

  function show() {
    const card = document.getElementById(location.hash.slice(1));
    if (!card?.matches(".episode")) return;
    if (card.hidden) {
      $("#tools").reset();
      arrange();
    }
    card.querySelector("details")?.setAttribute("open", "");
    card.scrollIntoView({ block: "start" });
  }

  function tickShown(on) {
    for (const card of visible()) if (!box(card).disabled) box(card).checked = on;
    tell();
  }

  async function copy() {
    try {
      await navigator.clipboard.writeText($("#text").value);
      $("#copy").textContent = "Copied";
      setTimeout(() => { $("#copy").textContent = "Copy"; }, 1500);
    } catch {
      // Not every browser lets a local file write the clipboard: select the text instead.
      $("#bar details").open = true;
      $("#text").select();
    }
  }

  const steps = { j: 1, k: -1 };
  function onKey(event) {
    if (event.target.matches("input[type=search], select, textarea") || event.ctrlKey
      || event.metaKey || event.altKey) return;
    const shown = visible();
    const at = shown.indexOf(document.activeElement.closest(".episode"));
    if (event.key in steps && shown.length) {
      const next = at < 0 ? 0 : Math.min(Math.max(at + steps[event.key], 0), shown.length - 1);
      shown[next].focus({ preventScroll: true });
      shown[next].scrollIntoView({ block: "start" });
    } else if (event.key === "x" && at >= 0) {
      box(shown[at]).click();
    } else if (event.key === "o" && at >= 0) {
      shown[at].querySelector("details > summary")?.click();
    } else if (event.key === "/") {
      event.preventDefault();
      $("#search").focus();
    }
  }

  const before = remember();
  if (Array.isArray(before)) {
    for (const card of cards) box(card).checked = before.includes(box(card).value);
  }
  list.addEventListener("change", tell);
  $("#tools").addEventListener("input", arrange);
  $("#tools").addEventListener("submit", (event) => event.preventDefault());
  $("#copy").addEventListener("click", copy);
  $("#shown-on").addEventListener("click", () => tickShown(true));
  $("#shown-off").addEventListener("click", () => tickShown(false));
  addEventListener("hashchange", show);
  addEventListener("keydown", onKey);
  arrange();
  tell();
  show();
})();
