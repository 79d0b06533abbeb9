import { presentAddresses } from '../../topology/network-cards.ts';
import type { TcpPeer } from './tcp-peer.ts';

const TICK_MS = 100;
/** Peers at rest are looked after for so long, so that a lost path is soon found again when there is work. */
const REST_MS = 2000;

/** Ticks peers with several paths while they have work. At rest nothing runs. */
export class PeerWatch {
  readonly #peers = new Set<TcpPeer>();
  #timer: NodeJS.Timeout | undefined;

  /** Before a peer gets work: what happened to its cards at rest is known then. */
  add(peer: TcpPeer): void {
    if (!this.#peers.has(peer)) {
      this.#peers.add(peer);
      peer.tick(performance.now(), presentAddresses());
    }
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS).unref();
  }

  #tick(): void {
    const present = presentAddresses();
    const nowMs = performance.now();
    for (const peer of this.#peers) {
      if (peer.idleMs(nowMs) > REST_MS) this.#peers.delete(peer);
      else peer.tick(nowMs, present);
    }
    if (this.#peers.size === 0) this.close();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#peers.clear();
  }
}
