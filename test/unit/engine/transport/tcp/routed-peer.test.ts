/** A peer that is reached over several pairs of cards. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { PathRoute } from '../../../../../src/engine/paths/path-pairs.ts';
import { Outcome, type ToWorker } from '../../../../../src/engine/transport/tcp/messages.ts';
import { RequestProgress, type Slice } from '../../../../../src/engine/transport/tcp/slice.ts';
import type { PeerConnection } from '../../../../../src/engine/transport/tcp/tcp-path.ts';
import { TcpPeer, WINDOW_BYTES } from '../../../../../src/engine/transport/tcp/tcp-peer.ts';
import type { WorkerHandle } from '../../../../../src/engine/transport/tcp/worker-handle.ts';
import { segmentAt } from '../../../../support/engines.ts';

const MIB = 1024 * 1024;
const BOTH_UP = new Set(['10.0.0.1', '10.0.1.1', '10.0.2.1']);

function route(card: number, rank = 0): PathRoute {
  return {
    localCard: `eth${card}`,
    localAddress: `10.0.${card}.1`,
    remoteCard: `eth${card}`,
    remoteAddress: `10.0.${card}.2`,
    remotePort: 7000,
    rank,
  };
}

class Scene {
  readonly messages: ToWorker[] = [];
  readonly connections: PeerConnection[] = [];
  readonly outcomes: unknown[] = [];
  readonly peer: TcpPeer;
  #nextId = 1;
  #answers = new Map<PeerConnection, (fault: string | undefined) => void>();

  constructor(routes: readonly PathRoute[]) {
    const worker = { post: (message: ToWorker) => this.messages.push(message) } as unknown as WorkerHandle;
    const context = {
      connectionsPerPeer: 2,
      windowBytes: WINDOW_BYTES,
      newConnection: () => ({ id: this.#nextId++, worker }),
      onConnectionOpened: (connection: PeerConnection) => this.connections.push(connection),
      onConnectionEnded: () => {},
      identify: (connection: PeerConnection, _segment: unknown, onAnswer: (fault: string | undefined) => void) =>
        this.#answers.set(connection, onAnswer),
      onPathChanged: () => {},
    };
    this.peer = new TcpPeer(segmentAt(9), context, routes);
  }

  enqueue(count: number, opcode: 'read' | 'write' = 'read'): readonly Slice[] {
    const request = {
      opcode,
      segment: segmentAt(9),
      localAddress: 4096,
      remoteAddress: 8192,
      lengthBytes: count * MIB,
      onProgress: () => {},
      onSettled: (error: unknown) => this.outcomes.push(error),
    } as const;
    const { slices } = new RequestProgress(
      request,
      MIB,
      () => this.#nextId++,
      () => {},
    );
    this.peer.enqueue(slices);
    return slices;
  }

  /** The connections over a card that were not left. */
  over(card: number): PeerConnection[] {
    return this.connections.filter(({ path, isDropped }) => path.route?.localCard === `eth${card}` && !isDropped);
  }

  /** Every new connection over a card is made, and the right one answers there. */
  connect(card: number, fault?: string): void {
    for (const connection of this.over(card).filter(({ isOpen }) => !isOpen)) {
      this.peer.onConnected(connection);
      const answer = this.#answers.get(connection);
      this.#answers.delete(connection);
      answer?.(fault);
    }
  }

  states(): string[] {
    return this.peer.paths(0).map(({ localCard, state }) => `${localCard} ${state}`);
  }

  on(card: number, slices: readonly Slice[]): Slice[] {
    return slices.filter(({ connection }) => connection?.path.route?.localCard === `eth${card}`);
  }

  settle(slices: readonly Slice[], outcome: Outcome): void {
    for (const slice of slices) this.peer.onSettled(slice, outcome);
    this.peer.dispatch();
  }
}

describe('TcpPeer with several paths', () => {
  let scene: Scene;

  beforeEach(() => {
    scene = new Scene([route(0), route(1)]);
  });

  test('tries each with one connection from its own card, and asks who answers before it uses it', () => {
    const slices = scene.enqueue(40);
    expect(scene.messages).toEqual(
      [0, 1].map((card) =>
        expect.objectContaining({
          kind: 'connect',
          to: { host: `10.0.${card}.2`, port: 7000 },
          from: { host: `10.0.${card}.1`, card: `eth${card}` },
        }),
      ),
    );
    scene.connect(0);
    expect([scene.on(0, slices).length > 0, scene.on(1, slices).length]).toEqual([true, 0]);
    scene.connect(1);
    expect(scene.states()).toEqual(['eth0 up', 'eth1 up']);
    expect(scene.on(1, slices).length).toBeGreaterThan(0);
  });

  test('leaves a path where somebody else answers', () => {
    scene.enqueue(4);
    scene.connect(1, 'another process answers there');
    scene.connect(0);
    expect(scene.states()).toEqual(['eth0 up', 'eth1 held']);
  });

  test('asks ahead for no more than a path can bring soon', () => {
    const slices = scene.enqueue(200);
    for (const card of [0, 1, 0, 1]) scene.connect(card);
    expect(scene.on(0, slices)).toHaveLength(4);
    expect(scene.on(1, slices)).toHaveLength(4);
  });

  test('gives what a path carried that errs to the others, once its memory is quiet', () => {
    const slices = scene.enqueue(8);
    for (const card of [0, 1, 0, 1]) scene.connect(card);
    const lost = scene.on(1, slices);
    const [connection] = scene.over(1);
    if (connection === undefined) throw new Error('a connection is wanted');
    connection.hasAnswered = true;
    scene.peer.onDisconnected(connection, 'receive answered ECONNRESET', 'lost');
    expect(scene.states()).toEqual(['eth0 up', 'eth1 held']);
    // They were asked to stop, and nobody else writes there until they have.
    expect(scene.on(1, slices)).toEqual(lost);
    scene.settle(lost, Outcome.Unstarted);
    scene.settle(scene.on(0, slices), Outcome.Done);
    scene.settle(scene.on(0, slices).slice(4), Outcome.Done);
    expect(scene.on(0, slices)).toHaveLength(8);
    expect(scene.outcomes).toEqual([undefined]);
  });

  test('takes silence for a loss only where another path delivers', () => {
    const slices = scene.enqueue(200);
    for (const card of [0, 1]) scene.connect(card);
    const [silent] = scene.over(1);
    if (silent === undefined) throw new Error('a connection is wanted');
    scene.peer.onSilent(silent, 1000);
    expect(scene.states()).toEqual(['eth0 up', 'eth1 up']);
    scene.settle(scene.on(0, slices).slice(0, 1), Outcome.Done);
    scene.peer.onSilent(silent, 600);
    expect(scene.states()).toEqual(['eth0 up', 'eth1 up']);
    scene.peer.onSilent(silent, 1000);
    expect(scene.states()).toEqual(['eth0 up', 'eth1 held']);
  });

  test('leaves a path whose card goes down, and tries it when it is up and its time has come', () => {
    scene.enqueue(200);
    for (const card of [0, 1]) scene.connect(card);
    const nowMs = performance.now();
    scene.peer.tick(nowMs, new Set(['10.0.0.1']));
    expect(scene.states()).toEqual(['eth0 up', 'eth1 down']);
    scene.peer.tick(nowMs + 100, BOTH_UP);
    expect(scene.states()).toEqual(['eth0 up', 'eth1 held']);
    expect(scene.over(1)).toEqual([]);
  });

  test('fails what waits when every path has failed, with the last fault of each, and starts anew after that', () => {
    scene.enqueue(4);
    for (const card of [0, 1]) {
      for (const connection of scene.over(card)) scene.peer.onDisconnected(connection, `fault ${card}`, 'refused');
    }
    expect(scene.outcomes).toHaveLength(1);
    expect(scene.outcomes[0]).toMatchObject({ code: 'P2P_PEER_UNREACHABLE' });
    expect(String(scene.outcomes[0])).toMatch(/eth0 10\.0\.0\.1 to eth0 10\.0\.0\.2:7000: fault 0; eth1 .*: fault 1/);
    scene.enqueue(4);
    for (const card of [0, 1]) scene.connect(card);
    expect(scene.states()).toEqual(['eth0 up', 'eth1 up']);
  });

  test('with the only path that was used lost, tries one that is held back at once', () => {
    const slices = scene.enqueue(4);
    scene.connect(1, 'another process answers there');
    scene.connect(0);
    const lost = scene.on(0, slices);
    expect(scene.over(1)).toEqual([]);
    scene.peer.tick(performance.now(), new Set(['10.0.1.1']));
    expect(scene.states()).toEqual(['eth0 down', 'eth1 held']);
    scene.settle(lost, Outcome.Unstarted);
    scene.connect(1);
    scene.settle(scene.on(1, slices), Outcome.Done);
    expect(scene.outcomes).toEqual([undefined]);
  });

  test('uses other cards only while no preferred one works', () => {
    scene = new Scene([route(0), route(1, 1)]);
    const slices = scene.enqueue(8);
    expect(scene.over(1)).toEqual([]);
    scene.connect(0);
    const lost = scene.on(0, slices);
    scene.peer.tick(performance.now(), new Set(['10.0.1.1']));
    scene.connect(1);
    scene.settle(lost, Outcome.Unstarted);
    expect(scene.on(1, slices).length).toBeGreaterThan(0);
    expect(scene.states()).toEqual(['eth0 down', 'eth1 up']);
  });

  test('moves a READ from a slow path to an idle one at the end, but no WRITE', () => {
    for (const opcode of ['read', 'write'] as const) {
      scene = new Scene([route(0), route(1)]);
      const slices = scene.enqueue(8, opcode);
      for (const card of [0, 1, 0, 1]) scene.connect(card);
      const onSlow = scene.on(1, slices);
      const nowMs = performance.now();
      // One path delivers all that it has, the other one nothing for a while.
      scene.peer.tick(nowMs, BOTH_UP);
      scene.settle(scene.on(0, slices), Outcome.Done);
      for (let tick = 1; tick <= 5; tick++) scene.peer.tick(nowMs + tick * 100, BOTH_UP);
      const canceled = scene.messages.filter(({ kind }) => kind === 'cancel');
      if (opcode === 'write') {
        expect(canceled).toEqual([]);
        continue;
      }
      expect(canceled.length).toBeGreaterThan(0);
      const moved = onSlow.filter(({ isMoved }) => isMoved);
      scene.settle(moved, Outcome.Canceled);
      expect(scene.on(0, moved)).toEqual(moved);
      expect(scene.outcomes).toEqual([]);
    }
  });
});
