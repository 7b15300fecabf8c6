// Any node tells which node serves which slots, and corrects a client that asks the wrong one.
import { createCluster } from "redis";
import { addressMap, side } from "../common.mjs";
import { options } from "./options.mjs";

const cluster = createCluster({
  rootNodes: side.startup_nodes.map(([host, port]) => ({ socket: { host, port } })),
  defaults: options,
  nodeAddressMap: addressMap,
  // A dead node corrects nobody: while its connection is being opened again, another one is asked, after so many milliseconds.
  topologyRefreshOnReconnectionAttemptStrategy: 500,
});
cluster.on("error", () => {}); // each call tells its own error

let connecting;
export async function client() {
  connecting ??= cluster.connect().catch((error) => {
    connecting = undefined; // the next call connects again
    throw error;
  });
  await connecting;
  return cluster;
}

export const close = async () => cluster.destroy();
