/** Stores on hosts with two network cards, when the card goes by whose address one is listed. */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { CardNetwork, type Cut, type HostName, whyNoCardNetwork } from '../../bench/support/card-network.ts';
import { Child } from '../../bench/support/child.ts';
import { eventually } from '../support/eventually.ts';
import { FILL_PATTERN_SOURCE } from '../support/patterned-memory.ts';
import { PROJECT_ROOT } from '../support/project-files.ts';
import { makeTemporaryFolder } from '../support/temporary-folder.ts';

const missing = whyNoCardNetwork();
if (missing !== undefined) process.stderr.write(`skipped, stores with several cards: ${missing}\n`);

interface SourceFacts {
  readonly segment: string;
  readonly state: string;
  readonly peerEndpoint: string;
  readonly peerAddresses?: readonly string[];
}

const SOURCE = `
${FILL_PATTERN_SOURCE}
import { createInterface } from 'node:readline';
const [module, uri, segment, host] = process.argv.slice(-4);
const { newP2PStore } = await import(module);
const store = await newP2PStore(uri, segment, undefined, { host, transports: ['tcp'], digestWorkers: 1, ioWorkers: 1 });
const memory = store.allocate(4_000_000);
const expected = new Uint8Array(memory.sizeBytes);
fillPattern(expected, 7);
const commands = {
  async register() {
    memory.view().set(expected);
    await store.register('model', [memory], [memory.sizeBytes], 65_536, '*');
  },
  async pull() {
    await store.getReplica('model', [memory], [memory.sizeBytes]);
    return Buffer.compare(memory.view(), expected) === 0;
  },
  status: async () => (await store.status('model')).sources,
};
console.log('{}');
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify((await commands[line]()) ?? null));
}
await store.close();
`;

function start(network: CardNetwork, host: HostName, folder: string): Child {
  const module = pathToFileURL(path.join(PROJECT_ROOT, 'dist/index.js')).href;
  const facts = [module, `local:${folder}`, host, network.address(host, 0)];
  const node = [process.execPath, '--input-type=module', '--eval', SOURCE, '--', ...facts];
  const [program = '', ...args] = network.on(host, node);
  return new Child(program, args);
}

describe.skipIf(missing !== undefined)('a store with two cards', () => {
  test.each<Cut>(['down', 'silent'])('is asked, followed and pulled from over the other one: %s', async (cut) => {
    await using folder = await makeTemporaryFolder();
    await using network = await CardNetwork.open({ cards: [undefined, undefined] });
    const [right, left] = [start(network, 'right', folder.path), start(network, 'left', folder.path)];
    await Promise.all([right.receive(), left.receive()]);
    await right.ask('register');
    const [before] = await left.ask<SourceFacts[]>('status');
    expect(before).toMatchObject({ state: 'serving', peerAddresses: [network.address('right', 1)] });
    expect(before?.peerEndpoint.split(':')[0]).toBe(network.address('right', 0));

    await network.cut('right', 0, cut);
    await eventually('the other card to answer', async () => {
      const [source] = await left.ask<SourceFacts[]>('status');
      return source?.state === 'serving' || undefined;
    });
    // Its digests come over the control connection alone.
    expect(await left.ask('pull')).toBe(true);
    expect((await left.ask<SourceFacts[]>('status')).map(({ state }) => state)).toEqual(['serving', 'serving']);
  });
});
