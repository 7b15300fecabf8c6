// A primary and its replicas, and nobody to ask which is which: the nodes themselves are asked, again before every call.
import { createClient } from "redis";
import { side } from "../common.mjs";
import { options } from "./options.mjs";

const nodes = side.nodes.map(([host, port]) => {
  const node = createClient({ ...options, socket: { ...options.socket, host, port } });
  node.on("error", () => {}); // each call tells its own error
  node.connect().catch(() => {}); // goes on trying in the background
  return node;
});

export async function client() {
  for (const node of nodes) {
    const [role] = await node.sendCommand(["ROLE"]).catch(() => ["nobody"]);
    if (role === "master") return node;
  }
  throw new Error("no node says that it is the primary");
}

export const close = async () => nodes.forEach((node) => node.destroy());
