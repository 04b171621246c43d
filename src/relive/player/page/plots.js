// States over time, in step with the picture: choose fields, see the value now, zoom, click to seek.

import { $, brush, colour, make, range } from "/page/dom.js";

const MOST = 8;
const FIRST_CHOICE = /health|score|kills|ammo|speed|reward/i;

export class Plots {
  constructor(film, playback) {
    Object.assign(this, { film, playback });
    this.plots = [];
    const fields = film.facts.fields;
    $("plots-panel").hidden = !fields.length;
    const wished = fields.map((f, i) => i).filter((i) => FIRST_CHOICE.test(fields[i].name)).slice(0, 3);
    this.chosen = new Set(wished.length ? wished : fields.length ? [0] : []);
    $("fields").replaceChildren(...fields.map((field, i) => this.#button(field, i)));
    $("zoom").addEventListener("change", () => this.draw());
    $("plots").addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.#rebuild();
  }

  #button(field, i) {
    const button = make("button", { type: "button", textContent: field.name });
    button.setAttribute("aria-pressed", this.chosen.has(i));
    button.addEventListener("click", () => {
      if (!this.chosen.delete(i) && this.chosen.size < MOST) this.chosen.add(i);
      button.setAttribute("aria-pressed", this.chosen.has(i));
      this.#rebuild();
    });
    return button;
  }

  #wheel(event) {
    const zoom = $("zoom"), next = zoom.selectedIndex + (event.deltaY < 0 ? 1 : -1);
    if (!event.ctrlKey || next < 0 || next >= zoom.options.length) return;
    event.preventDefault();
    zoom.selectedIndex = next;
    this.draw();
  }

  async #rebuild() {
    const chosen = [...this.chosen].sort((a, b) => a - b);
    const plots = await Promise.all(chosen.map(async (i) => this.#plot(i, await this.film.column(i))));
    this.plots = plots;
    $("plots").replaceChildren(...plots.map((plot) => plot.box));
    this.draw();
  }

  #plot(i, values) {
    const field = this.film.facts.fields[i];
    const canvas = make("canvas"), value = make("output");
    canvas.setAttribute("aria-hidden", "true");
    const name = make("span", { textContent: field.unit ? `${field.name} (${field.unit})` : field.name });
    const box = make("div", { className: "plot" }, make("p", {}, name, value), canvas);
    canvas.addEventListener("click", (event) => {
      const [from, to] = this.#window();
      this.playback.seek(from + (event.offsetX / canvas.clientWidth) * (to - from));
    });
    return { box, canvas, value, values, field, range: range(values) };
  }

  #window() {
    const span = Number($("zoom").value), all = this.film.duration;
    if (!span || span >= all) return [0, all];
    const from = Math.min(all - span, Math.max(0, this.playback.position - span / 2));
    return [from, from + span];
  }

  draw() {
    const [from, to] = this.#window();
    for (const plot of this.plots) this.#draw(plot, from, to);
  }

  #draw(plot, from, to) {
    const { context, width, height } = brush(plot.canvas);
    const first = this.film.frameAt(from), last = this.film.frameAt(to);
    const [low, high] = plot.range, span = high - low || 1;
    const y = (value) => height - 3 - ((value - low) / span) * (height - 6);
    context.strokeStyle = colour("line");
    context.strokeRect(0.5, 0.5, width - 1, height - 1);
    context.strokeStyle = colour("plot");
    context.lineWidth = 1.4;
    context.beginPath();
    const stride = Math.max(1, Math.floor((last - first) / (2 * width)));
    let isGap = false;
    for (let frame = first; frame <= last; frame += stride) {
      if (Number.isNaN(plot.values[frame])) {
        isGap = true;
        continue;
      }
      const x = ((this.film.timeOf(frame) - from) / (to - from)) * width;
      let [lowest, highest] = [plot.values[frame], plot.values[frame]];
      for (let k = frame; k < Math.min(last + 1, frame + stride); k++) {
        if (plot.values[k] < lowest) lowest = plot.values[k];
        if (plot.values[k] > highest) highest = plot.values[k];
      }
      if (isGap) context.moveTo(x, y(highest));
      isGap = false;
      context.lineTo(x, y(highest));
      if (lowest !== highest) context.lineTo(x, y(lowest));
    }
    context.stroke();
    context.fillStyle = colour("text");
    context.fillRect(((this.playback.position - from) / (to - from)) * width - 0.5, 0, 1, height);
    plot.value.textContent = this.#text(plot);
  }

  #text(plot) {
    const value = plot.values[this.playback.frame];
    if (Number.isNaN(value)) return "missing";
    return Number.isInteger(value) ? String(value) : value.toPrecision(5);
  }
}
