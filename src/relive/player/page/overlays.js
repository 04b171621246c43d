// What is laid over the picture: regions of the original session, bits of every cube.

const CUBE_PX = 16, ALPHA = 0.45;
const PALETTE = [[78, 121, 167], [242, 142, 43], [225, 87, 89], [118, 183, 178], [89, 161, 79], [237, 201, 72],
  [176, 122, 161], [255, 157, 167], [156, 117, 95], [186, 176, 172]];
const scratch = document.createElement("canvas");

export const regionColour = (place) => PALETTE[place % PALETTE.length];

/** Colour a map of region numbers. */
export function paintRegions(context, bitmap, regions, width, height) {
  [scratch.width, scratch.height] = [width, height];
  const pen = scratch.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  const image = pen.getImageData(0, 0, width, height);
  const places = new Map(regions.map((region, place) => [region.id, place]));
  for (let i = 0; i < image.data.length; i += 4) {
    const place = places.get(image.data[i]);
    const [r, g, b] = place === undefined ? [0, 0, 0] : regionColour(place);
    image.data.set([r, g, b, place === undefined ? 0 : 255 * ALPHA], i);
  }
  pen.putImageData(image, 0, 0);
  context.drawImage(scratch, 0, 0);
}

/** Frame a picture that is not whole. */
export function paintHatch(context, colour, width, height) {
  const thick = Math.max(2, Math.round(height / 40));
  context.save();
  context.beginPath();
  context.rect(0, 0, width, height);
  context.rect(thick, thick, width - 2 * thick, height - 2 * thick);
  context.clip("evenodd");
  context.fillStyle = "#0000008c";
  context.fillRect(0, 0, width, height);
  context.strokeStyle = colour;
  context.lineWidth = thick;
  context.beginPath();
  for (let x = -height; x < width; x += 3 * thick) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.stroke();
  context.restore();
}

/** Colour every cube by its bits: from nothing over violet and orange to white. */
export function paintHeat(context, heat, film, frame, width, height) {
  const local = frame - film.gops[heat.gop].start;
  const [count, h, w] = heat.shape;
  if (local < 0 || local >= count) return;
  const top = Math.log2(1 + heat.most);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const bits = heat.data[(local * h + y) * w + x];
      const share = Math.log2(1 + bits) / top;
      context.fillStyle = `hsla(${280 - 250 * share}, 90%, ${25 + 55 * share}%, ${0.12 + 0.48 * share})`;
      context.fillRect(x * CUBE_PX, y * CUBE_PX, Math.min(CUBE_PX, width - x * CUBE_PX), Math.min(CUBE_PX, height - y * CUBE_PX));
    }
  }
}
