import { type NodeChild, startNodeChild } from './node-child.ts';

/** Arguments: metadata URI, segment, lease TTL in ms, name of the object, its size. Byte i of the object is i * 7 % 251. */
const SOURCE = `
const { newP2PStore, allocate } = await dist('index.js');
const [uri, segment, leaseTtlMs, name, size] = process.argv.slice(1);
const say = (level) => (fields, message) => console.log(level + ' ' + message);
const logger = { debug() {}, info: say('info'), warn: say('warn'), error: say('error') };
const store = await newP2PStore(uri, segment, undefined, { leaseTtlMs: Number(leaseTtlMs), logger });
const region = allocate(Number(size));
const view = region.view();
for (let at = 0; at < view.length; at++) view[at] = (at * 7) % 251;
await store.register(name, [region], [region.sizeBytes], 64 * 2 ** 20, '*');
console.log('registered');
setInterval(() => {}, 1000);
`;

export interface PublisherOptions {
  readonly uri: string;
  readonly segment: string;
  readonly leaseTtlMs: number;
  readonly name: string;
  readonly sizeBytes: number;
}

/** A process that publishes one object; its log lines are its output. */
export async function startPublisher(options: PublisherOptions): Promise<NodeChild> {
  const { uri, segment, leaseTtlMs, name, sizeBytes } = options;
  const child = startNodeChild(SOURCE, [uri, segment, `${leaseTtlMs}`, name, `${sizeBytes}`]);
  try {
    await child.line('registered');
    return child;
  } catch (error) {
    await child.kill();
    throw error;
  }
}

/** What a publisher publishes. */
export function publishedBytes(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at++) bytes[at] = (at * 7) % 251;
  return bytes;
}
