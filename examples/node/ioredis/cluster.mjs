// Any node tells which node serves which slots, and corrects a client that asks the wrong one.
import { Cluster } from "ioredis";
import { addressMap, commandMs, side } from "../common.mjs";
import { options } from "./options.mjs";

const { enableOfflineQueue, retryStrategy, ...redisOptions } = options;
const cluster = new Cluster(
  side.startup_nodes.map(([host, port]) => ({ host, port })),
  {
    redisOptions,
    natMap: addressMap,
    enableOfflineQueue,
    clusterRetryStrategy: retryStrategy,
    slotsRefreshTimeout: commandMs,
    slotsRefreshInterval: 1000, // a dead node corrects nobody: the others are asked regularly
  },
);
cluster.on("error", () => {}); // each call tells its own error

export const client = async () => cluster;
export const close = async () => cluster.disconnect();
