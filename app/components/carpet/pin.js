// Carries pin and range from Python to the matrix of the same name.
export default function ({ data }) {
  const pins = (globalThis[Symbol.for("gatescope.pins")] ??= new Map());
  const place = pins.get(data.channel) ?? {};
  place.message = data;
  pins.set(data.channel, place);
  place.apply?.(data);
}
