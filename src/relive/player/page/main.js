// One file opens at once; several, or a folder, show the library first.

import { getJson } from "/page/api.js";
import { $, fault } from "/page/dom.js";
import { startLibrary } from "/page/library.js";
import { Player } from "/page/player.js";
import { startTheme } from "/page/theme.js";

let player = null;
startTheme(() => player?.redraw());
$("help-button").addEventListener("click", () => $("help").showModal());
$("help").addEventListener("click", (event) => event.target === $("help") && $("help").close());

try {
  const wanted = new URLSearchParams(location.search).get("file");
  const { files } = await getJson("/api/files");
  const only = files.length === 1 ? files[0].id : null;
  if (wanted || only) {
    player = await Player.open(wanted || only);
    window.relivePlayer = player; // for tools that measure the page
  } else {
    await startLibrary();
  }
} catch (error) {
  fault(error, true);
}
