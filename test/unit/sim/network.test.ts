import { describe, expect, test } from 'vitest';
import type { Link } from '../../../sim/bounds.ts';
import { EventQueue } from '../../../sim/event-queue.ts';
import { Network, type TransferEnd } from '../../../sim/network.ts';

const events = { uplinkFree: 0, quantumArrived: 1 };
const pieceBytes = 1_000;

class Rig {
  readonly queue = new EventQueue();
  readonly network: Network;
  readonly ends: { readonly piece: number; readonly end: TransferEnd; readonly atMs: number }[] = [];

  constructor(links: readonly Link[]) {
    this.network = new Network(this.queue, links, events, { latencyMs: 1, quantaPerPiece: 4, pieces: 100 });
  }

  send(from: number, to: number, piece: number, refuseWhen?: { queuedBytes: number; sentWithinMs: number }) {
    const onDone = (end: TransferEnd): void => {
      this.ends.push({ piece, end, atMs: this.queue.nowMs });
    };
    return this.network.send({ from, to, bytes: pieceBytes, piece, refuseWhen, onDone });
  }

  run(untilMs = Number.POSITIVE_INFINITY): void {
    while (
      this.queue.nowMs < untilMs &&
      this.queue.next((kind, value) => {
        if (kind === events.uplinkFree) this.network.onUplinkFree(value);
        else this.network.onQuantumArrived(value);
      })
    );
  }

  endOf(piece: number) {
    return this.ends.find((one) => one.piece === piece);
  }
}

const fast = { up: 100, down: 100 };

describe('Network', () => {
  test('keeps to the rate of the uplink, however many transfers share it', () => {
    const rig = new Rig([{ up: 10, down: 10 }, fast, fast]);
    for (let piece = 0; piece < 10; piece++) rig.send(0, 1 + (piece % 2), piece);
    rig.run();
    expect(rig.ends.every(({ end }) => end === 'arrived')).toBe(true);
    const lastMs = Math.max(...rig.ends.map(({ atMs }) => atMs));
    expect(lastMs).toBeGreaterThanOrEqual(1_000); // 10 pieces of 1,000 bytes at 10 bytes per ms
    expect(lastMs).toBeLessThan(1_010);
    expect(rig.network.sentBytes(0)).toBe(10 * pieceBytes);
  });

  test('keeps to the rate of the downlink, however many send to it', () => {
    const rig = new Rig([fast, fast, { up: 10, down: 10 }]);
    for (let piece = 0; piece < 10; piece++) rig.send(piece % 2, 2, piece);
    rig.run();
    const lastMs = Math.max(...rig.ends.map(({ atMs }) => atMs));
    expect(lastMs).toBeGreaterThanOrEqual(1_000);
    expect(lastMs).toBeLessThan(1_030);
  });

  test('a full downlink does not stop what its sender sends to others', () => {
    const rig = new Rig([fast, { up: 1, down: 1 }, fast]);
    rig.send(0, 1, 0); // takes a second
    for (let piece = 1; piece <= 10; piece++) rig.send(0, 2, piece);
    rig.run();
    for (let piece = 1; piece <= 10; piece++) expect(rig.endOf(piece)?.atMs).toBeLessThan(200);
    expect(rig.endOf(0)?.atMs).toBeGreaterThanOrEqual(1_000);
  });

  test('refuses what would wait too long and what was sent a moment ago, after a round trip', () => {
    const rig = new Rig([{ up: 10, down: 10 }, fast]);
    for (let piece = 0; piece < 3; piece++) rig.send(0, 1, piece);
    rig.send(0, 1, 3, { queuedBytes: 2 * pieceBytes, sentWithinMs: 0 });
    rig.send(0, 1, 2, { queuedBytes: 20 * pieceBytes, sentWithinMs: 50 });
    rig.run(3);
    expect(rig.ends).toEqual([
      { piece: 3, end: 'busy', atMs: 2 },
      { piece: 2, end: 'sent', atMs: 2 },
    ]);
    rig.run();
    rig.send(0, 1, 2, { queuedBytes: pieceBytes, sentWithinMs: 50 });
    rig.run();
    expect(rig.ends.at(-1)).toMatchObject({ piece: 2, end: 'arrived' });
    expect(rig.network.sentBytes(0)).toBe(4 * pieceBytes);
  });

  test('a canceled transfer ends at once and leaves its uplink to others', () => {
    const rig = new Rig([{ up: 10, down: 10 }, fast]);
    const first = rig.send(0, 1, 0);
    rig.send(0, 1, 1);
    rig.network.cancel(first);
    expect(rig.ends).toEqual([{ piece: 0, end: 'canceled', atMs: 0 }]);
    rig.run();
    expect(rig.endOf(1)?.atMs).toBeLessThan(150);
  });

  test('a dead machine is silent until others notice, then what it owed fails', () => {
    const rig = new Rig([{ up: 10, down: 10 }, fast]);
    rig.send(0, 1, 0);
    rig.network.kill(0);
    rig.send(0, 1, 1, { queuedBytes: 1, sentWithinMs: 0 });
    rig.run();
    expect(rig.ends).toEqual([]);
    rig.network.cut(0);
    expect(rig.ends.map(({ piece, end }) => [piece, end])).toEqual([
      [0, 'failed'],
      [1, 'failed'],
    ]);
  });

  test('sends a dead machine no more than a window', () => {
    const rig = new Rig([fast, fast]);
    rig.network.kill(1);
    rig.send(0, 1, 0);
    rig.run();
    expect(rig.ends).toEqual([]);
    expect(rig.network.sentBytes(0)).toBe(pieceBytes / 2);
  });
});
