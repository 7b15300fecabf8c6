// What all connections of node-redis share.
import { commandMs, connectMs, login } from "../common.mjs";

export const options = {
  ...login,
  disableOfflineQueue: true, // without a connection a call fails at once, and `patiently` does it again
  pingInterval: commandMs / 2, // an idle connection shows that it lives …
  socket: {
    connectTimeout: connectMs,
    socketTimeout: commandMs, // … and one on which nothing comes for so long is given up: its server hangs
    reconnectStrategy: 200, // milliseconds between attempts
  },
};
