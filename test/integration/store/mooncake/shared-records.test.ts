/** Stores of ours and models of Mooncake's Go store do things to the same names at the same time, over a real etcd. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { P2PStore } from '../../../../src/store/p2p-store.ts';
import { type EtcdCluster, startEtcd } from '../../../support/etcd.ts';
import { eventually } from '../../../support/eventually.ts';
import { type ModelPayload, MooncakeStoreModel } from '../../../support/mooncake-store-model.ts';
import { TestStores } from '../../../support/test-store.ts';

let etcd: EtcdCluster;

beforeAll(async () => {
  etcd = await startEtcd();
});

afterAll(() => etcd[Symbol.asyncDispose]());

const SHARD_BYTES = 16 * 1024;
const SIZE_BYTES = 3 * SHARD_BYTES;
const NAMES = ['x', 'x/y'] as const;
const ACTORS = ['ours-1', 'ours-2', 'theirs-1', 'theirs-2'] as const;
type Actor = (typeof ACTORS)[number];

interface Step {
  readonly actor: Actor;
  readonly name: (typeof NAMES)[number];
  readonly action: 'register' | 'pull' | 'take-back';
}

interface Part {
  readonly role: 'gold' | 'replica';
  readonly bytes: Buffer;
}

let contents = 0;

/** Bytes that tell where they come from in every place. */
function newContent(): Buffer {
  contents += 1;
  return Buffer.alloc(SIZE_BYTES, `${contents};`);
}

function isOneContent(bytes: Buffer): boolean {
  const [first = ''] = bytes.toString('latin1').split(';', 1);
  return bytes.equals(Buffer.alloc(SIZE_BYTES, `${first};`));
}

/** What each has open, by what its calls said. */
class World {
  readonly #ours: ReadonlyMap<string, P2PStore>;
  readonly #theirs: ReadonlyMap<string, MooncakeStoreModel>;
  readonly #open = new Map<string, Part>();

  constructor(ours: ReadonlyMap<string, P2PStore>, theirs: ReadonlyMap<string, MooncakeStoreModel>) {
    this.#ours = ours;
    this.#theirs = theirs;
  }

  async take(step: Step): Promise<void> {
    const key = `${step.actor} ${step.name}`;
    const part = this.#open.get(key);
    if (step.action === 'take-back') {
      if (part === undefined) return;
      await this.#takeBack(step, part);
      this.#open.delete(key);
      return;
    }
    if (part !== undefined) return;
    const role = step.action === 'register' ? 'gold' : 'replica';
    const bytes = role === 'gold' ? newContent() : Buffer.alloc(SIZE_BYTES);
    try {
      await this.#begin(step, bytes);
    } catch {
      return; // the name is taken, or nobody has it: both are fair answers here
    }
    this.#open.set(key, { role, bytes });
    expect(isOneContent(bytes)).toBe(true);
  }

  async takeAllBack(): Promise<void> {
    for (const [key, part] of [...this.#open]) {
      const [actor, name] = key.split(' ') as [Actor, Step['name']];
      await this.#takeBack({ actor, name, action: 'take-back' }, part);
      this.#open.delete(key);
    }
  }

  /** Everybody of theirs is named who said so, in its role; of ours nobody who has nothing. */
  agrees(name: string, record: ModelPayload | undefined): boolean {
    const [shard] = record?.shards ?? [];
    const named = [
      ...(shard?.gold ?? []).map(({ segment_name }) => `${segment_name} gold`),
      ...(shard?.replica_list ?? []).map(({ segment_name }) => `${segment_name} replica`),
    ].sort();
    const open = [...this.#open].flatMap(([key, { role }]) =>
      key.endsWith(` ${name}`) ? `${key.split(' ')[0]} ${role}` : [],
    );
    const theirs = (list: readonly string[]): string => list.filter((each) => each.startsWith('theirs')).join();
    const isOursFair = named.every((each) => each.startsWith('theirs') || open.includes(each));
    return theirs(named) === theirs(open.sort()) && isOursFair;
  }

  async #begin({ actor, name, action }: Step, bytes: Buffer): Promise<void> {
    const ours = this.#ours.get(actor);
    const theirs = this.#theirs.get(actor);
    if (action === 'register') {
      await ours?.register(name, [bytes], [SIZE_BYTES], SHARD_BYTES, '*');
      await theirs?.register(name, [bytes], SHARD_BYTES);
    } else {
      await ours?.getReplica(name, [bytes], [SIZE_BYTES], { signal: AbortSignal.timeout(15_000) });
      await theirs?.getReplica(name, [bytes]);
    }
  }

  async #takeBack({ actor, name }: Step, { role }: Part): Promise<void> {
    const ours = this.#ours.get(actor);
    const theirs = this.#theirs.get(actor);
    if (role === 'gold') {
      await ours?.unregister(name);
      await theirs?.unregister(name);
    } else {
      await ours?.deleteReplica(name);
      await theirs?.deleteReplica(name);
    }
  }
}

const step: fc.Arbitrary<Step> = fc.record({
  actor: fc.constantFrom(...ACTORS),
  name: fc.constantFrom(...NAMES),
  action: fc.constantFrom('register', 'pull', 'pull', 'take-back'),
});
/** Steps of different actors at the same time. */
const round = fc.uniqueArray(step, { minLength: 1, maxLength: 3, selector: ({ actor }) => actor });

test('nobody of theirs is lost, nobody of ours stays behind, and no bytes are mixed', {
  timeout: 300_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(round, { minLength: 4, maxLength: 10 }), async (rounds) => {
      await using stores = new TestStores(etcd.uri);
      await using theirs1 = await MooncakeStoreModel.open(etcd.uri, 'theirs-1');
      await using theirs2 = await MooncakeStoreModel.open(etcd.uri, 'theirs-2');
      const ours = new Map<string, P2PStore>();
      for (const name of ['ours-1', 'ours-2']) ours.set(name, await stores.open(name, { leaseTtlMs: 2_000 }));
      const theirs = new Map([theirs1, theirs2].map((model) => [model.segment, model]));
      const world = new World(ours, theirs);
      const expectAgreement = async (): Promise<void> => {
        for (const name of NAMES) {
          await eventually(
            `agreement about ${name}`,
            async () => world.agrees(name, (await theirs1.find(name))?.payload),
            { deadlineMs: 30_000 },
          );
        }
      };
      for (const steps of rounds) {
        await Promise.all(steps.map((each) => world.take(each)));
        await expectAgreement();
      }
      await world.takeAllBack();
      await eventually('the end of all records', async () => (await theirs1.list('')).length === 0, {
        deadlineMs: 30_000,
      });
    }),
    {
      numRuns: Number(process.env['FUZZ_RUNS'] ?? 5),
      seed: Number(process.env['FUZZ_SEED'] ?? 20_261_123),
      endOnFailure: true,
    },
  );
});
