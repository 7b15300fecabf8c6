// The sentinels are asked for the primary, and tell when it changes.
import { createSentinel } from "redis";
import { addressMap, side } from "../common.mjs";
import { options } from "./options.mjs";

const sentinel = createSentinel({
  name: side.service,
  sentinelRootNodes: side.sentinels.map(([host, port]) => ({ host, port })),
  sentinelClientOptions: options,
  // Not tried again at the same address: the sentinels are asked anew.
  nodeClientOptions: { ...options, socket: { ...options.socket, reconnectStrategy: false } },
  nodeAddressMap: addressMap,
  scanInterval: 1000,
});
sentinel.on("error", () => {}); // each call tells its own error

let connecting;
export async function client() {
  connecting ??= sentinel.connect().catch((error) => {
    connecting = undefined; // the next call connects again
    throw error;
  });
  await connecting;
  return sentinel;
}

export const close = () => sentinel.destroy();
