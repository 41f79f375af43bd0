/**
 * The recorded data: a year of hourly weather in Seattle, as the package `vega-datasets` ships it, dealt
 * out to stations like cards. Nothing is downloaded.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** What a station sends. A broken sensor sends text where a number belongs. */
export interface Reading {
  readonly at: string;
  readonly temperature: number | string;
  readonly pressure: number;
  readonly wind: number;
}

/** Every so many readings one is spoilt, so that there is something to reject. */
const BROKEN_EACH = 250;

/** One list of readings a station, each in the order of time. */
export function readingsByStation(stations: number): Reading[][] {
  const entry = import.meta.resolve("vega-datasets");
  const file = new URL("../data/seattle-weather-hourly-normals.csv", entry);
  const rows = readFileSync(fileURLToPath(file), "utf8").trim().split("\n").slice(1);
  const hands: Reading[][] = Array.from({ length: stations }, () => []);
  rows.forEach((row, i) => {
    const [at, pressure, temperature, wind] = row.split(",") as [string, string, string, string];
    hands[i % stations]!.push({
      at,
      temperature: i % BROKEN_EACH === BROKEN_EACH - 1 ? "sensor fault" : Number(temperature),
      pressure: Number(pressure),
      wind: Number(wind),
    });
  });
  return hands;
}

export function isWhole(reading: Reading): boolean {
  return typeof reading.temperature === "number";
}
