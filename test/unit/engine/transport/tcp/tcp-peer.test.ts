import { beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../../src/core/errors.ts';
import { MIB } from '../../../../../src/core/units.ts';
import type { Segment } from '../../../../../src/engine/segment.ts';
import { Outcome, REQUEST_FIELDS, type ToWorker } from '../../../../../src/engine/transport/tcp/messages.ts';
import { RequestProgress, type Slice } from '../../../../../src/engine/transport/tcp/slice.ts';
import type { PeerConnection } from '../../../../../src/engine/transport/tcp/tcp-path.ts';
import { TcpPeer, WINDOW_BYTES } from '../../../../../src/engine/transport/tcp/tcp-peer.ts';
import type { WorkerHandle } from '../../../../../src/engine/transport/tcp/worker-handle.ts';
import { segmentAt } from '../../../../support/engines.ts';
import { eventually } from '../../../../support/eventually.ts';

/** The peer under test between requests and a worker whose part the test plays. */
class Scene {
  readonly messages: ToWorker[] = [];
  readonly connections: PeerConnection[] = [];
  readonly outcomes: unknown[] = [];
  readonly peer: TcpPeer;
  #nextId = 1;

  constructor(segment: Segment = segmentAt(9), connectionsPerPeer = 4) {
    const worker = { post: (message: ToWorker) => this.messages.push(message) } as unknown as WorkerHandle;
    this.peer = new TcpPeer(segment, {
      connectionsPerPeer,
      windowBytes: WINDOW_BYTES,
      newConnection: () => ({ id: this.#nextId++, worker }),
      onConnectionOpened: (connection) => this.connections.push(connection),
      onConnectionEnded: () => {},
      identify: () => {},
      onPathChanged: () => {},
    });
  }

  enqueue(count: number, lengthBytes: number): readonly Slice[] {
    const slices = Array.from({ length: count }, () => {
      const request = {
        opcode: 'read',
        segment: segmentAt(9),
        localAddress: 4096,
        remoteAddress: 8192,
        lengthBytes,
        onProgress: () => {},
        onSettled: (error: unknown) => this.outcomes.push(error),
      } as const;
      return new RequestProgress(
        request,
        lengthBytes,
        () => this.#nextId++,
        () => {},
      ).slices;
    }).flat();
    this.peer.enqueue(slices);
    return slices;
  }

  async connected(count: number): Promise<readonly PeerConnection[]> {
    await eventually('connections', () => this.connections.length === count);
    for (const connection of this.connections) this.peer.onConnected(connection);
    return this.connections;
  }

  /** Ids of the slices that were handed to a connection. */
  submittedTo({ id }: PeerConnection): number[] {
    return this.messages.flatMap((message) => {
      if (message.kind !== 'submit' || message.connectionId !== id) return [];
      return Array.from(
        { length: message.packed.length / REQUEST_FIELDS },
        (_, index) => message.packed[index * REQUEST_FIELDS] ?? 0,
      );
    });
  }

  codes(): unknown[] {
    return this.outcomes.map((error) =>
      typeof error === 'object' && error !== null && 'code' in error ? error.code : error,
    );
  }
}

describe('TcpPeer', () => {
  let scene: Scene;

  beforeEach(() => {
    scene = new Scene();
  });

  test('opens one connection for little, and no more than its limit for much', async () => {
    scene.enqueue(1, 100);
    await scene.connected(1);
    scene.enqueue(500, MIB);
    await scene.connected(4);
    scene.enqueue(5000, MIB);
    expect(scene.connections).toHaveLength(4);
  });

  test('keeps a bounded window on each connection and refills it as slices end', async () => {
    const slices = scene.enqueue(200, MIB);
    const connections = await scene.connected(4);
    expect(connections.map((connection) => scene.submittedTo(connection).length)).toEqual([16, 16, 16, 16]);
    const [first] = slices;
    if (first === undefined) throw new Error('a slice is wanted');
    scene.peer.onSettled(first, Outcome.Done);
    scene.peer.dispatch();
    expect(connections.reduce((sum, connection) => sum + scene.submittedTo(connection).length, 0)).toBe(65);
  });

  test('gives a connection to a server of version 1 one slice, and takes it away afterwards', async () => {
    scene = new Scene(segmentAt(9, { protocolVersion: 1 }), 1);
    const [first] = scene.enqueue(2, 100);
    const [connection] = await scene.connected(1);
    if (first === undefined || connection === undefined) throw new Error('a slice and a connection are wanted');
    expect(scene.submittedTo(connection)).toEqual([first.id]);
    scene.peer.onSettled(first, Outcome.Done);
    scene.peer.dispatch();
    expect(scene.submittedTo(connection)).toEqual([first.id]);
    expect(scene.messages.at(-1)).toEqual({ kind: 'disconnect', connectionId: connection.id });
  });

  test('fails all that waits when every address refuses', async () => {
    scene.enqueue(3, 100);
    await eventually('a connection', () => scene.connections.length === 1);
    const [connection] = scene.connections;
    if (connection !== undefined) scene.peer.onDisconnected(connection, 'connect answered ECONNREFUSED', 'refused');
    expect(scene.codes()).toEqual(new Array(3).fill(ErrorCode.PeerUnreachable));
  });

  test('tries what a lost connection carried on another, and charges the head alone', async () => {
    scene = new Scene(segmentAt(9), 1);
    const slices = scene.enqueue(2, 100);
    for (let round = 1; round <= 3; round++) {
      const connection = await eventually('a connection', () => scene.connections[round - 1]);
      scene.peer.onConnected(connection);
      connection.hasAnswered = true;
      scene.peer.onDisconnected(connection, 'the peer closed the connection', 'lost');
      const [head, other] = slices;
      if (head === undefined || other === undefined) throw new Error('two slices are wanted');
      scene.peer.onSettled(head, Outcome.Disconnected);
      scene.peer.onSettled(other, Outcome.Unstarted);
      scene.peer.dispatch();
    }
    expect(scene.codes()).toEqual([ErrorCode.TransferFailed]);
  });

  test('gives everything up when its last connection that ever answered falls silent', async () => {
    const slices = scene.enqueue(200, MIB);
    const connections = await scene.connected(4);
    const [proven] = connections;
    if (proven === undefined) throw new Error('a connection is wanted');
    proven.hasAnswered = true;
    scene.peer.onDisconnected(proven, 'no byte for 5000 ms', 'stalled');
    expect(scene.codes()).toEqual(new Array(200 - 64).fill(ErrorCode.PeerUnreachable));
    const asked = scene.messages.filter(({ kind }) => kind === 'disconnect');
    expect(asked).toHaveLength(3);
    for (const slice of slices.filter(({ connection }) => connection !== undefined)) {
      scene.peer.onSettled(slice, Outcome.Unstarted);
    }
    expect(scene.codes().slice(136)).toEqual(new Array(64).fill(ErrorCode.TransferFailed));
  });

  test('goes on with the others when one connection falls silent', async () => {
    scene.enqueue(200, MIB);
    const connections = await scene.connected(4);
    for (const connection of connections) connection.hasAnswered = true;
    const [silent] = connections;
    if (silent !== undefined) scene.peer.onDisconnected(silent, 'no byte for 5000 ms', 'stalled');
    expect(scene.outcomes).toEqual([]);
    await eventually('another connection', () => scene.connections.length === 5);
  });

  test('cancel() drops what waits at once and asks for the rest to stop', async () => {
    scene = new Scene(segmentAt(9), 1);
    const slices = scene.enqueue(20, MIB);
    await scene.connected(1);
    scene.peer.cancel(slices);
    expect(scene.outcomes).toEqual(new Array(4).fill('canceled'));
    expect(scene.messages.at(-1)).toMatchObject({
      kind: 'cancel',
      requestIds: slices.slice(0, 16).map(({ id }) => id),
    });
    expect(scene.peer.idleMs(performance.now() + 1000)).toBe(0);
    for (const slice of slices.slice(0, 16)) scene.peer.onSettled(slice, Outcome.Canceled);
    expect(scene.outcomes).toHaveLength(20);
    expect(scene.peer.idleMs(performance.now() + 1000)).toBeGreaterThan(900);
  });
});
