import { describe, expect, test } from 'vitest';
import { ErrorCode, P2PStoreError } from '../../../src/core/errors.ts';
import type { Segment } from '../../../src/engine/segment.ts';
import type { Reach, Transport, TransportName, TransportRequest } from '../../../src/engine/transport/transport.ts';
import { TransportRouter } from '../../../src/engine/transport-router.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { segmentAt } from '../../support/engines.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** A transport that does nothing by itself: the test plays its part. */
class HandTransport implements Transport {
  readonly name: TransportName;
  readonly submitted: TransportRequest[] = [];
  readonly canceled: TransportRequest[] = [];
  readonly prepared: Segment[] = [];
  reach: Reach | Promise<Reach> = { ok: true, reason: 'it answers' };
  probes = 0;

  constructor(name: TransportName) {
    this.name = name;
  }

  canReach(): Reach | Promise<Reach> {
    this.probes += 1;
    return this.reach;
  }

  prepare(segment: Segment): void {
    this.prepared.push(segment);
  }

  submit(requests: readonly TransportRequest[]): void {
    this.submitted.push(...requests);
  }

  cancel(requests: readonly TransportRequest[]): void {
    this.canceled.push(...requests);
  }

  /** The request that was submitted last. */
  get last(): TransportRequest {
    const request = this.submitted.at(-1);
    if (request === undefined) throw new Error('nothing was submitted');
    return request;
  }

  async register(): Promise<void> {}
  async unregister(): Promise<void> {}
  async close(): Promise<void> {}
  async [Symbol.asyncDispose](): Promise<void> {}
}

type Outcome = P2PStoreError | 'canceled' | 'done';

function openRouter(): {
  readonly clock: FakeClock;
  readonly local: HandTransport;
  readonly tcp: HandTransport;
  readonly router: TransportRouter;
} {
  const clock = new FakeClock();
  const [local, tcp] = [new HandTransport('local'), new HandTransport('tcp')];
  return { clock, local, tcp, router: new TransportRouter({ transports: [local, tcp], clock, logger: silentLogger }) };
}

const segment: Segment = segmentAt(1, { name: 'peer' });

/** A request that keeps what it is told. */
function createRequest(): { readonly request: TransportRequest; readonly told: number[]; readonly ends: Outcome[] } {
  const told: number[] = [];
  const ends: Outcome[] = [];
  const request: TransportRequest = {
    opcode: 'read',
    segment,
    localAddress: 4096,
    remoteAddress: 8192,
    lengthBytes: 100,
    onProgress: (bytes) => told.push(bytes),
    onSettled: (error) => ends.push(error ?? 'done'),
  };
  return { request, told, ends };
}

const lost = new P2PStoreError(ErrorCode.TransferFailed, 'Cannot read: the cable is cut', {
  peer: 'peer',
  address: 8192n,
  lengthBytes: 100,
});
const refused = new P2PStoreError(ErrorCode.TransferRefused, 'Cannot read: busy', { peer: 'peer', reason: 'busy' });

describe('TransportRouter', () => {
  test('takes the first transport that leads to the segment, and says why', async () => {
    const { router, local, tcp } = openRouter();
    local.reach = { ok: false, reason: 'it is on another host' };
    const { request, ends } = createRequest();
    router.submit([request]);
    tcp.last.onSettled(undefined);
    expect(ends).toEqual(['done']);
    expect(local.submitted).toEqual([]);
    const choice = { segment: 'peer', transport: 'tcp', reason: 'it answers; local: it is on another host' };
    expect(router.choices()).toEqual([choice]);
    expect(await router.explain(segment)).toEqual(choice);
  });

  test('prepares the transport that requests would take, once its probe has ended', async () => {
    const { router, local, tcp } = openRouter();
    local.reach = Promise.resolve({ ok: false, reason: 'it is on another host' });
    await router.prepare(segment);
    expect([local.prepared, tcp.prepared]).toEqual([[], [segment]]);
    local.reach = { ok: false, reason: 'no' };
    tcp.reach = { ok: false, reason: 'no' };
    await router.prepare(segmentAt(1, { name: 'nowhere' }));
    expect(tcp.prepared).toHaveLength(1);
  });

  test('waits for the first probe, and cancels what waits', async () => {
    const { router, local, tcp } = openRouter();
    let answer: (reach: Reach) => void = () => {};
    local.reach = new Promise((resolve) => {
      answer = resolve;
    });
    const [kept, canceled] = [createRequest(), createRequest()];
    router.submit([kept.request, canceled.request]);
    router.cancel([canceled.request]);
    expect(canceled.ends).toEqual(['canceled']);
    answer({ ok: true, reason: 'it is here' });
    await local.reach;
    await Promise.resolve();
    expect(local.submitted).toHaveLength(1);
    local.last.onSettled(undefined);
    expect([kept.ends, canceled.ends]).toEqual([['done'], ['canceled']]);
    expect(local.probes).toBe(1);
    expect(tcp.submitted).toEqual([]);
  });

  test('carries a request on over the next transport when its way is lost, as a whole', () => {
    const { router, local, tcp } = openRouter();
    const { request, told, ends } = createRequest();
    router.submit([request]);
    local.last.onProgress(60);
    local.last.onSettled(lost);
    expect(ends).toEqual([]);
    expect(tcp.last).toMatchObject({ localAddress: 4096, remoteAddress: 8192, lengthBytes: 100, opcode: 'read' });
    tcp.last.onProgress(50);
    tcp.last.onProgress(50);
    tcp.last.onSettled(undefined);
    expect(told).toEqual([60, 40]);
    expect(ends).toEqual(['done']);
  });

  test('tells its caller at once what is wrong with the request', () => {
    const { router, local, tcp } = openRouter();
    const { request, ends } = createRequest();
    router.submit([request]);
    local.last.onSettled(refused);
    expect(ends).toEqual([refused]);
    expect(tcp.submitted).toEqual([]);
    router.submit([createRequest().request]);
    expect(local.submitted).toHaveLength(2);
  });

  test('names the faults of all ways when the last one fails too', () => {
    const { router, local, tcp } = openRouter();
    const { request, ends } = createRequest();
    router.submit([request]);
    local.last.onSettled(lost);
    const unreachable = new P2PStoreError(ErrorCode.PeerUnreachable, 'Cannot reach: refused', { peer: 'peer' });
    tcp.last.onSettled(unreachable);
    expect(ends).toMatchObject([
      {
        code: ErrorCode.PeerUnreachable,
        message: 'Cannot reach: refused; before that over local: Cannot read: the cable is cut',
        cause: unreachable,
      },
    ]);
  });

  test('holds a lost way back, longer each time, and probes it before it is used again', () => {
    const { router, local, tcp, clock } = openRouter();
    const submit = (): 'local' | 'tcp' => {
      const before = local.submitted.length;
      router.submit([createRequest().request]);
      return local.submitted.length > before ? 'local' : 'tcp';
    };
    expect(submit()).toBe('local');
    local.last.onSettled(lost);
    expect(tcp.submitted).toHaveLength(1);
    expect(router.choices()).toMatchObject([{ transport: 'tcp', reason: `it answers; local: ${lost.message}` }]);
    clock.jump(400);
    expect([submit(), local.probes]).toEqual(['tcp', 1]);
    clock.jump(700);
    expect([submit(), local.probes]).toEqual(['local', 2]);
    local.last.onSettled(lost);
    clock.jump(900);
    expect([submit(), local.probes]).toEqual(['tcp', 2]);
    clock.jump(1200);
    local.reach = { ok: false, reason: 'gone' };
    expect([submit(), local.probes]).toEqual(['tcp', 3]);
    local.reach = { ok: true, reason: 'back' };
    clock.jump(60_000);
    expect(submit()).toBe('local');
    local.last.onSettled(undefined);
    // Done once, so the next loss is a first one again.
    expect(submit()).toBe('local');
    local.last.onSettled(lost);
    clock.jump(1100);
    expect(submit()).toBe('local');
  });

  test('cancels a request wherever it is, and does not carry it on', () => {
    const { router, local, tcp } = openRouter();
    const [first, second] = [createRequest(), createRequest()];
    router.submit([first.request]);
    router.cancel([first.request]);
    expect(local.canceled).toEqual([local.last]);
    local.last.onSettled(lost);
    expect(first.ends).toEqual(['canceled']);
    expect(tcp.submitted).toEqual([]);
    router.submit([second.request]); // over TCP, as the other way is lost
    router.cancel([second.request]);
    expect(tcp.canceled).toEqual([second.request]);
  });

  test('fails a request when no transport leads to its segment', () => {
    const { router, local, tcp } = openRouter();
    local.reach = { ok: false, reason: 'it is on another host' };
    tcp.reach = { ok: false, reason: 'no card' };
    const { request, ends } = createRequest();
    router.submit([request]);
    expect(ends).toMatchObject([{ code: ErrorCode.PeerUnreachable }]);
    expect(String(ends[0])).toContain('local: it is on another host; tcp: no card');
  });

  test('probes again for a segment that has restarted', () => {
    const { router, local } = openRouter();
    const at = (instance: string): TransportRequest => ({
      ...createRequest().request,
      segment: { ...segment, instance },
    });
    router.submit([at('a'), at('a'), at('b')]);
    expect(local.probes).toBe(2);
  });
});
