/**
 * What the jobs of every client use: the servers' addresses and the plain one's journal.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

export const KEY = 'sk-gateproof-demo'; // the reference server's published key, no secret
export const PLAIN = process.env.GATEPROOF_URL;
export const LIMITED = process.env.GATEPROOF_LIMITED_URL;
export const ODDITIES = JSON.parse(process.env.GATEPROOF_ODDITIES ?? '[]');
export const TEXT = 'Ein «Gruß» – 漢字, 🙂 and\nthe rest.\u2028End';

/** Return a canary for a server's journal, with the header that carries it. */
export function canary(url = PLAIN) {
  const name = `canary-${randomUUID()}`;
  const entries = async () => {
    const answer = await fetch(`${url}/_journal?canary=${name}`);
    return (await answer.json()).entries;
  };
  const outcome = async (wanted) => {
    const deadline = performance.now() + 10_000;
    for (;;) {
      const last = (await entries()).at(-1).outcome;
      if (last === wanted || performance.now() > deadline) return last;
      await pause(20);
    }
  };
  return { headers: { 'x-canary': name }, entries, outcome };
}

/** Return all that an asynchronous iterable gives. */
export async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}
