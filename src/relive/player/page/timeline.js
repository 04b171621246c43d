// The timeline: condition of every part, quality, events, loop, playhead; pictures under the pointer.

import { $, brush, clock, colour } from "/page/dom.js";

const BAND = 12, TOP = 8;
const WORDS = { damaged: "damaged", lost: "lost from the file", degraded: "first tier only" };

export class Timeline {
  constructor(film, playback, thumbs, seek) {
    Object.assign(this, { film, playback, thumbs, seek });
    this.box = $("timeline");
    this.canvas = this.box.querySelector(":scope > canvas");
    this.box.setAttribute("aria-valuemax", film.last);
    this.#listen();
  }

  #listen() {
    this.box.addEventListener("pointerdown", (event) => {
      this.box.setPointerCapture(event.pointerId);
      this.drag = true;
      this.seek(this.#timeAt(event), true);
    });
    this.box.addEventListener("pointermove", (event) => {
      this.#hover(event);
      if (this.drag) this.seek(this.#timeAt(event), true);
    });
    const release = (event) => {
      if (this.drag && event.type === "pointerup") this.seek(this.#timeAt(event), false);
      this.drag = false;
    };
    this.box.addEventListener("pointerup", release);
    this.box.addEventListener("pointercancel", release);
    this.box.addEventListener("pointerleave", () => ($("hover").hidden = true));
  }

  #timeAt(event) {
    const box = this.box.getBoundingClientRect();
    return (Math.min(1, Math.max(0, (event.clientX - box.left) / box.width))) * this.film.duration;
  }

  #hover(event) {
    const seconds = this.#timeAt(event), frame = this.film.frameAt(seconds);
    this.hovered = this.film.gopOf(frame);
    const gop = this.film.gops[this.hovered];
    const bubble = $("hover"), box = this.box.getBoundingClientRect();
    bubble.hidden = false;
    const left = event.clientX - box.left - bubble.offsetWidth / 2;
    bubble.style.left = `${Math.min(box.width - bubble.offsetWidth, Math.max(0, left))}px`;
    const notes = [clock(seconds), `frame ${frame}`, WORDS[gop.condition]];
    bubble.querySelector("p").textContent = notes.filter(Boolean).join(" · ");
    this.thumbs.want(this.hovered);
    this.showThumb();
  }

  showThumb() {
    const canvas = $("hover").querySelector("canvas"), picture = this.thumbs.get(this.hovered);
    const { width, height } = this.film.facts;
    canvas.height = Math.round((160 * height) / width);
    if (picture) canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  }

  x(seconds, width) {
    return (seconds / this.film.duration) * width;
  }

  draw() {
    const { context, width, height } = brush(this.canvas);
    const bottom = height - 14;
    this.#conditions(context, width, bottom);
    this.#quality(context, width, bottom - BAND - 4);
    this.#loop(context, width, bottom);
    this.#events(context, width, bottom);
    this.#playhead(context, width, bottom);
    this.#say();
  }

  #conditions(context, width, bottom) {
    for (const gop of this.film.gops) {
      const left = this.x(this.film.timeOf(gop.start), width);
      const right = gop.stop > this.film.last ? width : this.x(this.film.timeOf(gop.stop), width);
      context.fillStyle = colour(gop.condition === "whole" ? "good" : gop.condition);
      context.globalAlpha = gop.condition === "whole" ? 0.45 : 1;
      context.fillRect(left, bottom - BAND, Math.max(1, right - left - 1), BAND);
    }
    context.globalAlpha = 1;
    context.fillStyle = colour("lost");
    for (const [start, stop] of this.film.facts.absent) {
      const left = this.x(this.film.timeOf(start), width);
      context.fillRect(left, bottom - BAND, Math.max(2, this.x(this.film.timeOf(stop), width) - left), BAND);
    }
  }

  #quality(context, width, bottom) {
    const measured = this.film.gops.filter((gop) => gop.psnr_db);
    if (!measured.length) return;
    const values = measured.map((gop) => gop.psnr_db);
    const low = Math.min(...values) - 1, high = Math.max(...values) + 1;
    context.strokeStyle = colour("quiet");
    context.beginPath();
    for (const gop of measured) {
      const y = bottom - ((gop.psnr_db - low) / (high - low)) * (bottom - TOP);
      context.lineTo(this.x(this.film.timeOf(gop.start), width), y);
      context.lineTo(this.x(this.film.timeOf(gop.stop), width), y);
    }
    context.stroke();
  }

  #loop(context, width, bottom) {
    const { a, b } = this.playback.loop;
    if (a === null) return;
    const left = this.x(a, width), right = b === null ? left + 2 : this.x(b, width);
    context.fillStyle = colour("loop");
    context.fillRect(left, 0, right - left, bottom);
    context.fillStyle = colour("accent");
    context.fillRect(left, 0, 2, bottom);
    if (b !== null) context.fillRect(right - 2, 0, 2, bottom);
    context.font = "600 11px sans-serif";
    context.fillText("A", left + 5, 10);
    if (b !== null) context.fillText("B", right - 12, 10);
  }

  #events(context, width, bottom) {
    context.fillStyle = colour("text");
    for (const event of this.film.facts.events) {
      const x = this.x(event.t, width);
      context.beginPath();
      context.moveTo(x, bottom + 2);
      context.lineTo(x - 4, bottom + 10);
      context.lineTo(x + 4, bottom + 10);
      context.fill();
    }
  }

  #playhead(context, width, bottom) {
    const x = Math.min(width - 1, Math.max(1, this.x(this.playback.position, width)));
    context.fillStyle = colour("accent");
    context.fillRect(x - 1, 0, 2, bottom + 2);
    context.beginPath();
    context.arc(x, 5, 5, 0, 7);
    context.fill();
  }

  #say() {
    const { frame, position } = this.playback;
    if (frame === this.said) return;
    this.said = frame;
    const condition = WORDS[this.film.gops[this.film.gopOf(frame)].condition];
    this.box.setAttribute("aria-valuenow", frame);
    const said = `${clock(position)} of ${clock(this.film.duration)}, frame ${frame}`;
    this.box.setAttribute("aria-valuetext", condition ? `${said}, ${condition}` : said);
  }
}
