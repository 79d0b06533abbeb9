/** The connections of all cards: found by card and peer, bounded, and freed when their peer is gone. */
import type { Logger } from '../../../observability/logger.ts';
import { meaningOf } from './completion-status.ts';
import { cardOfNicPath, encodeHandshake, type Handshake } from './handshake.ts';
import type { RdmaCard } from './rdma-card.ts';
import { RdmaConnection } from './rdma-connection.ts';

export interface ConnectionTableOptions {
  readonly segmentName: string;
  readonly cards: readonly RdmaCard[];
  /** Queue pairs of a connection that is asked for from here; who is asked makes as many as the other wants. */
  readonly pairs: number;
  /** Connections of one card; the one that rested longest makes room. */
  readonly maxConnections: number;
  readonly logger: Logger;
}

/** A connection that rested so long is asked whether its peer is still there. */
const PING_AFTER_MS = 10_000;
const PING_EVERY_MS = 2500;
const PAIRS_MAX = 16;

export class ConnectionTable {
  readonly #options: ConnectionTableOptions;
  readonly #connections = new Map<string, RdmaConnection>();
  readonly #ending = new Set<Promise<void>>();
  readonly #pinged = new Set<RdmaConnection>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: ConnectionTableOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#pingResting(), PING_EVERY_MS);
    this.#timer.unref();
  }

  get size(): number {
    return this.#connections.size;
  }

  find(card: RdmaCard, peerNicPath: string): RdmaConnection | undefined {
    return this.#connections.get(keyOf(card, peerNicPath));
  }

  /** @throws P2P_SYSTEM_CALL_FAILED The card has no more queue pairs. */
  create(card: RdmaCard, peerNicPath: string, pairs: number = this.#options.pairs): RdmaConnection {
    this.#makeRoom(card);
    const connection = new RdmaConnection({ card, peerNicPath, pairs, onEnded: this.#onEnded });
    this.#connections.set(keyOf(card, peerNicPath), connection);
    return connection;
  }

  #makeRoom(card: RdmaCard): void {
    const ofCard = [...this.#connections.values()].filter((connection) => connection.card === card);
    if (ofCard.length < this.#options.maxConnections) return;
    const resting = ofCard
      .filter(({ inflight, isReady }) => inflight === 0 && isReady)
      .sort((a, b) => a.lastUsedMs - b.lastUsedMs);
    void (resting[0] ?? ofCard[0])?.end('it rested, and another one needs its place');
  }

  readonly #onEnded = (connection: RdmaConnection, reason: string, destroyed: Promise<void>): void => {
    const { card, peerNicPath } = connection;
    this.#ending.add(destroyed);
    void destroyed.finally(() => this.#ending.delete(destroyed));
    this.#pinged.delete(connection);
    const key = keyOf(card, peerNicPath);
    if (this.#connections.get(key) === connection) this.#connections.delete(key);
    this.#options.logger.debug({ card: card.name, peer: peerNicPath, reason }, 'RDMA connection ended');
  };

  /**
   * Answers a peer that asks for a connection.
   *
   * @returns The text of the answer; one that cannot be had is refused in it.
   */
  accept(asked: Handshake): string {
    const { segmentName, cards } = this.#options;
    const name = cardOfNicPath(asked.peerNicPath, segmentName);
    const card = cards.find((candidate) => candidate.name === name);
    if (card === undefined) return encodeHandshake({ refusal: `${asked.peerNicPath} is not here` });
    try {
      return this.#describe(this.#connect(card, asked), asked.localNicPath);
    } catch (error) {
      return encodeHandshake({ refusal: error instanceof Error ? error.message : String(error) });
    }
  }

  #connect(card: RdmaCard, asked: Handshake): RdmaConnection {
    const { localNicPath: peerNicPath, queuePairs } = asked;
    const known = this.find(card, peerNicPath);
    if (known?.isConnectedWith(queuePairs) === true) return known; // it did not get the answer
    const isSimultaneous = known !== undefined && !known.isReady && known.pairCount === queuePairs.length;
    if (!isSimultaneous) void known?.end('its peer started again');
    const count = Math.min(PAIRS_MAX, Math.max(1, queuePairs.length));
    if (count !== queuePairs.length) throw new Error(`${queuePairs.length} queue pairs cannot be connected with`);
    const connection = isSimultaneous ? known : this.create(card, peerNicPath, count);
    connection.makeReady(asked);
    return connection;
  }

  /** The text that asks for a connection. */
  describe(connection: RdmaConnection): string {
    return this.#describe(connection, connection.peerNicPath);
  }

  #describe({ card, queuePairNumbers }: RdmaConnection, peerNicPath: string): string {
    return encodeHandshake({
      localNicPath: `${this.#options.segmentName}@${card.name}`,
      peerNicPath,
      gid: card.gid,
      lid: card.port.lid,
      queuePairs: queuePairNumbers,
    });
  }

  /** A peer that was killed says nothing; only its card's silence tells. */
  #pingResting(): void {
    const nowMs = performance.now();
    for (const connection of this.#connections.values()) {
      const isResting =
        connection.isReady && connection.inflight === 0 && nowMs - connection.lastUsedMs > PING_AFTER_MS;
      if (!isResting || this.#pinged.has(connection)) continue;
      this.#pinged.add(connection);
      connection.ping((status) => {
        this.#pinged.delete(connection);
        if (meaningOf(status) !== 'done') void connection.end('its peer does not answer any more');
      });
      connection.card.watch();
    }
  }

  /** Resolves when no card holds a queue pair any more. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const connection of [...this.#connections.values()]) void connection.end('the transport was closed');
    await Promise.all(this.#ending);
  }
}

function keyOf(card: RdmaCard, peerNicPath: string): string {
  return `${card.name} ${peerNicPath}`;
}
