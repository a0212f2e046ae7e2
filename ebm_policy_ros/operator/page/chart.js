// A strip chart on a canvas: the last minute of a few series, and a level that matters.

const WINDOW = 60; // s

export class Chart {
  // series: [{ name, colour: CSS variable }]; level: { text } of a dashed line.
  constructor(canvas, { series, unit, least }) {
    this.canvas = canvas;
    this.series = series.map((each) => ({ ...each, points: [] }));
    this.unit = unit;
    this.least = least; // the axis reaches at least this value
    this.level = null;
  }

  add(time, values) {
    this.series.forEach((each, i) => {
      const last = each.points[each.points.length - 1];
      // A gap in time, or a missing value, interrupts the line.
      if (last && time - last[0] > 2) each.points.push([time, null]);
      each.points.push([time, values[i] ?? null]);
      while (each.points[0][0] < time - WINDOW - 1) each.points.shift();
    });
    this.time = time;
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    if (!width || this.time === undefined) return;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const style = getComputedStyle(this.canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    const g = this.canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    g.font = "12px system-ui, sans-serif";
    const left = 40, bottom = height - 18, top = 8, right = width - 6;
    const all = this.series.flatMap((each) => each.points.map((point) => point[1] ?? 0));
    const most = nice(Math.max(this.least, this.level ?? 0, ...all) * 1.05);
    const x = (time) => right - ((this.time - time) / WINDOW) * (right - left);
    const y = (value) => bottom - (Math.min(value, most) / most) * (bottom - top);
    g.lineWidth = 1;
    g.textAlign = "right";
    g.textBaseline = "middle";
    for (const value of [0, most / 2, most]) {
      g.strokeStyle = colour("--line");
      line(g, left, y(value), right, y(value));
      g.fillStyle = colour("--soft");
      g.fillText(`${+value.toPrecision(3)}`, left - 6, y(value));
    }
    g.textBaseline = "alphabetic";
    g.textAlign = "left";
    g.fillText(`${this.unit}, last minute`, left, height - 3);
    if (this.level !== null) {
      g.strokeStyle = colour("--bad");
      g.setLineDash([5, 4]);
      line(g, left, y(this.level), right, y(this.level));
      g.setLineDash([]);
    }
    g.textAlign = "right";
    let end = right;
    for (const each of [...this.series].reverse()) {
      g.strokeStyle = g.fillStyle = colour(each.colour);
      g.fillText(each.name, end, height - 3);
      end -= g.measureText(each.name).width + 14;
      g.lineWidth = 1.6;
      g.beginPath();
      let isDown = false;
      for (const [time, value] of each.points) {
        if (value === null || x(time) < left) isDown = false;
        else if (isDown) g.lineTo(x(time), y(value));
        else {
          g.moveTo(x(time) - 1, y(value)); // a value between two gaps is seen too
          g.lineTo(x(time), y(value));
          isDown = true;
        }
      }
      g.stroke();
    }
  }
}

function line(g, x0, y0, x1, y1) {
  g.beginPath();
  g.moveTo(x0, y0);
  g.lineTo(x1, y1);
  g.stroke();
}

// The next of 1, 2, 5, 10, 20, ...
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value);
}
