/**
 * Turns good input into bad input, by a seed: the same seed gives the same input on every machine. What differs from random bytes is
 * that most of it stays good, so that the mutation gets past the first check.
 */

/** Whole numbers from 0 up to, and without, `below`. */
export type Dice = (below: number) => number;

/** Mulberry32: small, and good enough to choose by. */
export function seededDice(seed: number): Dice {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

export function pick<T>(items: readonly T[], dice: Dice): T {
  if (items.length === 0) throw new Error('nothing to pick from');
  return items[dice(items.length)] as T;
}

const EDGES = [0n, 1n, 8n, 24n, 4_095n, 65_536n, 2n ** 31n, 2n ** 32n, 2n ** 47n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

/** Changes a few bytes: bits, whole numbers, pieces that go, come twice or come from elsewhere. */
export function mutateBytes(bytes: Buffer, dice: Dice, others: readonly Buffer[] = [bytes]): Buffer {
  let mutated: Buffer = Buffer.from(bytes);
  for (let times = 0; times <= dice(4); times++) mutated = mutateBytesOnce(mutated, dice, others);
  return mutated;
}

function mutateBytesOnce(bytes: Buffer, dice: Dice, others: readonly Buffer[]): Buffer {
  const at = dice(bytes.length + 1);
  const end = Math.min(bytes.length, at + 1 + dice(dice(4) === 0 ? 256 : 8));
  const [head, middle, tail] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)];
  switch (dice(7)) {
    case 0:
      if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << dice(8));
      return bytes;
    case 1:
      if (at < bytes.length) bytes[at] = dice(256);
      return bytes;
    case 2: {
      const word = at - (at % 8);
      const value = BigInt.asUintN(64, pick(EDGES, dice) + BigInt(dice(5) - 2));
      if (word + 8 <= bytes.length) bytes.writeBigUInt64LE(value, word);
      return bytes;
    }
    case 3:
      return Buffer.concat([head, tail]);
    case 4:
      return Buffer.concat([head, middle, middle, tail]);
    case 5:
      return Buffer.concat([head, Buffer.from(Array.from({ length: dice(32) }, () => dice(256))), middle, tail]);
    default: {
      const other = pick(others, dice);
      const from = dice(other.length + 1);
      return Buffer.concat([head, other.subarray(from, from + dice(64)), tail]);
    }
  }
}

const VALUES = [
  ...['null', 'true', '""', '[]', '{}', '0', '1', '-1', '1.5', '1e3', '1e400', '-0', '4096', '65536', '1048576'],
  ...['9007199254740993', '18446744073709551615', '18446744073709551616', '"\\ud800"', '"\\u0000"', '"a/b"'],
  ...['"__proto__"', '"127.0.0.1:1"', '[null]', '[[]]', '{"__proto__":{"a":1}}', `"${'x'.repeat(2_000)}"`],
];
/** A string, a number, a word, or a list or object without others in it. */
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|\[[^[\]{}]*\]|\{[^[\]{}]*\}/g;

/** Changes JSON so that it mostly stays JSON: a value becomes another, goes, or comes twice; now and then the text itself breaks. */
export function mutateJson(text: string, dice: Dice): string {
  let mutated = text;
  for (let times = 0; times <= dice(3); times++) mutated = mutateJsonOnce(mutated, dice);
  return mutated;
}

function mutateJsonOnce(text: string, dice: Dice): string {
  if (dice(8) === 0) return mutateBytes(Buffer.from(text), dice).toString('utf8');
  const tokens = [...text.matchAll(TOKEN)];
  if (tokens.length === 0) return pick(VALUES, dice);
  const { 0: token, index } = pick(tokens, dice);
  const replacement = (): string => {
    switch (dice(5)) {
      case 0:
        return `${token},${token}`;
      case 1:
        return pick(tokens, dice)[0];
      case 2:
        return '';
      default:
        return pick(VALUES, dice);
    }
  };
  return text.slice(0, index) + replacement() + text.slice(index + token.length);
}

export interface Round {
  readonly dice: Dice;
  /** For the message of a failure: `FUZZ_SEED=... FUZZ_ROUND=...` repeats this round alone. */
  readonly repeat: string;
}

/**
 * Rounds of a fuzzer: `count` of them at a fixed seed, or for `FUZZ_SECONDS` at one that is different each time. `FUZZ_SEED` sets the
 * seed, `FUZZ_ROUND` picks one round.
 */
export function* fuzzRounds(count: number): Generator<Round> {
  const { FUZZ_SECONDS: seconds, FUZZ_SEED: given, FUZZ_ROUND: only } = process.env;
  const fallback = seconds === undefined ? 20_261_123 : Date.now() % 2 ** 31;
  const seed = given === undefined ? fallback : Number(given);
  const endsAtMs = performance.now() + Number(seconds ?? 0) * 1_000;
  const isMore = (round: number): boolean => (seconds === undefined ? round < count : performance.now() < endsAtMs);
  for (let round = 0; isMore(round); round++) {
    if (only !== undefined && round < Number(only)) continue;
    yield {
      dice: seededDice(Math.imul(seed, 0x9e3779b1) ^ round),
      repeat: `FUZZ_SEED=${seed} FUZZ_ROUND=${round}`,
    };
    if (only !== undefined) return;
  }
}
