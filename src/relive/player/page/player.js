// One replay being watched: joins clock, pictures, timeline, panels and controls.

import { address, getArray, getBlob, getJson, MARK } from "/page/api.js";
import { Buffer } from "/page/buffer.js";
import { connect, refresh } from "/page/controls.js";
import { $, clock, download, fault } from "/page/dom.js";
import { Film } from "/page/film.js";
import { LookAround } from "/page/look.js";
import { PathMap } from "/page/map.js";
import { drawQuality, markEvent, showEvents, showFacts } from "/page/panels.js";
import { Playback } from "/page/playback.js";
import { Plots } from "/page/plots.js";
import { Stage } from "/page/stage.js";
import { Thumbs } from "/page/thumbs.js";
import { Timeline } from "/page/timeline.js";

const PANELS_MS = 100, TIMELINE_MS = 45, FIGURES_MS = 700, SETTLE_MS = 120;
const FOUND = [[MARK.lost, "lost"], [MARK.damaged, "damaged"], [MARK.degraded, "degraded"]];

export class Player {
  static async open(id) {
    const player = new Player(await Film.open(id));
    await player.#start();
    return player;
  }

  constructor(film) {
    this.film = film;
    this.buffer = new Buffer(film, (layer, frame) => this.#arrived(layer, frame));
    this.stage = new Stage(film, this.buffer);
    this.playback = new Playback(film, this.buffer, this.stage.layersOf, (what) => this.#changed(what));
    this.thumbs = new Thumbs(film, () => !this.playback.playing && !this.buffer.urgent.size, () => this.timeline.showThumb());
    this.timeline = new Timeline(film, this.playback, this.thumbs, (t, isDrag) => this.seek(t, isDrag));
    this.plots = new Plots(film, this.playback);
    this.look = new LookAround(this);
    this.heats = new Map();
    this.dirty = true;
    this.lastPanels = this.lastTimeline = 0;
    this.stats = { seekedAt: 0, firstMs: null, exactMs: null };
  }

  async #start() {
    $("player").hidden = false;
    $("title").textContent = this.film.facts.name;
    $("subtitle").textContent = [this.film.facts.game, `quality ${this.film.facts.quality}`].filter(Boolean).join(" · ");
    document.title = `${this.film.facts.name} – Relive`;
    showFacts(this.film);
    showEvents(this.film, (t) => this.seek(t));
    connect(this);
    this.map = await PathMap.open(this.film, this.playback);
    this.seek(Number(new URLSearchParams(location.search).get("t")) || 0);
    new ResizeObserver(() => this.redraw()).observe($("player"));
    requestAnimationFrame((now) => this.#frame(now));
    this.thumbs.prepare();
  }

  redraw() {
    this.dirty = true;
    this.lastPanels = 0;
  }

  seek(seconds, isDrag = false) {
    this.dragging = isDrag;
    this.playback.seek(seconds);
  }

  toggleView(name) {
    this.stage.view[name] = !this.stage.view[name];
    this.viewChanged();
  }

  viewChanged() {
    this.stage.seen = "";
    this.figures = null;
    this.#settle();
    refresh(this);
    this.redraw();
  }

  lookChanged() {
    this.stage.seen = "";
    refresh(this);
    this.redraw();
  }

  #changed(what) {
    if (what === "seek" || this.playback.playing) this.look.leave();
    this.stage.waiting = this.playback.waiting;
    if (what === "seek") {
      this.stats = { seekedAt: performance.now(), firstMs: null, exactMs: null };
      this.stage.preview = null;
      this.#glance();
    }
    if (what === "seek" || what === "playing") this.#settle();
    refresh(this);
    this.redraw();
  }

  /** The keyframe's small picture, if it is at hand, until something better comes. */
  #glance() {
    const { frame, tiers } = this.playback;
    const gop = this.film.gopOf(frame), bitmap = this.thumbs.get(gop);
    const [main] = this.stage.layersOf(tiers);
    if (bitmap && main.startsWith("replay") && !this.buffer.get(main, frame)) {
      const marks = MARK.preview | MARK.firstTier;
      this.stage.preview = { frame, picture: { frame: this.film.gops[gop].start, bitmap, marks } };
    }
  }

  /** Ask for the exact picture of where we stand, once nothing moves. */
  #settle() {
    if (this.playback.playing) return;
    const { frame, tiers } = this.playback;
    const layers = this.stage.layersOf(tiers);
    this.buffer.only(layers);
    for (const [i, layer] of layers.entries()) {
      const onPreview = i ? undefined : (picture, wanted) => {
        if (wanted !== this.playback.frame) return;
        this.stage.preview = { frame: wanted, picture };
        this.dirty = true;
      };
      this.buffer.seek(layer, frame, onPreview);
    }
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.#remember(), SETTLE_MS);
  }

  #remember() {
    const here = new URL(location);
    here.searchParams.set("t", this.playback.position.toFixed(2));
    history.replaceState(null, "", here);
    this.#measure();
  }

  /** PSNR of the picture that is shown, from exact pixels. */
  async #measure() {
    const { compare, against } = this.stage.view;
    const { frame, tiers, playing } = this.playback;
    if (!compare || playing || this.measuring) return;
    this.measuring = true;
    try {
      const answer = await getJson(address(this.film.id, "psnr", { frame, tiers, against }));
      this.figures = { frame, text: answer.psnr_db === null ? "equal" : `${answer.psnr_db.toFixed(2)} dB` };
    } catch (error) {
      fault(error);
    }
    this.measuring = false;
    this.dirty = true;
    if (frame !== this.playback.frame && !this.playback.playing) setTimeout(() => this.#measure(), FIGURES_MS);
  }

  #arrived(layer, frame) {
    const marks = this.buffer.get(layer, frame)?.marks ?? 0;
    const found = FOUND.find(([bit]) => marks & bit);
    const gop = this.film.gops[this.film.gopOf(frame)];
    if (found && gop.condition === "whole") gop.condition = found[1];
    if (frame === this.playback.frame || this.playback.playing) this.dirty = true;
  }

  #isBroken(gop) {
    return ["damaged", "lost"].includes(this.film.gops[gop].condition);
  }

  async #wantHeat() {
    const gop = this.film.gopOf(this.playback.frame);
    this.stage.heat = this.heats.get(gop) ?? null;
    if (this.stage.heat || this.asking === gop || this.#isBroken(gop)) return;
    this.asking = gop;
    try {
      const heat = await getArray(address(this.film.id, "heat", { gop, tiers: this.playback.tiers }), Float32Array);
      const most = heat.data.reduce((a, b) => Math.max(a, b), 1);
      this.heats.set(gop, { ...heat, gop, most });
      if (this.heats.size > 24) this.heats.delete(this.heats.keys().next().value);
      this.dirty = true;
    } catch (error) {
      fault(error);
    }
  }

  #frame(now) {
    requestAnimationFrame((next) => this.#frame(next));
    const moved = this.playback.tick(now);
    const flickers = this.stage.view.compare === "flicker";
    if (this.stage.view.heat) this.#wantHeat();
    const isDue = moved || this.dirty;
    if (isDue || flickers) this.#paint(now);
    if (isDue && now - this.lastPanels > PANELS_MS) this.#panels(now);
  }

  #paint(now) {
    const { playback, stage } = this;
    const isExact = stage.draw(playback.frame, { tiers: playback.tiers, sparse: playback.sparse, playing: playback.playing, now });
    const took = now - this.stats.seekedAt;
    if (stage.shown !== undefined && this.stats.firstMs === null && (isExact || stage.preview)) this.stats.firstMs = took;
    if (isExact && this.stats.exactMs === null) this.stats.exactMs = took;
    const figures = $("figures");
    figures.textContent = this.#figuresText();
    figures.hidden = !figures.textContent;
    $("clock").textContent = `${clock(playback.position)} / ${clock(this.film.duration)}`;
    if (now - this.lastTimeline > TIMELINE_MS || !playback.playing) {
      this.lastTimeline = now;
      this.timeline.draw();
    }
    this.dirty = now - this.lastPanels <= PANELS_MS;
  }

  #figuresText() {
    const { view, heat } = this.stage, said = [];
    if (view.compare && this.figures?.frame === this.playback.frame) said.push(this.figures.text);
    const without = this.#isBroken(this.film.gopOf(this.playback.frame)) ? "no bits here" : "counting bits …";
    if (view.heat) said.push(heat ? `bits of a cube: 0 … ${Math.round(heat.most)} here` : without);
    return said.join(" · ");
  }

  #panels(now) {
    this.lastPanels = now;
    this.dirty = false;
    this.plots.draw();
    this.map?.draw();
    drawQuality(this.film, this.playback);
    markEvent(this.film, this.playback.position);
    this.#health();
  }

  #health() {
    const { counts, level, playing, costs, tier } = this.playback;
    const said = [`${counts.dropped} dropped`];
    if (counts.skipped) said.push(`${counts.skipped} skipped`);
    if (playing && tier === "auto" && level) said.push(["", "first tier", "keyframes"][level]);
    const cost = costs?.seconds_a_frame[this.playback.tiers];
    if (cost) said.push(`decodes ${(costs.workers / cost).toFixed(0)}/s`);
    $("health").textContent = said.join(" · ");
    $("health").classList.toggle("late", playing && level > 0);
  }

  async screenshot() {
    const { frame, tiers } = this.playback;
    const name = this.film.facts.name.replace(/^.*\//, "").replace(/\.relive$/, "");
    const view = this.look.active && this.stage.looking?.url;
    const exact = address(this.film.id, "picture", { frame, tiers });
    try {
      download(await getBlob(view || exact), `${name}-${frame}${view ? "-view" : ""}.png`);
    } catch (error) {
      fault(error);
    }
  }

  async clip(kind) {
    const { a, b } = this.playback.loop;
    const button = $(kind), label = button.textContent;
    this.clipping = true;
    refresh(this);
    button.textContent = "writing …";
    try {
      const range = { start: this.film.frameAt(a), stop: this.film.frameAt(b) + 1, kind };
      const name = this.film.facts.name.replace(/^.*\//, "").replace(/\.relive$/, "");
      download(await getBlob(address(this.film.id, "clip", range)), `${name}-${range.start}-${range.stop}.${kind}`);
    } catch (error) {
      fault(error);
    }
    button.textContent = label;
    this.clipping = false;
    refresh(this);
  }

  toEvent(direction) {
    const now = this.playback.position;
    const slack = this.playback.playing ? 0.5 : 0.5 / this.film.facts.fps;
    const times = this.film.facts.events.map((event) => event.t);
    const next = direction > 0 ? times.find((t) => t > now + 0.01) : times.findLast((t) => t < now - slack);
    if (next !== undefined) this.seek(next);
  }
}
