// What every connection shares: where to connect, how long to wait, and when to try again.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const connection = JSON.parse(readFileSync(process.env.CONNECTION ?? "connection.json", "utf8"));
const { username, password, timing } = connection;
// inside: in the stack's Docker network; host: on the machine where the nodes' ports are published
export const side = connection[process.env.PLACE ?? "inside"];
export const login = { username, password };
export const connectMs = timing.connect_seconds * 1000;
export const commandMs = timing.command_seconds * 1000;

// Where this process reaches what a node calls itself ("10.213.7.10:6379"); nothing to map inside of the network.
export const addressMap = Object.fromEntries(
  Object.entries(side.address_remap ?? {}).map(([inner, outer]) => {
    const [host, port] = outer.split(":");
    return [inner, { host, port: Number(port) }];
  }),
);

// What a server answers in the course of a failover; it has not done what it was asked.
const NOT_NOW = new Set(["CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "READONLY", "TRYAGAIN"]);

// Do `call` until it succeeds, by default for as long as a failover may take; then throw its last error.
// It may be done twice: the answer that was lost may have been a yes.
export async function patiently(call, seconds = timing.patience_seconds) {
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isPassing(error) || performance.now() >= deadline) throw error;
    }
    await sleep(50 + 200 * Math.random()); // so that not all clients come back at the same moment
  }
}

// Whether the same call may succeed a moment later: nobody answered, or the server's answer was "not now".
function isPassing(error) {
  if (error instanceof TypeError || error instanceof ReferenceError) return false; // a mistake in `call`
  const [code] = error.message.split(" ");
  return !/^[A-Z]{2,}$/.test(code) || NOT_NOW.has(code); // a server's answer begins with its code
}
