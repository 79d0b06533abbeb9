import { soon } from '../../../core/soon.ts';
import { MemoryReader } from '../../../digest/memory-reader.ts';
import { Scratch } from '../../../native/scratch.ts';
import { startConnect } from '../../../native/sockets.ts';
import type { RegisteredRanges } from '../../registered-ranges.ts';
import { ArrivalDigest } from './arrival-digest.ts';
import { ClientConnection, type ClientContext, SINK_BYTES } from './client-connection.ts';
import { halvesOf } from './digest-halves.ts';
import type { MessageHeader } from './message-header.ts';
import {
  type ConnectMessage,
  type FromWorker,
  Outcome,
  REQUEST_FIELDS,
  RESULT_FIELDS,
  type SubmitMessage,
} from './messages.ts';
import type { Pacer } from './pacer.ts';
import type { ClientRequest } from './pending-request.ts';
import type { Reactor } from './reactor.ts';

export interface OutboundOptions {
  readonly reactor: Reactor;
  /** Of this process: tells how memory may be read. */
  readonly ranges: RegisteredRanges;
  readonly message: MessageHeader;
  readonly connectTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly bytesPerMsMax?: number | undefined;
  /** Undefined: no limit. */
  readonly upload: Pacer | undefined;
  readonly download: Pacer | undefined;
  readonly post: (message: FromWorker) => void;
}

/** The asking half of a worker: its connections to peers, and the results that go back in batches. */
export class Outbound {
  readonly #connections = new Map<number, ClientConnection>();
  readonly #context: ClientContext;
  readonly #options: OutboundOptions;
  readonly #sink: Scratch = new Scratch(SINK_BYTES);
  readonly #reader = new MemoryReader();
  #results: number[] = [];

  constructor(options: OutboundOptions) {
    this.#options = options;
    this.#context = {
      ...options,
      sink: this.#sink,
      onConnected: ({ id }) => options.post({ kind: 'connected', connectionId: id }),
      onSettled: (requestId, outcome, digest) => this.#settle(requestId, outcome, digest),
      onIdle: () => {
        if (!this.isBusy) this.flush();
      },
      onProgress: (requestId, payloadBytes) => options.post({ kind: 'progress', requestId, payloadBytes }),
      onSilent: ({ id }, silentMs) => options.post({ kind: 'silent', connectionId: id, silentMs }),
      onAnswered: ({ id }) => options.post({ kind: 'answered', connectionId: id }),
      onClosed: ({ id }, reason, end) => {
        this.#connections.delete(id);
        // Before the results of its requests: their errors name the reason.
        options.post({ kind: 'disconnected', connectionId: id, reason, end });
      },
    };
  }

  connect({ connectionId: id, to, from, version, connectTimeoutMs, silenceMs }: ConnectMessage): void {
    try {
      const patience = { connectTimeoutMs, silenceMs };
      const connection = new ClientConnection(id, startConnect(to, from), version, this.#context, patience);
      this.#connections.set(id, connection);
      this.#options.reactor.add(connection);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      this.#options.post({ kind: 'disconnected', connectionId: id, reason, end: 'refused' });
    }
  }

  submit({ connectionId, packed }: SubmitMessage): void {
    const connection = this.#connections.get(connectionId);
    for (let at = 0; at < packed.length; at += REQUEST_FIELDS) {
      const request = this.#unpackRequest(packed, at);
      if (connection === undefined) this.#settle(request.id, Outcome.Unstarted);
      else connection.submit(request);
    }
  }

  cancel(connectionId: number, requestIds: readonly number[]): void {
    // On a connection that is gone they have been settled already, and those results are on their way.
    this.#connections.get(connectionId)?.cancel(new Set(requestIds));
  }

  disconnect(connectionId: number): void {
    this.#connections.get(connectionId)?.close('not needed any more', 'closed');
  }

  get isBusy(): boolean {
    for (const connection of this.#connections.values()) if (connection.isBusy) return true;
    return false;
  }

  #settle(requestId: number, outcome: Outcome, digest?: Uint8Array): void {
    if (this.#results.length === 0) soon(() => this.flush());
    this.#results.push(requestId, outcome, ...halvesOf(digest));
  }

  /** Sends the results that there are. */
  flush(): void {
    if (this.#results.length < RESULT_FIELDS) return;
    this.#options.post({ kind: 'settled', packed: Float64Array.from(this.#results) });
    this.#results = [];
  }

  close(): void {
    for (const connection of this.#connections.values()) connection.close('the engine is closing', 'closed');
    this.flush();
    this.#sink.free();
  }

  /** Field by field: a slice of the array for each of thousands of requests would cost more than all the rest. */
  #unpackRequest(packed: Float64Array, at: number): ClientRequest {
    const localAddress = packed[at + 2] ?? 0;
    const lengthBytes = packed[at + 4] ?? 0;
    const queuedBytes = packed[at + 6] ?? 0;
    return {
      id: packed[at] ?? 0,
      opcode: packed[at + 1] === 1 ? 'write' : 'read',
      localAddress,
      remoteAddress: packed[at + 3] ?? 0,
      lengthBytes,
      flow: packed[at + 5] ?? 0,
      refuseWhen: queuedBytes === 0 ? undefined : { queuedBytes, sentWithinMs: packed[at + 7] ?? 0 },
      digest: packed[at + 8] === 1 ? this.#createDigest(localAddress, lengthBytes) : undefined,
    };
  }

  #createDigest(localAddress: number, lengthBytes: number): ArrivalDigest {
    const { access = 'guarded' } = this.#options.ranges.containing(localAddress, lengthBytes) ?? {};
    return new ArrivalDigest(this.#reader, access);
  }
}
