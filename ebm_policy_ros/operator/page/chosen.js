// Chosen actions over a camera's picture: lines with a dot after each action, in the picture's pixels.

const SVG = "http://www.w3.org/2000/svg";
const UNLIKE = 0.02; // relative difference of aspect ratios from which a picture is another one

export class Chosen {
  constructor(image) {
    this.image = image;
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("aria-hidden", "true");
    this.paths = ["later line", "later dots", "next line", "next dots"].map((name) => {
      const path = this.svg.appendChild(document.createElementNS(SVG, "path"));
      path.setAttribute("class", name);
      return path;
    });
  }

  // Draws what the policy node tells, or nothing; returns the words about it.
  draw(told) {
    const [height, width] = told?.size ?? [0, 0];
    const ratio = (this.image.naturalWidth * height) / (this.image.naturalHeight * width);
    const isLike = Math.abs(ratio - 1) <= UNLIKE;
    const lines = isLike ? told.lines.filter((line) => line.length > 1) : [];
    const split = (from, to) => lines.map((line) => line.slice(from, to)).filter((line) => line.length);
    const next = told?.executed ?? 0;
    if (lines.length) this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    [way(split(next)), dots(split(next + 1)), way(split(0, next + 1)), dots(split(1, next + 1))].forEach((d, i) => {
      this.paths[i].setAttribute("d", d);
    });
    if (lines.length) return "line: chosen actions";
    return ratio && !isLike ? `no chosen actions: projection.size is ${height}x${width}` : "";
  }
}

function way(lines) {
  return lines.map((line) => `M${line.join("L")}`).join("");
}

// A line of no length has round ends.
function dots(lines) {
  return lines.flat().map((point) => `M${point}h0`).join("");
}
