import { describe, expect, test } from 'vitest';
import { runChildScript } from '../../support/child-script.ts';

/** Begins a transfer between two engines, after a small one that takes a way of its own; `workers` are those of the client. */
const TRANSFER = `
import { Worker } from 'node:worker_threads';
const workers = [];
const { postMessage } = Worker.prototype;
Worker.prototype.postMessage = function (...args) {
  if (!workers.includes(this)) workers.push(this);
  return postMessage.apply(this, args);
};
const { TransferEngine } = await dist('engine/transfer-engine.js');
const { allocate } = await dist('memory/memory-region.js');
const options = { metadata: 'memory:', host: '127.0.0.1', ioWorkers: 2, transports: ['tcp'] };
const server = await TransferEngine.open({ ...options, segmentName: 'server' });
const client = await TransferEngine.open({ ...options, segmentName: 'client' });
const size = 64 * 1024 * 1024;
const [local, remote] = [allocate(size), allocate(size)];
await server.registerLocalMemory(remote.address, size);
await client.registerLocalMemory(local.address, size, '*', { remoteAccess: 'none' });
remote.view().fill(0xee);
const segment = await client.openSegment('server');
const request = { opcode: 'read', segment, localAddress: local.address, remoteAddress: remote.address, lengthBytes: size };
await client.submitTransfer([{ ...request, lengthBytes: 4096 }]).done;
const batch = client.submitTransfer([request, request, request, request]);
while (batch.tasks[0].transferredBytes === 0) await new Promise(setImmediate);
`;

/** An exception ends the worker, as a defect would. */
const DEATH = `
workers.at(-1).postMessage({ kind: 'submit', connectionId: 0, packed: null });
const outcome = await batch.done.then(() => 'resolved', (error) => error.code);
local.view().fill(0x33);
const after = client.submitTransfer([request]);
const second = await after.done.then(() => 'resolved', (error) => error.code);
await new Promise((resolve) => setTimeout(resolve, 100));
const isQuiet = local.view().every((byte) => byte === 0x33);
await client.close();
await server.close();
console.log(JSON.stringify({ outcome, second, isQuiet }));
`;

describe('an I/O worker that dies', () => {
  test('fails the transfers under way, leaves their memory quiet, and lets the engine close', async () => {
    const { exitCode, stdout, stderr } = await runChildScript(TRANSFER + DEATH);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(JSON.parse(stdout)).toEqual({ outcome: 'P2P_TRANSFER_FAILED', second: 'P2P_CLOSED', isQuiet: true });
  });
});

describe('a process that ends in mid-transfer', () => {
  test('by process.exit() has the exit code that it asked for', async () => {
    const { exitCode, signal, stderr } = await runChildScript(`${TRANSFER} process.exit(7);`);
    expect({ exitCode, signal, stderr }).toEqual({ exitCode: 7, signal: null, stderr: '' });
  });

  test('by an exception that nobody caught shows that exception', async () => {
    const { exitCode, signal, stderr } = await runChildScript(`${TRANSFER} throw new Error('of the user');`);
    expect({ exitCode, signal }).toEqual({ exitCode: 1, signal: null });
    expect(stderr).toContain('Error: of the user');
  });
});
