// One node, at one address.
import { createClient } from "redis";
import { side } from "../common.mjs";
import { options } from "./options.mjs";

const node = createClient({ ...options, url: side.url });
node.on("error", () => {}); // each call tells its own error
node.connect().catch(() => {}); // goes on trying in the background

export const client = async () => node;
export const close = async () => node.destroy();
