/**
 * RDMA: the cards of both sides move the bytes, the peer's processor takes no part. Connections are asked for on the
 * peer's RPC port; which memory its cards let us reach, by which keys, is asked there too.
 */
import { z } from 'zod';
import { ErrorCode, P2PStoreError } from '../../../core/errors.ts';
import type { Logger } from '../../../observability/logger.ts';
import { askRpc } from '../../mooncake/rpc-client.ts';
import { RpcType } from '../../mooncake/rpc-frame.ts';
import type { NicPriorityMatrix } from '../../nic-priority-matrix.ts';
import type { RegisteredRange } from '../../registered-ranges.ts';
import type { Segment } from '../../segment.ts';
import type { RdmaListing } from '../../segment-descriptor.ts';
import type { Reach, Transport, TransportRequest } from '../transport.ts';
import { ConnectionTable } from './connection-table.ts';
import {
  encodeHandshake,
  encodeRangesAnswer,
  encodeRangesQuestion,
  parseHandshake,
  parseRangesAnswer,
  parseRangesQuestion,
  type RemoteRange,
  remoteRangesSchema,
} from './handshake.ts';
import { LocalMemory } from './local-memory.ts';
import { RdmaCard } from './rdma-card.ts';
import type { RdmaConnection } from './rdma-connection.ts';
import type { RdmaDeviceInfo } from './rdma-devices.ts';
import type { RemoteDevice } from './rdma-path.ts';
import { RdmaPeer } from './rdma-peer.ts';
import { RdmaTransfer } from './rdma-transfer.ts';
import { type AskRanges, RemoteMemory } from './remote-memory.ts';

export interface RdmaTransportOptions {
  readonly segmentName: string;
  /** Cards to use; each can be used as far as discovery tells. */
  readonly devices: readonly RdmaDeviceInfo[];
  /** Names of the cards that are near to memory at a location; empty: all alike. */
  readonly preferredFor: (location: string | undefined) => readonly string[];
  /** Given when somebody asked for these cards: then memory that they cannot reach is an error and no detour. */
  readonly matrix: NicPriorityMatrix | undefined;
  readonly logger: Logger;
}

const PAIRS_PER_CONNECTION = 2;
const CONNECTIONS_PER_CARD_MAX = 256;
const TICK_MS = 100;
const IDLE_PEER_MS = 60_000;

const endpointSchema = z.object({
  devices: z.array(z.object({ name: z.string().min(1), gid: z.string(), lid: z.int().min(0).max(0xffff) })).max(64),
  ranges: remoteRangesSchema.optional(),
});

export class RdmaTransport implements Transport {
  readonly name = 'rdma';
  readonly #options: RdmaTransportOptions;
  readonly #cards: readonly RdmaCard[];
  readonly #local: LocalMemory;
  readonly #connections: ConnectionTable;
  readonly #peers = new Map<string, RdmaPeer>();
  readonly #transfers = new Map<TransportRequest, { readonly transfer: RdmaTransfer; readonly peer: RdmaPeer }>();
  readonly #asking = new Map<string, Promise<RdmaConnection>>();
  readonly #timer: NodeJS.Timeout;
  #closing: Promise<void> | undefined;

  /** @throws P2P_SYSTEM_CALL_FAILED A device cannot be opened. */
  constructor(options: RdmaTransportOptions) {
    this.#options = options;
    const { segmentName, logger } = options;
    const cards: RdmaCard[] = [];
    try {
      for (const device of options.devices) cards.push(new RdmaCard(device, () => this.#dispatch()));
    } catch (error) {
      for (const card of cards) card.close();
      throw error;
    }
    this.#cards = cards;
    this.#local = new LocalMemory(cards, options.preferredFor);
    this.#connections = new ConnectionTable({
      segmentName,
      cards,
      pairs: PAIRS_PER_CONNECTION,
      maxConnections: CONNECTIONS_PER_CARD_MAX,
      logger,
    });
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  /** The cards that peers may connect with. */
  get endpoint(): unknown {
    return { devices: this.#cards.map(({ name, gid, port }) => ({ gid, lid: port.lid, name })) };
  }

  /** For Mooncake's engines; undefined: nobody asked for these cards, so the segment stays one of TCP for them. */
  get listing(): RdmaListing | undefined {
    const { matrix } = this.#options;
    if (matrix === undefined) return undefined;
    const devices = this.#cards.map(({ name, gid, port }) => ({ gid, lid: port.lid, name }));
    const isCard = (name: string): boolean => devices.some((device) => device.name === name);
    const rows = Object.entries(matrix).map(([location, [preferred, other]]): [string, [string[], string[]]] => [
      location,
      [preferred.filter(isCard), other.filter(isCard)],
    ]);
    return { devices, priorityMatrix: Object.fromEntries(rows), keysOf: (address) => this.#local.keysOf(address) };
  }

  /** Connections that are open, for tests and for people. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /**
   * Answers a peer that asks on the RPC port for a connection or for keys.
   *
   * @throws P2P_RECORD_INVALID It asks in another form.
   */
  answerHandshake(body: unknown): string {
    if (this.#closing !== undefined) return encodeHandshake({ refusal: 'the transport is closed' });
    const asked = parseHandshake(body);
    const addresses = parseRangesQuestion(asked);
    if (addresses === undefined) return this.#connections.accept(asked);
    return encodeRangesAnswer(addresses.map((address) => this.#local.describe(address)));
  }

  canReach(segment: Segment): Reach | Promise<Reach> {
    if (this.#closing !== undefined) return { ok: false, reason: 'the transport is closed' };
    if (segment.rpcPort === undefined || offeredDevices(segment).length === 0) {
      return { ok: false, reason: 'the peer offers no RDMA' };
    }
    return this.#peerOf(segment).probe();
  }

  async register(range: RegisteredRange): Promise<void> {
    try {
      await this.#local.register(range);
    } catch (error) {
      if (this.#options.matrix !== undefined) throw error;
      const { address, lengthBytes } = range;
      this.#options.logger.warn(
        { error, address, lengthBytes },
        'memory not registered for RDMA, other transports serve it',
      );
    }
  }

  unregister(address: number): Promise<void> {
    return this.#local.unregister(address);
  }

  submit(requests: readonly TransportRequest[]): void {
    const peers = new Set<RdmaPeer>();
    for (const request of requests) {
      const { localAddress, lengthBytes, segment } = request;
      const local = this.#local.find(localAddress, lengthBytes);
      if (this.#closing !== undefined) request.onSettled(closedError());
      else if (local === undefined) request.onSettled(unreachableMemory(request));
      else {
        const peer = this.#peerOf(segment);
        const transfer = new RdmaTransfer(request, local, () => this.#transfers.delete(request));
        this.#transfers.set(request, { transfer, peer });
        peer.submit(transfer);
        peers.add(peer);
      }
    }
    for (const peer of peers) peer.dispatch();
  }

  cancel(requests: readonly TransportRequest[]): void {
    for (const request of requests) {
      const entry = this.#transfers.get(request);
      entry?.peer.cancel(entry.transfer);
    }
  }

  #peerOf(segment: Segment): RdmaPeer {
    const key = `${segment.name} ${segment.instance ?? ''}`;
    let peer = this.#peers.get(key);
    if (peer === undefined) {
      const address = { host: segment.host, port: segment.rpcPort ?? 0 };
      const ranges = offeredRanges(segment);
      const ask: AskRanges = async (addresses) => {
        if (ranges !== undefined) return addresses.map(() => null); // it has told all that it tells
        const answer = await askRpc(address, RpcType.Handshake, encodeRangesQuestion(addresses));
        return parseRangesAnswer(parseHandshake(answer));
      };
      peer = new RdmaPeer({
        segment,
        cards: this.#cards,
        devices: offeredDevices(segment),
        remote: new RemoteMemory(ask),
        connect: (card, device) => this.#connect(segment, card, device),
        logger: this.#options.logger,
      });
      this.#peers.set(key, peer);
    }
    peer.hear(segment, offeredRanges(segment) ?? []);
    return peer;
  }

  #connect(segment: Segment, card: RdmaCard, device: RemoteDevice): Promise<RdmaConnection> {
    const peerNicPath = `${segment.name}@${device.name}`;
    const key = `${card.name} ${peerNicPath}`;
    let asking = this.#asking.get(key);
    if (asking === undefined) {
      asking = this.#askForConnection(segment, card, peerNicPath).finally(() => this.#asking.delete(key));
      this.#asking.set(key, asking);
    }
    return asking;
  }

  async #askForConnection(segment: Segment, card: RdmaCard, peerNicPath: string): Promise<RdmaConnection> {
    if (this.#closing !== undefined) throw closedError();
    const known = this.#connections.find(card, peerNicPath);
    if (known?.isReady === true) return known;
    const connection = this.#connections.create(card, peerNicPath);
    try {
      const address = { host: segment.host, port: segment.rpcPort ?? 0 };
      const question = this.#connections.describe(connection);
      const answer = parseHandshake(await askRpc(address, RpcType.Handshake, question));
      // The peer may have asked for the same connection meanwhile.
      const opened = this.#connections.find(card, peerNicPath);
      if (opened?.isReady === true) return opened;
      if (answer.refusal !== '') throw refusedError(peerNicPath, answer.refusal);
      if (answer.localNicPath !== peerNicPath || answer.queuePairs.length !== connection.pairCount)
        throw refusedError(peerNicPath, 'its answer does not fit');
      if (connection.endedBecause !== undefined) throw refusedError(peerNicPath, connection.endedBecause);
      connection.makeReady(answer);
      return connection;
    } catch (error) {
      void connection.end(error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  readonly #dispatch = (): void => {
    for (const peer of this.#peers.values()) peer.dispatch();
  };

  #tick(): void {
    const nowMs = performance.now();
    const states = new Map<RdmaCard, boolean>();
    const isUp = (card: RdmaCard): boolean => {
      const state = states.get(card) ?? card.isUp;
      states.set(card, state);
      return state;
    };
    for (const [key, peer] of this.#peers) {
      peer.tick(nowMs, isUp);
      if (!peer.isBusy && nowMs - peer.lastUsedMs > IDLE_PEER_MS) this.#peers.delete(key);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    for (const { transfer } of [...this.#transfers.values()]) transfer.end(closedError());
    await this.#connections.close();
    await Promise.allSettled(this.#asking.values());
    await this.#connections.close(); // what was asked for meanwhile
    await this.#local.close();
    for (const card of this.#cards) card.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** What an engine says of its memory that does not answer questions; undefined: it answers them. */
function offeredRanges(segment: Segment): readonly RemoteRange[] | undefined {
  const parsed = endpointSchema.safeParse(segment.endpoints?.['rdma']);
  return parsed.success ? parsed.data.ranges : undefined;
}

function offeredDevices(segment: Segment): readonly RemoteDevice[] {
  const parsed = endpointSchema.safeParse(segment.endpoints?.['rdma']);
  return parsed.success ? parsed.data.devices : [];
}

function closedError(): P2PStoreError<'P2P_CLOSED'> {
  return new P2PStoreError(ErrorCode.Closed, 'Cannot transfer: the transport is closed', { resource: 'transport' });
}

function refusedError(peer: string, why: string): P2PStoreError<'P2P_PEER_UNREACHABLE'> {
  return new P2PStoreError(ErrorCode.PeerUnreachable, `Cannot connect with ${peer}: it refused: ${why}`, { peer });
}

function unreachableMemory({ segment, remoteAddress, lengthBytes }: TransportRequest): P2PStoreError {
  return new P2PStoreError(ErrorCode.TransferFailed, 'Cannot transfer by RDMA: no card reaches the local memory', {
    peer: segment.name,
    address: BigInt(remoteAddress),
    lengthBytes,
  });
}
