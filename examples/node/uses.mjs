// What the shop in examples/api does with Redis, from Node.js, on the same keys: a session that Python began is one here, and a lock
// that is held here is held there. `redis` is one of node-redis/commands.mjs and ioredis/commands.mjs.
import { randomBytes } from "node:crypto";
import { patiently } from "./common.mjs";

const PERSON_SECONDS = 2; // so long a person waits for an answer
const SESSION_SECONDS = 1800;

// A value that `load` gives, kept for a while; entries end at different moments. Without Redis every caller loads for himself.
export async function cached(redis, name, seconds, load) {
  const key = `page:${name}`;
  const kept = await redis.get(key).catch(() => null);
  if (kept !== null) return kept;
  const loaded = await load();
  await redis.setFor(key, loaded, Math.floor(seconds * 1000 * (0.8 + 0.2 * Math.random()))).catch(() => {});
  return loaded;
}

export async function beginSession(redis, user) {
  const session = randomBytes(32).toString("base64url"); // chosen here, so that a repeated call begins no second one
  await patiently(() => redis.setFor(`session:${session}`, user, SESSION_SECONDS * 1000), PERSON_SECONDS);
  return session;
}

// Whose session it is, and another half hour for it; null when there is none.
export const sessionUser = (redis, session) =>
  patiently(() => redis.getFor(`session:${session}`, SESSION_SECONDS), PERSON_SECONDS);

export const endSession = (redis, session) => patiently(() => redis.del(`session:${session}`), PERSON_SECONDS);

const COUNT = `
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return {count, redis.call('PTTL', KEYS[1])}
`;

// Milliseconds that a visitor has to wait, 0 when he may pass; without Redis everybody passes.
export async function mustWait(redis, visitor, limit, windowMs) {
  const [count, left] = await redis.run(COUNT, [`limit:${visitor}`], [windowMs]).catch(() => [0, 0]);
  return count > limit ? left : 0;
}

const ACQUIRE = `
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('INCR', KEYS[2])
`;
const RELEASE = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`;

// Do `work` with the lock; null when somebody else holds it. `work` gets a token that grows: what it changes must refuse older ones,
// because no lock can keep its holder from being paused for longer than the lock lasts.
export async function locked(redis, name, ms, work) {
  const owner = randomBytes(8).toString("hex");
  const keys = [`lock:{${name}}`, `lock:{${name}}:token`]; // the braces: one slot of a cluster
  // An owner who asks again, because an answer was lost, finds himself in possession.
  const token = await patiently(() => redis.run(ACQUIRE, keys, [owner, ms]), PERSON_SECONDS);
  if (!token) return null;
  try {
    return await work(token);
  } finally {
    await redis.run(RELEASE, keys.slice(0, 1), [owner]).catch(() => {}); // else it ends by itself
  }
}
