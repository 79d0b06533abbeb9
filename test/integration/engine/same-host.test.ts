/** Transfers between processes of this host: which way they take, and that none of them touches what it must not. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { MIB } from '../../../src/core/units.ts';
import type { Segment } from '../../../src/engine/segment.ts';
import { TransferEngine, type TransferEngineOptions } from '../../../src/engine/transfer-engine.ts';
import type { LocalEndpoint } from '../../../src/engine/transport/local/local-endpoint.ts';
import { openEngine, outcomeOf, requestsOf, transfer } from '../../support/engines.ts';
import { eventually } from '../../support/eventually.ts';
import { type NodeChild, startNodeChild } from '../../support/node-child.ts';
import {
  allocateBytes,
  expectSameBytes,
  FILL_PATTERN_SOURCE,
  fillPattern,
  firstOtherThan,
  type TestMemory,
} from '../../support/patterned-memory.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';

const SIZE_BYTES = 32 * MIB;

/** Serves one buffer, and a file if it is given one; on SIGUSR2 takes it back, overwrites it and says so. */
const OWNER = `
${FILL_PATTERN_SOURCE}
const { TransferEngine } = await dist('engine/transfer-engine.js');
const { allocate } = await dist('memory/memory-region.js');
const { file, ...options } = JSON.parse(process.argv.at(-1));
const engine = await TransferEngine.open({ host: '127.0.0.1', ioWorkers: 1, ...options });
const region = allocate(${SIZE_BYTES});
fillPattern(region.view(), 7);
await engine.registerLocalMemory(region.address, ${SIZE_BYTES}, '*', { isListed: false });
let mapping;
if (file !== undefined) {
  mapping = await (await dist('memory/map-file.js')).mapFile(file);
  await engine.registerLocalMemory(mapping.address, mapping.sizeBytes, '*', { isListed: false });
}
process.on('SIGUSR2', async () => {
  const startedMs = performance.now();
  await engine.unregisterLocalMemory(region.address);
  region.view().fill(0xee);
  console.log('unregistered', Math.round(performance.now() - startedMs));
});
console.log('ready', String(region.address), String(mapping?.address));
setInterval(() => {}, 1000);
`;

/** Tells which way its reads take, reads the buffer over and over, and tells how that went and what the last byte is. */
const READER = `
/** As a container does, or Yama: a filter of this thread answers EPERM. */
async function forbidProcessVmReadv() {
  const { libcFunction } = await dist('native/libc.js');
  const { Scratch } = await dist('native/scratch.js');
  const prctl = libcFunction('int prctl(int option, ulong a, uintptr_t b, ulong c, ulong d)');
  const { address, view } = new Scratch(64);
  const number = process.arch === 'x64' ? 310 : 270;
  const program = [[0x20, 0, 0, 0], [0x15, 0, 1, number], [0x06, 0, 0, 0x50001], [0x06, 0, 0, 0x7fff0000]];
  program.forEach(([code, isTrue, isFalse, value], index) => {
    view.setUint16(16 + 8 * index, code, true);
    view.setUint8(18 + 8 * index, isTrue);
    view.setUint8(19 + 8 * index, isFalse);
    view.setUint32(20 + 8 * index, value, true);
  });
  view.setUint16(0, program.length, true);
  view.setBigUint64(8, BigInt(address + 16), true);
  if (prctl(38, 1, 0, 0, 0) !== 0 || prctl(22, 2, address, 0, 0) !== 0) throw new Error('no filter');
}
const { TransferEngine } = await dist('engine/transfer-engine.js');
const { allocate } = await dist('memory/memory-region.js');
const [options, segmentName, address] = process.argv.slice(-3);
const { runAs, isForbidden, ...rest } = JSON.parse(options);
if (isForbidden) await forbidProcessVmReadv();
const engine = await TransferEngine.open({ segmentName: 'reader-' + process.pid, host: '127.0.0.1', ioWorkers: 1, ...rest });
if (runAs !== undefined) process.setuid(runAs); // once its metadata is open
const region = allocate(${SIZE_BYTES});
await engine.registerLocalMemory(region.address, ${SIZE_BYTES}, '*', { remoteAccess: 'none' });
const segment = await engine.openSegment(segmentName);
const request = { opcode: 'read', segment, localAddress: region.address, remoteAddress: BigInt(address), lengthBytes: ${SIZE_BYTES} };
const { transport, reason } = await engine.explain(segmentName);
console.log('way', transport, reason);
for (let count = 0; ; count++) {
  const outcome = await engine.submitTransfer([request]).done.then(() => 'read', (error) => error.code);
  console.log(outcome, count, region.view()[${SIZE_BYTES - 1}]);
  if (outcome !== 'read') break;
}
await engine.close();
`;

interface Owner extends AsyncDisposable {
  readonly child: NodeChild;
  readonly segmentName: string;
  readonly address: bigint;
  /** Of the file. */
  readonly fileAddress: string;
}

let folder: TemporaryFolder;
let metadata: string;
let reader: TransferEngine;
let local: TestMemory;
let count = 0;

async function startOwner(options: Partial<TransferEngineOptions> & { file?: string } = {}): Promise<Owner> {
  const segmentName = `owner-${++count}`;
  const child = startNodeChild(OWNER, [JSON.stringify({ metadata, segmentName, ...options })]);
  const [, address, fileAddress = ''] = (await child.line('ready')).split(' ');
  return { child, segmentName, address: BigInt(address ?? 0), fileAddress, [Symbol.asyncDispose]: () => child.kill() };
}

function startReader(
  owner: Pick<Owner, 'segmentName' | 'address'>,
  options: object = {},
  through: readonly string[] = [],
): NodeChild {
  const all = JSON.stringify({ metadata, ...options });
  return startNodeChild(READER, [all, owner.segmentName, String(owner.address)], through);
}

/** Starts a program that sees no processes but its own, as in a container. */
const CONTAINER = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];

function canStartContainers(): boolean {
  const [program = '', ...args] = CONTAINER;
  return spawnSync(program, [...args, 'true']).status === 0;
}

async function read(segment: Segment, owner: Owner): Promise<void> {
  const move = { opcode: 'read', local: local.address, remote: owner.address, lengthBytes: SIZE_BYTES } as const;
  await transfer(reader, segment, move);
}

function expected(): Buffer {
  const bytes = Buffer.alloc(SIZE_BYTES);
  fillPattern(bytes, 7);
  return bytes;
}

function endpointOf(segment: Segment): LocalEndpoint {
  return segment.endpoints?.['local'] as LocalEndpoint;
}

function withEndpoint(segment: Segment, changes: Partial<LocalEndpoint>): Segment {
  const instance = `changed-${++count}`; // so that it is probed anew
  return { ...segment, instance, endpoints: { local: { ...endpointOf(segment), ...changes } } };
}

function wayTo(segment: Segment): string | undefined {
  return reader.transportChoices().find(({ segment: name }) => name === segment.name)?.transport;
}

beforeAll(async () => {
  folder = await makeTemporaryFolder();
  metadata = `local:${folder.file('metadata')}`;
});
afterAll(() => folder[Symbol.asyncDispose]());
beforeEach(async () => {
  reader = await openEngine({ metadata, transports: ['loopback', 'local', 'tcp'] });
  local = allocateBytes(SIZE_BYTES);
  await reader.registerLocalMemory(local.address, SIZE_BYTES, '*', { remoteAccess: 'none' });
});
afterEach(async () => {
  await reader.close();
  await local.region.close();
});

describe('the way between two processes', () => {
  test('is the memory itself, by default', async () => {
    await using owner = await startOwner();
    const { transport, reason } = await reader.explain(owner.segmentName);
    expect({ transport, reason }).toEqual({
      transport: 'local',
      reason: `process ${owner.child.pid} of this host lets its memory be read; loopback: it is not in this process`,
    });
    await read(await reader.openSegment(owner.segmentName), owner);
    expectSameBytes(local.bytes, expected());
  });

  test.each([
    ['the reader', {}, { maxDownloadBytesPerSecond: 1e9 }],
    ['the owner', { maxUploadBytesPerSecond: 1e9 }, {}],
    ['the reader, who wants TCP', {}, { transports: ['tcp'] as const }],
    ['the owner, who offers TCP', { transports: ['tcp'] as const }, {}],
  ])('is TCP when a limit or an option of %s says so', async (_name, ownerOptions, readerOptions) => {
    await using owner = await startOwner(ownerOptions);
    await using other = await TransferEngine.open({ metadata, segmentName: `other-${++count}`, ...readerOptions });
    const { transport, reason } = await other.explain(owner.segmentName);
    expect(transport).toBe('tcp');
    if ('maxDownloadBytesPerSecond' in readerOptions)
      expect(reason).toContain('local: off, as only tcp keeps to the limits');
  });

  test.each([
    ['it restarted and lies about its mark', { mark: '0'.repeat(32) }],
    ['its memory has another mark', { markAddress: 4096 }],
    ['its table is another file', { tableFd: 0 }],
    ['its table is gone', { tableFd: 10_000 }],
    ['it ran before the host started anew, or runs on another one', { bootId: 'other' }],
    ['it is in another container', { pidNamespace: 'pid:[1]' }],
    ['it publishes what no version of ours does', { pid: -1 }],
  ])('is TCP when %s', async (_name, changes) => {
    await using owner = await startOwner();
    const segment = withEndpoint(await reader.openSegment(owner.segmentName), changes);
    await read(segment, owner);
    expectSameBytes(local.bytes, expected());
    expect(wayTo(segment)).toBe('tcp');
  });

  test('is never the memory of a process that has got the id of another one', async () => {
    await using owner = await startOwner();
    await using stranger = await startOwner();
    const segment = await reader.openSegment(owner.segmentName);
    const strange = endpointOf(await reader.openSegment(stranger.segmentName));
    // Its id only; then all but the mark that its memory must hold.
    for (const changes of [{ pid: strange.pid }, { ...strange, mark: endpointOf(segment).mark }]) {
      const changed = withEndpoint(segment, changes);
      await read(changed, owner);
      expectSameBytes(local.bytes, expected());
      expect(wayTo(changed)).toBe('tcp');
    }
  });

  test.runIf(canStartContainers())('is TCP into another container', async () => {
    await using owner = await startOwner();
    await using other = startReader(owner, {}, CONTAINER);
    expect(await other.line('way')).toMatch(/^way tcp .*local: it is in another container/);
    expect(await other.line('read')).toMatch(/^read 0 /);
  });

  test('is a file that the owner maps, where the kernel forbids reading its memory', async () => {
    const file = folder.file('mapped with blanks');
    const bytes = Buffer.alloc(SIZE_BYTES, 5);
    fs.writeFileSync(file, bytes);
    await using owner = await startOwner({ file });
    const { fileAddress, segmentName } = owner;
    await using other = startReader({ segmentName, address: BigInt(fileAddress) }, { isForbidden: true });
    expect(await other.line('way')).toContain('way local');
    expect(await other.line('read 2')).toBe('read 2 5');
    await using plain = startReader(owner, { isForbidden: true });
    expect(await plain.line('read 2')).toMatch(/^read 2 (?!0$)/); // over TCP
    // The file is shorter: what is gone is an error of the owner's, and no signal.
    fs.truncateSync(file, 4096);
    expect(await other.line('P2P_')).toMatch(/^P2P_TRANSFER_FAILED /);
  });

  test('is TCP where the kernel forbids reading memory, and no file is mapped', async () => {
    await using owner = await startOwner();
    await using other = startReader(owner, { isForbidden: true });
    expect(await other.line('way')).toMatch(/^way tcp .*the kernel forbids reading its memory \(EPERM\)/);
    expect(await other.line('read 1')).toMatch(/^read 1 /);
  });

  test.runIf(process.getuid?.() === 0)('is TCP where the kernel forbids more', async () => {
    await using owner = await startOwner();
    await using other = startReader(owner, { runAs: 65_534 });
    expect(await other.line('way')).toMatch(/^way tcp .*local: the kernel forbids looking into its process/);
    expect(await other.line('read')).toMatch(/^read 0 /);
  });
});

describe('an owner that is killed', () => {
  test('fails what is read from it, within seconds, and what is asked of it later', async () => {
    await using owner = await startOwner();
    const segment = await reader.openSegment(owner.segmentName);
    const moves = Array.from({ length: 20 }, () => ({
      opcode: 'read' as const,
      local: local.address,
      remote: owner.address,
      lengthBytes: SIZE_BYTES,
    }));
    const batch = reader.submitTransfer(requestsOf(segment, moves));
    await eventually('the first bytes', () => batch.tasks.some((task) => task.transferredBytes > 0), { pollMs: 1 });
    await owner.child.kill();
    expect(await outcomeOf(batch.done)).toBe(ErrorCode.PeerUnreachable);
    local.bytes.fill(0x33);
    expect(await outcomeOf(read(segment, owner))).toBe(ErrorCode.PeerUnreachable);
    expect(firstOtherThan(local.bytes, 0x33)).toBe(-1);
  });
});

describe('memory that is unregistered while others read it', () => {
  test('gives them none of the bytes that it holds afterwards', async () => {
    for (let round = 0; round < 3; round++) {
      await using owner = await startOwner();
      await using other = startReader(owner);
      expect(await other.line('way')).toContain('way local');
      await other.line('read 2');
      process.kill(owner.child.pid, 'SIGUSR2');
      await owner.child.line('unregistered');
      expect(await other.line('P2P_')).toMatch(/^P2P_TRANSFER_REJECTED \d+ (?!238)/); // 0xee
      expect(other.lines.filter((line) => line.endsWith(' 238'))).toEqual([]);
    }
  });

  test('is not held by a reader that was killed', async () => {
    await using owner = await startOwner();
    await using other = startReader(owner);
    await other.line('read 2');
    await other.kill();
    process.kill(owner.child.pid, 'SIGUSR2');
    const [, waitedMs] = (await owner.child.line('unregistered')).split(' ');
    expect(Number(waitedMs)).toBeLessThan(4000);
  });

  test('is not held for ever by a reader that was stopped, and that reader throws away what it reads later', async () => {
    await using owner = await startOwner();
    await using other = startReader(owner);
    await other.line('read 2');
    other.freeze();
    process.kill(owner.child.pid, 'SIGUSR2');
    await owner.child.line('unregistered');
    const from = other.lines.length;
    other.thaw();
    await other.line('P2P_TRANSFER_REJECTED');
    expect(other.lines.slice(from).filter((line) => line.startsWith('read') && line.endsWith(' 238'))).toEqual([]);
  });
});

describe('an engine that closes', () => {
  test('leaves no descriptor behind, neither its own nor of peers', async () => {
    await using owner = await startOwner();
    const before = fs.readdirSync('/proc/self/fd').length;
    const other = await openEngine({ metadata, transports: ['local'] });
    await other.registerLocalMemory(local.address, SIZE_BYTES);
    const segment = await other.openSegment(owner.segmentName);
    await transfer(other, segment, { opcode: 'read', local: local.address, remote: owner.address, lengthBytes: 1 });
    await other.close();
    await eventually('descriptors to be closed', () => fs.readdirSync('/proc/self/fd').length <= before);
  });
});
