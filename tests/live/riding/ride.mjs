// Writes one key after the other with a client of examples/node until standard input ends; tells the same as ride.py.
//
// usage: node ride.mjs FOLDER LIBRARY TOPOLOGY     (RIDE_PATIENCE in the environment: seconds, for all writes but the first one)
import { pathToFileURL } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";

const PAUSE_MS = 10;
const TELL_MS = 100;

const [folder, library, topology] = process.argv.slice(2);
const { patiently } = await import(pathToFileURL(`${folder}/common.mjs`));
const { client, close } = await import(pathToFileURL(`${folder}/${library}/${topology}.mjs`));

const hasty = process.env.RIDE_PATIENCE ? [Number(process.env.RIDE_PATIENCE)] : [];

let stopped = false;
process.stdin.resume().on("end", () => (stopped = true));

const key = (number) => `ride:${library}:${folder}:${number}`;
const state = { writes: 0, longest: 0 };
let told = 0;
try {
  while (!stopped) {
    const started = performance.now();
    await patiently(async () => (await client()).set(key(state.writes), String(state.writes)), ...(state.writes ? hasty : []));
    state.writes += 1;
    state.longest = Math.max(state.longest, (performance.now() - started) / 1000);
    if (performance.now() - told > TELL_MS) {
      told = performance.now();
      console.log(JSON.stringify(state));
    }
    await sleep(PAUSE_MS);
  }
  state.read = 0;
  for (let number = 0; number < state.writes; number += 1) {
    const value = await patiently(async () => (await client()).get(key(number)));
    state.read += value === String(number);
  }
} catch (error) {
  state.error = `${error.name}: ${error.message}`;
}
console.log(JSON.stringify(state));
await close().catch(() => {});
process.exit(0);
