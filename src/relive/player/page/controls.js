// Buttons, lists and keys on one side, the player on the other.

import { $, make } from "/page/dom.js";
import { listenToKeys } from "/page/keys.js";
import { regionColour } from "/page/overlays.js";
import { SPEEDS } from "/page/playback.js";

const MODES = ["", "split", "side", "difference", "flicker"];

const CLIPS = ["mp4", "gif"];

export function connect(player) {
  const { playback, stage, film } = player;
  const { facts } = film;
  $("speed").replaceChildren(...SPEEDS.map((speed) => make("option", { value: speed, textContent: `${speed}×` })));
  const others = [
    ...(facts.original ? [["original", "original"]] : []),
    ...(facts.tiers > 1 ? [["1", "first tier"], ["2", "all tiers"]] : []),
  ];
  $("against").replaceChildren(...others.map(([value, textContent]) => make("option", { value, textContent })));
  stage.view.against = others[0]?.[0] ?? "original";
  $("compare").disabled = $("against").disabled = !others.length;
  if (!others.length) $("compare").title = "Nothing to compare with: give --original, or a replay of two tiers";
  $("regions").disabled = !facts.regions.length;
  if (!facts.regions.length) $("regions").title = "Regions come from the original session (--original)";
  $("tier").disabled = facts.tiers < 2;

  const click = (id, action) => $(id).addEventListener("click", action);
  const actions = actionsOf(player);
  click("play", () => playback.toggle());
  click("back", () => playback.step(-1));
  click("forward", () => playback.step(1));
  click("mark-a", () => playback.setLoop(playback.position, playback.loop.b));
  click("mark-b", () => playback.setLoop(playback.loop.a ?? 0, playback.position));
  click("unloop", () => playback.setLoop(null, null));
  click("shot", () => player.screenshot());
  for (const kind of CLIPS) click(kind, () => player.clip(kind));
  click("full", actions.f);
  click("regions", actions.r);
  click("heat", actions.b);
  click("sharp", () => $("sharp").setAttribute("aria-pressed", $("stage").classList.toggle("sharp")));
  click("look", actions.v);
  click("fill", () => player.look.toggleFill());
  $("look").disabled = !facts.view;
  if (!facts.view) $("look").title = "Looking around needs a camera in the states (camera.x, y, z, yaw)";
  $("picture").addEventListener("click", () => player.look.active || playback.toggle());
  $("speed").addEventListener("change", () => playback.setSpeed(Number($("speed").value)));
  $("tier").addEventListener("change", () => {
    playback.tier = $("tier").value;
    player.viewChanged();
  });
  $("compare").addEventListener("change", () => setCompare(player, $("compare").value));
  $("against").addEventListener("change", () => {
    stage.view.against = $("against").value;
    player.viewChanged();
  });
  $("split").addEventListener("input", () => {
    stage.split = $("split").value / 1000;
    player.dirty = true;
  });
  listenToKeys((key) => (player.look.active && player.look.keys[key]) || actions[key]);
  refresh(player);
}

function actionsOf(player) {
  const { playback, stage } = player;
  const by = (seconds) => () => player.seek(playback.position + seconds);
  return {
    " ": () => playback.toggle(),
    ArrowLeft: by(-5), ArrowRight: by(5), "Shift+ArrowLeft": by(-1), "Shift+ArrowRight": by(1),
    Home: () => player.seek(0), End: () => player.seek(player.film.duration),
    ",": () => playback.step(-1), ".": () => playback.step(1),
    "[": () => playback.nudgeSpeed(-1), "]": () => playback.nudgeSpeed(1),
    l: () => nextLoop(playback),
    s: () => player.screenshot(),
    m: () => player.map?.toggle(),
    n: () => player.toEvent(1), p: () => player.toEvent(-1),
    c: () => !$("compare").disabled && setCompare(player, MODES[(MODES.indexOf(stage.view.compare) + 1) % MODES.length]),
    r: () => !$("regions").disabled && player.toggleView("regions"),
    b: () => player.toggleView("heat"),
    v: () => player.look.toggle(),
    f: () => (document.fullscreenElement ? document.exitFullscreen() : $("watch").requestFullscreen()),
    "?": () => $("help").showModal(),
  };
}

function nextLoop(playback) {
  const { a, b } = playback.loop;
  if (a === null) playback.setLoop(playback.position, null);
  else if (b === null) playback.setLoop(a, playback.position);
  else playback.setLoop(null, null);
}

function setCompare(player, mode) {
  player.stage.view.compare = mode;
  player.viewChanged();
}

function showLegend(player) {
  const { regions } = player.stage.view;
  $("legend").hidden = !regions;
  if (!regions) return;
  $("legend").replaceChildren(...player.film.facts.regions.map((region, place) => {
    const item = make("li", { textContent: region.name });
    item.style.borderLeftColor = `rgb(${regionColour(place)})`;
    return item;
  }));
}

/** Bring the controls in line with the player. */
export function refresh(player) {
  const { playback, stage } = player, { compare } = stage.view;
  const isPlaying = playback.playing;
  $("play").classList.toggle("playing", isPlaying);
  $("play").setAttribute("aria-label", isPlaying ? "Pause" : "Play");
  $("play").title = `${isPlaying ? "Pause" : "Play"} (Space)`;
  $("speed").value = playback.speed;
  $("compare").value = compare;
  $("against").value = stage.view.against;
  $("against").disabled = !compare;
  $("regions").setAttribute("aria-pressed", stage.view.regions);
  $("heat").setAttribute("aria-pressed", stage.view.heat);
  const { active, fill } = player.look;
  $("look").setAttribute("aria-pressed", active);
  $("fill").hidden = !active;
  $("fill").setAttribute("aria-pressed", fill);
  $("stage").classList.toggle("looking", active);
  $("split").hidden = compare !== "split" || active;
  const { a, b } = playback.loop;
  $("mark-a").classList.toggle("on", a !== null);
  $("mark-b").classList.toggle("on", b !== null);
  $("unloop").disabled = a === null && b === null;
  for (const kind of CLIPS) {
    const button = $(kind), name = kind.toUpperCase();
    button.disabled = a === null || b === null || player.clipping;
    button.title = button.disabled ? `Set A and B, then save the part between as ${name}` : `Save A–B as ${name}`;
  }
  showLegend(player);
  $("sides").hidden = !["split", "side"].includes(compare) || active;
  const chosen = $("against").selectedOptions[0]?.textContent ?? "";
  const [left, right] = $("sides").children;
  left.textContent = playback.tiers < player.film.facts.tiers ? "replay, first tier" : "replay";
  right.textContent = chosen;
}
