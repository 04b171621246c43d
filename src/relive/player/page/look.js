// Looking around while paused: a view from another camera, drawn by the server, one at a time.

import { address, getPicture } from "/page/api.js";
import { $, fault } from "/page/dom.js";

const TURN_DEG = 10, STEEPEST_DEG = 60, DRAG_DEG = 0.25, RETRY_MS = 400, CLICK_PX = 4;
const HERE = { forward: 0, right: 0, up: 0, turn: 0, pitch: 0 };

export class LookAround {
  constructor(player) {
    this.player = player;
    this.facts = player.film.facts.view;
    this.active = false;
    this.fill = false;
    this.offset = { ...HERE };
    this.wanted = 0; // counts what was asked for; what is drawn may be older
    this.drawn = 0;
    this.control = null;
    if (!this.facts) return;
    const pace = this.facts.pace;
    this.keys = {
      ArrowLeft: () => this.by({ turn: -TURN_DEG }), ArrowRight: () => this.by({ turn: TURN_DEG }),
      ArrowUp: () => this.by({ forward: pace }), ArrowDown: () => this.by({ forward: -pace }),
      "Shift+ArrowLeft": () => this.by({ right: -pace }), "Shift+ArrowRight": () => this.by({ right: pace }),
      "Shift+ArrowUp": () => this.by({ pitch: TURN_DEG }), "Shift+ArrowDown": () => this.by({ pitch: -TURN_DEG }),
      Escape: () => this.leave(), v: () => this.leave(),
    };
    this.#listen();
  }

  toggle() {
    if (this.active) this.leave();
    else this.enter();
  }

  enter() {
    const { playback } = this.player;
    if (!this.facts) return;
    if (playback.playing) playback.pause();
    this.active = true;
    this.frame = playback.frame;
    this.offset = { ...HERE };
    this.#ask();
    this.player.lookChanged();
  }

  leave() {
    if (!this.active) return;
    this.active = false;
    this.control?.abort();
    this.control = null;
    this.player.stage.looking?.bitmap?.close();
    this.player.stage.looking = null;
    this.player.lookChanged();
  }

  /** Go on from here: steps along the heading of the view, as a person takes them. */
  by({ forward = 0, right = 0, turn = 0, pitch = 0 }) {
    const { offset } = this, heading = (offset.turn * Math.PI) / 180;
    offset.forward += forward * Math.cos(heading) - right * Math.sin(heading);
    offset.right += forward * Math.sin(heading) + right * Math.cos(heading);
    offset.turn = ((offset.turn + turn + 540) % 360) - 180;
    offset.pitch = Math.min(STEEPEST_DEG, Math.max(-STEEPEST_DEG, offset.pitch + pitch));
    this.#ask();
  }

  toggleFill() {
    this.fill = !this.fill;
    this.#ask();
    this.player.lookChanged();
  }

  #ask() {
    this.wanted++;
    this.player.stage.looking ??= { bitmap: null, seen: 0 };
    this.player.stage.looking.waiting = true;
    this.player.dirty = true;
    if (!this.control) this.#draw();
  }

  /** Draw what is wanted now; what was wanted in between is left out. */
  async #draw() {
    const control = (this.control = new AbortController());
    while (this.active && this.drawn !== this.wanted && !control.signal.aborted) {
      const number = this.wanted;
      const values = { frame: this.frame, tiers: this.player.playback.tiers, fill: this.fill, ...this.offset };
      try {
        const picture = await getPicture(address(this.player.film.id, "view", values), { signal: control.signal });
        if (control.signal.aborted) picture.bitmap.close();
        else this.#show(picture, number);
      } catch (error) {
        if (error.status === 429) await new Promise((done) => setTimeout(done, RETRY_MS));
        else {
          if (!control.signal.aborted) this.drawn = number;
          fault(error);
        }
      }
    }
    if (this.control === control) this.control = null;
  }

  #show(picture, number) {
    const { stage } = this.player;
    this.drawn = number;
    stage.looking.bitmap?.close();
    Object.assign(stage.looking, picture, { waiting: number !== this.wanted });
    this.player.dirty = true;
  }

  #listen() {
    const picture = $("picture");
    let last = null, far = 0;
    picture.addEventListener("pointerdown", (event) => {
      if (!this.active && event.altKey) this.enter();
      if (!this.active) return;
      [last, far] = [event, 0];
      picture.setPointerCapture(event.pointerId);
    });
    picture.addEventListener("pointermove", (event) => {
      if (!this.active || !last) return;
      const [x, y] = [event.clientX - last.clientX, event.clientY - last.clientY];
      far += Math.hypot(x, y);
      last = event;
      if (far > CLICK_PX) this.by({ turn: -DRAG_DEG * x, pitch: DRAG_DEG * y });
    });
    picture.addEventListener("pointerup", () => (last = null));
  }
}
