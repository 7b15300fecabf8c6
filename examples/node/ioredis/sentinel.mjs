// The sentinels are asked for the primary whenever a connection is opened.
import { Redis } from "ioredis";
import { addressMap, commandMs, login, side } from "../common.mjs";
import { options } from "./options.mjs";

const primary = new Redis({
  ...options,
  name: side.service,
  sentinels: side.sentinels.map(([host, port]) => ({ host, port })),
  sentinelUsername: login.username,
  sentinelPassword: login.password,
  sentinelCommandTimeout: commandMs,
  sentinelRetryStrategy: () => 200, // milliseconds until the sentinels are asked again when none knew a primary
  reconnectOnError: (error) => error.message.startsWith("READONLY"), // a primary that was replaced: the sentinels are asked anew
  natMap: addressMap,
});
primary.on("error", () => {}); // each call tells its own error

export const client = async () => primary;
export const close = async () => primary.disconnect();
