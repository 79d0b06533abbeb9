/** One own card and one card of a peer: whether bytes go between them, how fast, and what is under way. */
import { completionStatusText } from '../../../native/verbs-queue.ts';
import { PathHealth } from '../../paths/path-health.ts';
import { SpeedMeter } from '../../paths/speed-meter.ts';
import { meaningOf, WC_FLUSHED } from './completion-status.ts';
import type { CardWork, RdmaCard } from './rdma-card.ts';
import type { RdmaConnection } from './rdma-connection.ts';
import type { RdmaSlice } from './rdma-transfer.ts';

export interface RemoteDevice {
  readonly name: string;
  readonly gid: string;
  readonly lid: number;
}

export interface PathEvents {
  /** @returns A connection that is ready. @throws Why there is none. */
  connect(card: RdmaCard, device: RemoteDevice): Promise<RdmaConnection>;
  /** The slice is quiet; what its completion means is the peer's to decide. */
  onSlice(path: RdmaPath, slice: RdmaSlice, status: number): void;
  /** It has become up, or was lost. */
  onChanged(): void;
}

/** What may be under way, in time at the speed that was measured: the time that a cancel takes to be quiet. */
const WINDOW_MS = 100;
const WINDOW_BYTES_MIN = 32 * 1024 * 1024;
const WINDOW_BYTES_MAX = 128 * 1024 * 1024;
/** Lost in a row with nothing moved in between: asking again will not help. */
const LOSSES_MAX = 2;
/** A card gives up within seconds; one that says nothing for so long will not say anything. */
const STALL_MS = 5000;

export class RdmaPath {
  readonly card: RdmaCard;
  readonly device: RemoteDevice;
  readonly health: PathHealth = new PathHealth();
  readonly meter: SpeedMeter = new SpeedMeter();
  readonly #events: PathEvents;
  readonly #waiting: CardWork[] = [];
  #connection: RdmaConnection | undefined;
  #connecting: Promise<void> | undefined;
  #inflightBytes = 0;
  #lossesInRow = 0;
  /** When a slice was last posted on the idle path, or completed. */
  #movedMs = 0;

  constructor(card: RdmaCard, device: RemoteDevice, events: PathEvents) {
    this.card = card;
    this.device = device;
    this.#events = events;
  }

  get localCard(): string {
    return this.card.name;
  }

  get remoteCard(): string {
    return this.device.name;
  }

  get remoteAddress(): string {
    return this.device.gid;
  }

  get isConnecting(): boolean {
    return this.#connecting !== undefined;
  }

  get isReady(): boolean {
    return this.#connection?.isReady === true && this.health.state === 'up';
  }

  get inflightBytes(): number {
    return this.#inflightBytes;
  }

  get bytesPerSecond(): number {
    return this.meter.bytesPerSecond;
  }

  hasRoom(): boolean {
    const windowBytes = Math.max(
      WINDOW_BYTES_MIN,
      Math.min(WINDOW_BYTES_MAX, (this.bytesPerSecond * WINDOW_MS) / 1000),
    );
    return this.#inflightBytes < windowBytes && this.hasPlace;
  }

  /** Whether its queue pairs take one more, however much is under way. */
  get hasPlace(): boolean {
    return (this.#connection?.room ?? 0) > this.#waiting.length;
  }

  /** Whether it is worth to ask for a connection now. */
  mayConnect(nowMs: number): boolean {
    if (this.isReady || this.isConnecting) return false;
    return this.health.state === 'up' || this.health.mayBeProbed(nowMs);
  }

  /** Asks for a connection and proves it by a message that touches no memory. Never rejects. */
  connect(): Promise<void> {
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
      this.#events.onChanged();
    });
    return this.#connecting;
  }

  async #connect(): Promise<void> {
    const startMs = performance.now();
    try {
      // One that was there already may be what is left of a peer that started again: then a fresh one works.
      this.#connection = (await this.#proven(startMs)) ?? (await this.#proven(0));
      if (this.#connection === undefined) throw new Error('it does not answer over this path');
      this.health.onProven(performance.now());
    } catch (error) {
      this.#connection = undefined;
      this.health.onFault(error instanceof Error ? error.message : String(error), performance.now());
    }
  }

  /** @returns A connection that answered; undefined when it did not but is older than `freshMs`. */
  async #proven(freshMs: number): Promise<RdmaConnection | undefined> {
    const connection = await this.#events.connect(this.card, this.device);
    const status = await new Promise<number>((resolve) => {
      if (!connection.isReady) throw new Error(connection.endedBecause ?? 'the connection is not ready');
      const stalled = setTimeout(() => void connection.end('it did not answer in time'), STALL_MS);
      connection.ping((answer) => {
        clearTimeout(stalled);
        resolve(answer);
      });
      this.card.watch();
    });
    if (meaningOf(status) === 'done') return connection;
    void connection.end(completionStatusText(status));
    if (connection.createdMs < freshMs) return undefined;
    throw new Error(completionStatusText(status));
  }

  /** Adds a slice to those that the next {@link flush} posts. */
  add(slice: RdmaSlice, localKey: number, remoteKey: number): void {
    const { offset, lengthBytes, transfer } = slice;
    const { opcode, localAddress, remoteAddress } = transfer.request;
    const connection = this.#connection;
    if (this.#inflightBytes === 0) this.#movedMs = performance.now();
    this.#inflightBytes += lengthBytes;
    this.#waiting.push({
      opcode,
      localAddress: localAddress + offset,
      localKey,
      remoteAddress: remoteAddress + offset,
      remoteKey,
      lengthBytes,
      onCompleted: (status) => {
        this.#inflightBytes -= lengthBytes;
        this.#movedMs = performance.now();
        this.#note(connection, status, lengthBytes);
        this.#events.onSlice(this, slice, status);
      },
    });
  }

  flush(): void {
    const works = this.#waiting.splice(0);
    if (this.#connection?.isReady === true) this.#connection.post(works);
    else for (const { onCompleted } of works) onCompleted(WC_FLUSHED);
  }

  #note(connection: RdmaConnection | undefined, status: number, lengthBytes: number): void {
    const meaning = meaningOf(status);
    if (meaning === 'done') {
      this.meter.add(lengthBytes);
      this.#lossesInRow = 0;
      return;
    }
    void connection?.end(completionStatusText(status)); // any error ends a queue pair
    if (connection !== this.#connection) return;
    this.#connection = undefined;
    if (meaning !== 'way-lost') return;
    // One may only mean that the peer let go of a connection that rested: then the next one works.
    this.#lossesInRow += 1;
    if (this.#lossesInRow >= LOSSES_MAX) this.#fault(completionStatusText(status));
  }

  #fault(reason: string): void {
    this.#lossesInRow = 0;
    this.health.onFault(reason, performance.now());
  }

  /** Looks whether the port of its card is up; a path over one that went down is left at once. */
  checkCard(isUp: boolean): void {
    if (isUp) this.health.onCardUp();
    else if (this.health.state !== 'down') {
      this.health.onCardDown(`port ${this.card.info.port} of ${this.card.name} is down`, performance.now());
      this.drop(`port ${this.card.info.port} of ${this.card.name} is down`);
    }
  }

  /** Gives up what is under way when none of it has completed for 5 s, as when a peer dies in the middle of an answer. */
  checkStall(nowMs: number): void {
    if (!this.#isStalled(nowMs)) return;
    this.card.watch(); // a busy event loop may just not have looked
    if (!this.#isStalled(nowMs)) return;
    this.drop('nothing completes');
    this.#fault('nothing completes');
  }

  #isStalled(nowMs: number): boolean {
    return this.#inflightBytes > 0 && nowMs - this.#movedMs > STALL_MS;
  }

  /** What is under way comes back as flushed. */
  drop(reason: string): void {
    void this.#connection?.end(reason);
    this.#connection = undefined;
  }
}
