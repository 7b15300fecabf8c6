// node shop.mjs node-redis cluster: every use once, what came of it as JSON.
import { patiently } from "./common.mjs";
import { admitted, beginSession, cached, endSession, locked, sessionUser } from "./uses.mjs";

const [library, topology] = process.argv.slice(2);
const { client, close } = await import(`./${library}/${topology}.mjs`);
const { commands } = await import(`./${library}/commands.mjs`);
const redis = commands(client);
const own = `${library}-${process.pid}`; // names that nobody else uses

await patiently(() => redis.get("connected?"));

let loads = 0;
const page = () => cached(redis, own, 60, async () => `load ${(loads += 1)}`);
const pages = [await page(), await page()];

const session = await beginSession(redis, "ann");
const user = await sessionUser(redis, session);
await endSession(redis, session);
const afterLogout = await sessionUser(redis, session);

const passed = [];
for (let number = 0; number < 4; number += 1) passed.push(await admitted(redis, own, 3, 3600));

const second = () => locked(redis, own, 5000, async () => "entered");
const [first, refused] = await locked(redis, own, 5000, async (token) => [token, await second()]);
const later = await locked(redis, own, 5000, async (token) => token);
const above = await locked(redis, own, 5000, async (token) => token, later + 10);

console.log(JSON.stringify({ pages, user, afterLogout, passed, tokens: [first, later, above], refused }));
await close();
process.exit(); // ioredis can keep a connection that it was opening while it was closed
