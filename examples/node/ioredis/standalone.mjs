// One node, at one address.
import { Redis } from "ioredis";
import { side } from "../common.mjs";
import { options } from "./options.mjs";

const node = new Redis(side.url, options);
node.on("error", () => {}); // each call tells its own error

export const client = async () => node;
export const close = async () => node.disconnect();
