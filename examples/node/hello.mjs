// node hello.mjs node-redis cluster: writes a key to the stack and reads it back.
import { patiently } from "./common.mjs";

const [library, topology] = process.argv.slice(2);
const { client, close } = await import(`./${library}/${topology}.mjs`);

await patiently(async () => (await client()).set("greeting", "hello"));
console.log(await patiently(async () => (await client()).get("greeting")));
await close();
process.exit(); // ioredis can keep a connection that it was opening while it was closed
