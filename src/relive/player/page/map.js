// The path of the camera from above, where it stands now and what it sees.

import { $, brush, colour, range } from "/page/dom.js";

const TURN = { deg: Math.PI / 180, rad: 1, turn: 2 * Math.PI };
const MARGIN = 26, CONE_PX = 34, PICK_PX = 18;

export class PathMap {
  static async open(film, playback) {
    const camera = film.facts.camera;
    if (!camera) return null;
    const names = ["x", "y", "yaw", "fov"];
    const columns = {};
    for (const name of names) {
      if (camera[name] !== null && camera[name] !== undefined) columns[name] = await film.column(camera[name]);
    }
    return new PathMap(film, playback, camera, columns);
  }

  constructor(film, playback, camera, columns) {
    Object.assign(this, { film, playback, camera, columns });
    this.canvas = $("map");
    const isKnown = (_, frame) => this.#isKnown(frame);
    this.limits = { x: range(columns.x.filter(isKnown)), y: range(columns.y.filter(isKnown)) };
    $("map-panel").hidden = false;
    $("map-note").textContent = "click the path to go there";
    this.canvas.addEventListener("click", (event) => this.#pick(event.offsetX, event.offsetY));
  }

  toggle() {
    $("map-panel").hidden = !$("map-panel").hidden;
    this.draw();
  }

  /** Frames of a lost or damaged part have no state. */
  #isKnown(frame) {
    return !Number.isNaN(this.columns.x[frame]);
  }

  #scale(width, height) {
    const [left, right] = this.limits.x, [low, high] = this.limits.y;
    const k = Math.min((width - 2 * MARGIN) / (right - left || 1), (height - 2 * MARGIN) / (high - low || 1));
    const shift = [(width - k * (right - left)) / 2, (height - k * (high - low)) / 2];
    return (frame) => [shift[0] + k * (this.columns.x[frame] - left), height - shift[1] - k * (this.columns.y[frame] - low)];
  }

  #pick(x, y) {
    const at = this.#scale(this.canvas.clientWidth, this.canvas.clientHeight);
    let best = [PICK_PX, -1];
    for (let frame = 0; frame <= this.film.last; frame++) {
      if (!this.#isKnown(frame)) continue;
      const [px, py] = at(frame);
      const gap = Math.hypot(px - x, py - y);
      if (gap < best[0]) best = [gap, frame];
    }
    if (best[1] >= 0) this.playback.seek(this.film.timeOf(best[1]));
  }

  draw() {
    if ($("map-panel").hidden) return;
    const { context, width, height } = brush(this.canvas);
    const at = this.#scale(width, height), now = this.playback.frame;
    const stride = Math.max(1, Math.floor(this.film.last / 4000));
    this.#line(context, at, 0, this.film.last, stride, colour("lost"), 1);
    this.#line(context, at, 0, now, stride, colour("accent"), 2);
    if (!this.#isKnown(now)) return;
    const [x, y] = at(now);
    if (this.columns.yaw) this.#cone(context, x, y, now);
    context.fillStyle = colour("accent");
    context.beginPath();
    context.arc(x, y, 4.5, 0, 7);
    context.fill();
  }

  #line(context, at, first, last, stride, stroke, lineWidth) {
    Object.assign(context, { strokeStyle: stroke, lineWidth, lineJoin: "round" });
    context.beginPath();
    let isGap = true;
    for (let frame = first; frame <= last; frame += stride) {
      const isKnown = this.#isKnown(frame);
      if (isKnown) context[isGap ? "moveTo" : "lineTo"](...at(frame));
      isGap = !isKnown;
    }
    context.stroke();
  }

  #cone(context, x, y, frame) {
    const sign = this.camera.yaw_positive === "left" ? 1 : -1;
    const yaw = sign * this.columns.yaw[frame] * (TURN[this.camera.yaw_unit] ?? TURN.deg);
    const fov = (this.columns.fov ? this.columns.fov[frame] : this.camera.fov_deg) * TURN.deg;
    context.fillStyle = colour("loop");
    context.strokeStyle = colour("accent");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, y);
    context.arc(x, y, CONE_PX, -yaw - fov / 2, -yaw + fov / 2);
    context.closePath();
    context.fill();
    context.stroke();
  }
}
