// The commands that the uses need, as node-redis writes them; the same for every topology.
export const commands = (client) => ({
  get: async (key) => (await client()).get(key),
  setFor: async (key, value, ms) => (await client()).set(key, value, { expiration: { type: "PX", value: ms } }),
  run: async (script, keys, values) => (await client()).eval(script, { keys, arguments: values.map(String) }),
});
