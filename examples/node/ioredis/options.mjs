// What all connections of ioredis share.
import { commandMs, connectMs, login } from "../common.mjs";

export const options = {
  ...login,
  connectTimeout: connectMs,
  commandTimeout: commandMs, // a call that is not answered fails …
  socketTimeout: commandMs, // … and its connection is given up: its server hangs
  retryStrategy: () => 200, // milliseconds between attempts to connect
  enableOfflineQueue: false, // without a connection a call fails at once, and `patiently` does it again …
  autoResendUnfulfilledCommands: false, // … instead of a queue that sends it later, perhaps after a newer write
  maxRetriesPerRequest: 0,
};
