/**
 * Links of the simulated machines. Each has an uplink and a downlink; between them nothing is ever full. Bytes move in
 * quanta, a fraction of a piece: the uplink sends quanta of its transfers in turn, and a downlink takes what comes in
 * the order in which it was sent. A transfer has at most two quanta on their way, as a TCP window would allow, so a full
 * downlink slows its senders and their uplinks go on with other transfers.
 */

import type { RefuseWhen } from '../src/engine/transfer.ts';
import type { Link } from './bounds.ts';
import type { EventQueue } from './event-queue.ts';

export type TransferEnd = 'arrived' | 'canceled' | 'failed' | 'busy' | 'sent';

export interface TransferRequest {
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
  readonly piece: number;
  readonly refuseWhen: RefuseWhen | undefined;
  readonly onDone: (end: TransferEnd) => void;
}

/** Bytes from one machine to another. Made by {@link Network.send}. */
export interface Transfer {
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
  readonly quantumBytes: number;
  readonly onDone: (end: TransferEnd) => void;
  unsentBytes: number;
  arrivedBytes: number;
  quantaInFlight: number;
  state: 'moving' | 'ended' | 'busy' | 'sent';
}

export interface NetworkOptions {
  /** One way, in ms. */
  readonly latencyMs: number;
  readonly quantaPerPiece: number;
  /** How many pieces there are. */
  readonly pieces: number;
}

export interface NetworkEvents {
  readonly uplinkFree: number;
  readonly quantumArrived: number;
}

const windowQuanta = 2;

class Uplink {
  /** Not all sent; in turn. */
  readonly active: Transfer[] = [];
  turn = 0;
  isBusy = false;
  isDead = false;
  sentBytes = 0;
  /** Asked of it and not sent. */
  queuedBytes = 0;
  readonly #pieces: number;
  /** When each piece was last asked of it. */
  #sentMs: Float64Array | undefined;

  constructor(pieces: number) {
    this.#pieces = pieces;
  }

  noteSent(piece: number, nowMs: number): void {
    this.#sentMs ??= new Float64Array(this.#pieces).fill(Number.NEGATIVE_INFINITY);
    this.#sentMs[piece] = nowMs;
  }

  refusal(piece: number, { queuedBytes, sentWithinMs }: RefuseWhen, nowMs: number): 'busy' | 'sent' | undefined {
    if (this.queuedBytes >= queuedBytes) return 'busy';
    const sentMs = this.#sentMs?.[piece] ?? Number.NEGATIVE_INFINITY;
    return nowMs - sentMs < sentWithinMs ? 'sent' : undefined;
  }
}

export class Network {
  readonly #queue: EventQueue;
  readonly #links: readonly Link[];
  readonly #options: NetworkOptions;
  readonly #events: NetworkEvents;
  readonly #uplinks: Uplink[];
  readonly #downlinkFreeMs: Float64Array;
  /** Quanta on their way, by the number in their event. */
  readonly #inFlight: (Transfer | undefined)[] = [];
  readonly #freeSlots: number[] = [];

  constructor(queue: EventQueue, links: readonly Link[], events: NetworkEvents, options: NetworkOptions) {
    this.#queue = queue;
    this.#links = links;
    this.#events = events;
    this.#options = options;
    this.#uplinks = links.map(() => new Uplink(options.pieces));
    this.#downlinkFreeMs = new Float64Array(links.length);
  }

  sentBytes(machine: number): number {
    return this.#uplinks[machine]?.sentBytes ?? 0;
  }

  send({ from, to, bytes, piece, refuseWhen, onDone }: TransferRequest): Transfer {
    const quantumBytes = bytes / this.#options.quantaPerPiece;
    const uplink = this.#uplink(from);
    const refusal =
      refuseWhen === undefined || uplink.isDead ? undefined : uplink.refusal(piece, refuseWhen, this.#queue.nowMs);
    const transfer: Transfer = {
      from,
      to,
      bytes,
      quantumBytes,
      onDone,
      unsentBytes: bytes,
      arrivedBytes: 0,
      quantaInFlight: 0,
      state: refusal ?? 'moving',
    };
    if (refusal !== undefined) {
      this.#queue.push(
        this.#queue.nowMs + 2 * this.#options.latencyMs,
        this.#events.quantumArrived,
        this.#track(transfer),
      );
      return transfer;
    }
    uplink.noteSent(piece, this.#queue.nowMs);
    uplink.active.push(transfer);
    uplink.queuedBytes += bytes;
    if (!uplink.isBusy) this.#serve(from);
    return transfer;
  }

  /** What is on its way still takes its time on the links. Calls `onDone` before it returns. */
  cancel(transfer: Transfer): void {
    this.#end(transfer, 'canceled');
  }

  /** The machine is silent from now on: sends nothing and takes nothing, which nobody else knows yet. */
  kill(machine: number): void {
    this.#uplink(machine).isDead = true;
  }

  /** Others notice that the machine is gone: whatever it should have sent fails. */
  cut(machine: number): void {
    const uplink = this.#uplink(machine);
    for (const transfer of [...uplink.active]) this.#end(transfer, 'failed');
  }

  onUplinkFree(machine: number): void {
    this.#uplink(machine).isBusy = false;
    this.#serve(machine);
  }

  onQuantumArrived(slot: number): void {
    const transfer = this.#inFlight[slot];
    if (transfer === undefined) return;
    this.#inFlight[slot] = undefined;
    this.#freeSlots.push(slot);
    if (transfer.state === 'busy' || transfer.state === 'sent') {
      const why = transfer.state;
      transfer.state = 'ended';
      transfer.onDone(why);
      return;
    }
    if (this.#uplink(transfer.to).isDead) return; // nothing acknowledges it, so the sender's window stays full
    transfer.quantaInFlight--;
    transfer.arrivedBytes += transfer.quantumBytes;
    if (transfer.state === 'ended') return;
    if (transfer.arrivedBytes >= transfer.bytes * 0.999_999) {
      transfer.state = 'ended';
      transfer.onDone('arrived');
    } else if (!this.#uplink(transfer.from).isBusy) {
      this.#serve(transfer.from);
    }
  }

  #end(transfer: Transfer, end: TransferEnd): void {
    if (transfer.state === 'ended') return;
    if (transfer.state === 'moving') {
      const uplink = this.#uplink(transfer.from);
      uplink.queuedBytes -= transfer.unsentBytes;
      removeFrom(uplink.active, transfer);
    }
    transfer.state = 'ended';
    transfer.onDone(end);
  }

  #track(transfer: Transfer): number {
    const slot = this.#freeSlots.pop() ?? this.#inFlight.length;
    this.#inFlight[slot] = transfer;
    return slot;
  }

  #serve(machine: number): void {
    const uplink = this.#uplink(machine);
    if (uplink.isBusy || uplink.isDead) return;
    const transfer = nextReady(uplink);
    if (transfer !== undefined) this.#sendQuantum(machine, uplink, transfer);
  }

  #sendQuantum(machine: number, uplink: Uplink, transfer: Transfer): void {
    const { nowMs } = this.#queue;
    const { quantumBytes } = transfer;
    const up = this.#links[machine]?.up ?? 1;
    const down = this.#links[transfer.to]?.down ?? 1;
    const sentMs = nowMs + quantumBytes / up;
    const downFreeMs = Math.max(nowMs, this.#downlinkFreeMs[transfer.to] ?? 0) + quantumBytes / down;
    this.#downlinkFreeMs[transfer.to] = downFreeMs;
    uplink.isBusy = true;
    uplink.sentBytes += quantumBytes;
    transfer.unsentBytes -= quantumBytes;
    uplink.queuedBytes -= quantumBytes;
    transfer.quantaInFlight++;
    if (transfer.unsentBytes <= quantumBytes * 0.001) removeFrom(uplink.active, transfer);
    const slot = this.#track(transfer);
    this.#queue.push(sentMs, this.#events.uplinkFree, machine);
    this.#queue.push(Math.max(sentMs, downFreeMs) + this.#options.latencyMs, this.#events.quantumArrived, slot);
  }

  #uplink(machine: number): Uplink {
    const uplink = this.#uplinks[machine];
    if (uplink === undefined) throw new RangeError(`there is no machine ${machine}`);
    return uplink;
  }
}

/** The next transfer in turn that has room in its window. */
function nextReady(uplink: Uplink): Transfer | undefined {
  const { active } = uplink;
  for (let step = 0; step < active.length; step++) {
    const at = (uplink.turn + step) % active.length;
    const transfer = active[at];
    if (transfer === undefined || transfer.quantaInFlight >= windowQuanta) continue;
    uplink.turn = at + 1;
    return transfer;
  }
  return undefined;
}

function removeFrom(list: Transfer[], transfer: Transfer): void {
  const at = list.indexOf(transfer);
  if (at !== -1) list.splice(at, 1);
}
