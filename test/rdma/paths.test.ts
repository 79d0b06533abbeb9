import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../src/core/errors.ts';
import { MIB } from '../../src/core/units.ts';
import type { TransferEngine, TransferEngineOptions } from '../../src/engine/transfer-engine.ts';
import type { LogFields, Logger } from '../../src/observability/logger.ts';
import { openEngine, outcomeOf, requestsOf } from '../support/engines.ts';
import { eventually } from '../support/eventually.ts';
import { startNodeChild } from '../support/node-child.ts';
import { allocateBytes, expectSameBytes, FILL_PATTERN_SOURCE, fillPattern } from '../support/patterned-memory.ts';
import { makeTemporaryFolder } from '../support/temporary-folder.ts';

function setLink(name: string, state: 'up' | 'down'): void {
  execFileSync('ip', ['link', 'set', name, state]);
}

class LogLines implements Logger {
  readonly lines: string[] = [];
  debug = (fields: LogFields, message: string): void => this.#add(fields, message);
  info = (fields: LogFields, message: string): void => this.#add(fields, message);
  warn = (fields: LogFields, message: string): void => this.#add(fields, message);
  error = (fields: LogFields, message: string): void => this.#add(fields, message);

  #add(fields: LogFields, message: string): void {
    const text = JSON.stringify(fields, (_key, value) => (typeof value === 'bigint' ? String(value) : value));
    this.lines.push(`${message} ${text}`);
  }
}

function onCards(...names: string[]): Partial<TransferEngineOptions> {
  return { transports: ['rdma', 'tcp'], nicPriorityMatrix: { '*': [names, []] }, ioWorkers: 1 };
}

/** Reads `sizeBytes` from one engine into another, and calls `meanwhile` when a quarter has come. */
async function readAll(
  source: TransferEngine,
  target: TransferEngine,
  sizeBytes: number,
  meanwhile: () => void | Promise<void>,
): Promise<void> {
  await using remote = allocateBytes(sizeBytes);
  await using local = allocateBytes(sizeBytes);
  fillPattern(remote.bytes, 5);
  await source.registerLocalMemory(remote.address, sizeBytes, '*', { isListed: false });
  await target.registerLocalMemory(local.address, sizeBytes, '*', { remoteAccess: 'none' });
  const segment = await target.openSegment(source.segmentName);
  const move = { opcode: 'read', local: local.address, remote: remote.address, lengthBytes: sizeBytes } as const;
  const batch = target.submitTransfer(requestsOf(segment, [move]));
  const movedBytes = (): number => batch.tasks[0]?.transferredBytes ?? 0;
  await eventually('a quarter', () => movedBytes() >= sizeBytes / 4, { deadlineMs: 30_000, pollMs: 1 });
  await meanwhile();
  await batch.done;
  expectSameBytes(local.bytes, remote.bytes);
  await source.unregisterLocalMemory(remote.address);
  await target.unregisterLocalMemory(local.address);
}

describe('two cards', () => {
  test('carry one request together; when one fails the other goes on alone', async () => {
    await using source = await openEngine(onCards('rxb', 'rxe0'));
    await using target = await openEngine(onCards('rxa', 'rxe0'));
    await readAll(source, target, 16 * MIB, async () => {
      expect(await target.explain(source.segmentName)).toMatchObject({
        transport: 'rdma',
        reason: expect.stringMatching(/rxa to rxb.*rxe0 to rxe0|rxe0 to rxe0.*rxa to rxb/),
      });
      setLink('cablea', 'down');
    });
    expect((await target.explain(source.segmentName)).transport).toBe('rdma');
    setLink('cablea', 'up');
  });
});

describe('when RDMA is lost between two engines', () => {
  test('requests go on over TCP, which is said', async () => {
    const logger = new LogLines();
    await using source = await openEngine(onCards('rxe1'));
    await using target = await openEngine({ ...onCards('rxe1'), logger });
    try {
      await readAll(source, target, 64 * MIB, () => setLink('dummy1', 'down'));
      expect(logger.lines).toContainEqual(expect.stringContaining('request goes on over another transport'));
      const choice = await target.explain(source.segmentName);
      expect(choice).toMatchObject({ transport: 'tcp', reason: expect.stringMatching(/rdma.*port 1 of rxe1 is down/) });
    } finally {
      setLink('dummy1', 'up');
    }
  });
});

describe('memory that was registered again', () => {
  test('is found with its new key', async () => {
    await using source = await openEngine({ ...onCards('rxe0'), transports: ['rdma'] });
    await using target = await openEngine({ ...onCards('rxe0'), transports: ['rdma'] });
    await using remote = allocateBytes(MIB);
    await using local = allocateBytes(MIB);
    await target.registerLocalMemory(local.address, MIB, '*', { remoteAccess: 'none' });
    const segment = await target.openSegment(source.segmentName);
    for (const seed of [1, 2]) {
      fillPattern(remote.bytes, seed);
      await source.registerLocalMemory(remote.address, MIB, '*', { isListed: false });
      const move = { opcode: 'read', local: local.address, remote: remote.address, lengthBytes: MIB } as const;
      await target.submitTransfer(requestsOf(segment, [move])).done;
      expectSameBytes(local.bytes, remote.bytes);
      await source.unregisterLocalMemory(remote.address);
    }
  });
});

const SERVE = `
${FILL_PATTERN_SOURCE}
const { TransferEngine } = await dist('engine/transfer-engine.js');
const { allocate } = await dist('memory/memory-region.js');
const { sizeBytes, ...options } = JSON.parse(process.argv.at(-1));
try {
  const engine = await TransferEngine.open({ host: '127.0.0.1', ioWorkers: 1, transports: ['rdma', 'tcp'], ...options });
  const region = allocate(sizeBytes);
  fillPattern(region.view(), 7);
  await engine.registerLocalMemory(region.address, sizeBytes, '*');
  console.log('ready', String(region.address));
  setInterval(() => {}, 1000);
} catch (error) {
  console.log('failed', error.code, error.message);
  process.exit(0);
}
`;

function queuePairsOf(pid: number): number {
  const shown = execFileSync('rdma', ['resource', 'show', 'qp'], { encoding: 'utf8' });
  return shown.split('\n').filter((line) => line.includes('type RC') && line.includes(`pid ${pid} `)).length;
}

describe('a peer that is killed', () => {
  test('ends what is read from it as an error, and its queue pairs are freed', async () => {
    const sizeBytes = 2 * MIB;
    await using folder = await makeTemporaryFolder();
    const metadata = `local:${folder.path}`;
    await using child = startNodeChild(SERVE, [JSON.stringify({ metadata, segmentName: 'killed', sizeBytes })]);
    const [, address] = (await child.line('ready', { deadlineMs: 60_000 })).split(' ');
    await using target = await openEngine({ metadata, transports: ['rdma'], ioWorkers: 1 });
    await using local = allocateBytes(sizeBytes);
    await target.registerLocalMemory(local.address, sizeBytes, '*', { remoteAccess: 'none' });
    const segment = await target.openSegment('killed');
    const move = {
      opcode: 'read',
      local: local.address,
      remote: BigInt(address ?? 0),
      lengthBytes: sizeBytes,
    } as const;
    // More than can be read while a process dies.
    const batch = target.submitTransfer(requestsOf(segment, new Array<typeof move>(500).fill(move)));
    await eventually('the first bytes', () => (batch.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
    expect(queuePairsOf(process.pid)).toBeGreaterThan(0);
    await child.kill();
    expect([ErrorCode.PeerUnreachable, ErrorCode.TransferFailed]).toContain(await outcomeOf(batch.done));
    local.bytes.fill(0x33);
    await eventually('no queue pair', () => queuePairsOf(process.pid) === 0, { deadlineMs: 20_000 });
    expect(local.bytes.every((byte) => byte === 0x33)).toBe(true);
  });
});

describe('a process that may lock little memory', () => {
  test('is told so, and what to do', async () => {
    await using folder = await makeTemporaryFolder();
    execFileSync('chmod', ['777', folder.path]);
    const settings = { metadata: 'memory:', segmentName: 'poor', sizeBytes: 32 * MIB };
    const options = JSON.stringify({ ...settings, nicPriorityMatrix: { '*': [['rxe0'], []] } });
    const asNobody = ['prlimit', '--memlock=1048576:1048576', 'setpriv', '--reuid=65534', '--clear-groups'];
    await using child = startNodeChild(SERVE, [options], asNobody);
    const line = await child.line('failed', { deadlineMs: 60_000 });
    expect(line).toContain(ErrorCode.SystemCallFailed);
    expect(line).toMatch(
      /may lock 1048576 bytes of memory \(RLIMIT_MEMLOCK\).*33554432 are wanted.*ulimit -l unlimited/,
    );
  });
});
