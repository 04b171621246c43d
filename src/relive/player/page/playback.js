// The clock. It is honest: a frame that is not decoded in time is left out and counted.

import { address, getJson } from "/page/api.js";

export const SPEEDS = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8];
export const LEVEL = { all: 0, first: 1, keyframes: 2 };
const READY_FRAMES = 6, PATIENCE_MS = 3000, FOLLOW_MS = 80, JUDGE_MS = 1500, PROBE_MS = 10_000, PROBE_MOST_MS = 120_000;
const MOST_LATE = 0.2, MOST_LATE_FIRST = 0.6; // of the frames; half of a movement is better than none
const HELD_MS = 6000; // a level that lasts so long is one that the machine can bear
const DISPLAY_HZ = 55;

export class Playback {
  constructor(film, buffer, layersOf, changed) {
    Object.assign(this, { film, buffer, layersOf, changed });
    this.position = 0;
    this.frame = 0;
    this.playing = false;
    this.waiting = false;
    this.speed = 1;
    this.loop = { a: null, b: null };
    this.counts = { shown: 0, dropped: 0, skipped: 0 };
    this.tier = "auto";
    this.level = LEVEL.all;
    this.next = null; // level from the next GOP on
    this.probeMs = PROBE_MS;
    this.probing = false;
    this.badly = 0; // judgements in a row that found too many frames late
    this.costs = null;
    this.judged = { at: 0, dropped: 0 };
    this.lastFollow = 0;
  }

  get sparse() {
    return this.#isSparse(this.level);
  }

  /** Tiers that are shown now: a paused picture has all, unless the first alone was chosen. */
  get tiers() {
    if (this.tier !== "auto") return Math.min(Number(this.tier), this.film.facts.tiers);
    return this.playing ? this.#tiersAt(this.level) : this.film.facts.tiers;
  }

  #isSparse(level) {
    return this.playing && this.tier === "auto" && level === LEVEL.keyframes;
  }

  #tiersAt(level) {
    return level === LEVEL.all ? this.film.facts.tiers : 1;
  }

  play() {
    if (this.frame >= this.film.last) this.#move(this.loop.a ?? 0);
    this.playing = true;
    this.#setLevel(this.#affordable());
    this.judged = { at: performance.now(), dropped: this.counts.dropped };
    this.#wait();
    this.#ask();
    this.changed("playing");
  }

  pause() {
    this.playing = this.waiting = false;
    this.position = this.film.timeOf(this.frame);
    this.changed("playing");
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  seek(seconds) {
    this.#move(Math.min(this.film.timeOf(this.film.last), Math.max(0, seconds)));
    if (this.playing) this.#wait();
    this.changed("seek");
  }

  step(frames) {
    if (this.playing) this.pause();
    this.seek(this.film.timeOf(this.frame + frames));
  }

  setSpeed(speed) {
    this.speed = speed;
    this.probeMs = PROBE_MS;
    this.probing = false;
    this.#anchor();
    this.#setLevel(this.#affordable());
    this.changed("speed");
  }

  nudgeSpeed(by) {
    const nearest = SPEEDS.findIndex((speed) => speed >= this.speed - 1e-6);
    this.setSpeed(SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, nearest + by))]);
  }

  setLoop(a, b) {
    this.loop = a !== null && b !== null && b < a ? { a: b, b: a } : { a, b };
    this.changed("loop");
  }

  /** Move the clock; returns whether another frame is due. */
  tick(now) {
    const before = this.frame;
    this.buffer.playhead = this.frame;
    if (!this.playing) return false;
    if (now - this.lastFollow > FOLLOW_MS || this.waiting) this.#follow(now);
    if (this.waiting) {
      if (!this.#isReady() && now - this.waitedSince < PATIENCE_MS) return false;
      this.waiting = false;
      this.#anchor(now);
      this.changed("playing");
    }
    this.position = this.anchorPosition + ((now - this.anchorTime) / 1000) * this.speed;
    const end = this.loop.b ?? this.film.duration;
    if (this.position >= end) return this.#atEnd();
    this.frame = this.film.frameAt(this.position);
    this.#count(before);
    if (this.next !== null && this.film.gopOf(before) !== this.film.gopOf(this.frame)) this.#setLevel(this.next);
    this.#judge(now);
    return this.frame !== before;
  }

  #atEnd() {
    if (this.loop.b !== null) {
      this.#move(this.loop.a ?? 0);
      if (!this.#isReady()) this.#wait();
      return true;
    }
    this.frame = this.film.last;
    this.pause();
    return true;
  }

  #move(seconds) {
    this.position = seconds;
    this.frame = this.film.frameAt(seconds);
    this.buffer.playhead = this.frame;
    this.#anchor();
  }

  #anchor(now = performance.now()) {
    this.anchorTime = now;
    this.anchorPosition = this.position;
  }

  #wait() {
    this.waiting = true;
    this.waitedSince = performance.now();
  }

  #isReady() {
    const layer = this.layersOf(this.tiers)[0];
    const frames = this.sparse ? 1 : Math.min(READY_FRAMES, this.film.last - this.frame + 1);
    const first = this.sparse ? this.film.gops[this.film.gopOf(this.frame)].start : this.frame;
    for (let i = 0; i < frames; i++) if (!this.buffer.get(layer, first + i)) return false;
    return true;
  }

  #follow(now) {
    this.lastFollow = now;
    const layers = this.layersOf(this.tiers);
    const after = this.film.gops[this.film.gopOf(this.frame) + 1];
    if (this.next === null || !after) {
      this.buffer.only(layers);
      for (const layer of layers) this.buffer.follow(layer, this.frame, this.sparse);
      return;
    }
    const coming = this.layersOf(this.#tiersAt(this.next));
    this.buffer.only([...layers, ...coming]);
    for (const layer of layers) if (!coming.includes(layer)) this.buffer.follow(layer, this.frame, this.sparse, 1);
    for (const layer of coming) this.buffer.follow(layer, after.start, this.#isSparse(this.next), 1);
  }

  #count(before) {
    const layer = this.layersOf(this.tiers)[0];
    const canShowAll = this.film.facts.fps * this.speed <= DISPLAY_HZ;
    for (let frame = before + 1; frame <= this.frame; frame++) {
      const isKeyframe = this.film.gops[this.film.gopOf(frame)].start === frame;
      if (this.sparse) this.counts[isKeyframe && this.buffer.get(layer, frame) ? "shown" : "skipped"]++;
      else if (!this.buffer.get(layer, frame)) this.counts.dropped++;
      else if (frame < this.frame) this.counts[canShowAll ? "dropped" : "skipped"]++;
      else this.counts.shown++;
    }
  }

  /**
   * Cheaper pictures where too many are late. Dearer ones only as a trial, each time after a longer
   * wait: what they cost is known from quieter moments, and the level that holds shall be kept.
   */
  #judge(now) {
    const span = now - this.judged.at;
    if (this.tier !== "auto" || span < JUDGE_MS) return;
    const due = (span / 1000) * this.film.facts.fps * this.speed;
    const late = (this.counts.dropped - this.judged.dropped) / Math.max(1, due);
    this.judged = { at: now, dropped: this.counts.dropped };
    const affordable = this.#affordable();
    const bearable = this.level === LEVEL.all ? MOST_LATE : MOST_LATE_FIRST;
    const patience = this.level === LEVEL.all || this.probing ? 1 : 2;
    const since = now - this.levelSince;
    this.badly = late > bearable ? this.badly + 1 : 0;
    if (this.badly >= patience && this.level < LEVEL.keyframes) this.next = Math.max(this.level + 1, affordable);
    else if (since > this.probeMs && late < 0.01 && (this.sparse || affordable < this.level)) {
      this.next = this.level - 1; // keyframes alone do not tell what a whole GOP costs by now
      this.probing = true;
    } else if (this.probing && this.badly === 0 && since > HELD_MS) {
      this.probing = false;
      this.probeMs = PROBE_MS;
    }
    this.#ask();
    this.changed("level");
  }

  /** The best level whose cost, as measured, the workers can bear. */
  #affordable() {
    if (!this.costs) return LEVEL.all;
    const { workers, seconds_a_frame: costs } = this.costs;
    const need = this.film.facts.fps * this.speed;
    const fits = (cost, share) => !cost || share * need * cost <= 0.9 * workers;
    if (fits(costs[2], 1)) return LEVEL.all;
    return fits(costs[1] || costs[2] / 2, 1 - MOST_LATE_FIRST) ? LEVEL.first : LEVEL.keyframes;
  }

  #setLevel(level) {
    if (level > this.level) {
      if (this.probing) this.probeMs = Math.min(2 * this.probeMs, PROBE_MOST_MS);
      this.probing = false;
    }
    this.levelSince = performance.now();
    this.level = level;
    this.badly = 0;
    this.next = null;
  }

  #ask() {
    getJson(address(this.film.id, "speed")).then((costs) => (this.costs = costs)).catch(() => {});
  }
}
