// A primary and its replicas, and nobody to ask which is which: the nodes themselves are asked, again before every call.
import { Redis } from "ioredis";
import { side } from "../common.mjs";
import { options } from "./options.mjs";

const nodes = side.nodes.map(([host, port]) => {
  const node = new Redis({ ...options, host, port });
  node.on("error", () => {}); // each call tells its own error
  return node;
});

export async function client() {
  for (const node of nodes) {
    const [role] = await node.role().catch(() => ["nobody"]);
    if (role === "master") return node;
  }
  throw new Error("no node says that it is the primary");
}

export const close = async () => nodes.forEach((node) => node.disconnect());
