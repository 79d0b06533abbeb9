/** One measurement: an object is published, receivers pull it, and everything that went over the links is counted. */
import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { abortable } from '../../src/core/abort.ts';
import { haveSameBytes } from './content.ts';
import { machineCpuSeconds } from './cpu.ts';
import { kindOf, type Laboratory, type ReceiverKind } from './laboratory.ts';
import { ETCD, GOLD, receiverName } from './names.ts';
import type { LinkBytes } from './network.ts';
import type { StoreEvent, StoreProcess } from './store-process.ts';

export interface CaseOptions {
  /** Object and log files are named after it. */
  readonly name: string;
  readonly receivers: number;
  readonly staggerMs: number;
  readonly kill: number;
}

export interface ReceiverResult {
  readonly name: string;
  readonly kind: ReceiverKind | 'killed';
  /** From the publication, or its own later start, to its whole and verified file; absent when it was killed. */
  readonly seconds?: number;
  /** Bytes that it took from the publishing host, by its own account. */
  readonly goldBytes: number;
  /** Seconds on the clock of `seconds`, and the share of the bytes that it had. */
  readonly curve: readonly (readonly [seconds: number, share: number])[];
}

export interface CaseResult {
  readonly receivers: readonly ReceiverResult[];
  readonly pieces: number | undefined;
  /** Of the file's bytes that the publishing host sent, by the receivers' account; killed ones have told nothing. */
  readonly goldPayloadBytes: number;
  /** All that the publishing host sent. */
  readonly goldWireBytes: number;
  /** All that etcd sent and got. */
  readonly etcdWireBytes: number;
  /** All that all hosts and etcd sent, less what receivers report as received. */
  readonly overheadBytes: number;
  /** Of the program's processes and etcd. */
  readonly cpuSeconds: number;
  /** Of everything on this machine meanwhile. */
  readonly machineCpuSeconds: number;
  /** Processes that did not end with code 0 when asked to stop. */
  readonly badEnds: readonly string[];
}

interface Receiver {
  readonly process: StoreProcess;
  readonly kind: ReceiverKind;
  readonly startedMs: number;
  readonly progress: StoreEvent[];
  /** Set for one that is to be killed: the share of the bytes at which. */
  readonly killAt: number | undefined;
}

const STOP_MS = 15_000;

export class Case {
  readonly #lab: Laboratory;
  readonly #options: CaseOptions;
  readonly #receivers: Receiver[] = [];
  readonly #killed = new Set<Receiver>();

  constructor(lab: Laboratory, options: CaseOptions) {
    this.#lab = lab;
    this.#options = options;
  }

  /** @throws signal.reason The processes then run on until the laboratory is torn down. */
  async run(signal: AbortSignal): Promise<CaseResult> {
    const { name, staggerMs } = this.#options;
    const { etcd, network } = this.#lab;
    if (staggerMs === 0) {
      this.#startReceivers();
      await abortable(Promise.all(this.#receivers.map(({ process }) => process.event('waiting'))), signal);
    }
    await abortable(this.#lab.reserveMemory(this.#options.receivers), signal);
    const links = await network.counters();
    const machineBefore = machineCpuSeconds();
    const storesBefore = this.#cpuSeconds([etcd]);
    await this.#lab.releaseMemory();
    const gold = this.#lab.startStore(GOLD, name, ['publish', this.#lab.source, '--name', name]);
    const { atMs: publishedMs } = await abortable(gold.event('registered'), signal);
    if (staggerMs > 0) await this.#startStaggered(publishedMs, signal);
    const completed = await abortable(this.#completed(), signal);
    const linkBytes = difference(await network.counters(), links);
    const cpuSeconds = this.#cpuSeconds([etcd, gold]) - storesBefore;
    const machine = machineCpuSeconds() - machineBefore;
    const pieces = await this.#lab.countPieces(name);
    const badEnds = await this.#stop([gold, ...this.#receivers.map(({ process }) => process)]);
    await this.#compare(completed);
    return {
      receivers: this.#receivers.map((receiver) => this.#describe(receiver, completed.get(receiver), publishedMs)),
      pieces,
      ...this.#countTraffic([...completed.values()], linkBytes),
      cpuSeconds,
      machineCpuSeconds: machine,
      badEnds,
    };
  }

  /** Where everybody is, for a message. */
  describeProgress(): string {
    return this.#receivers
      .map(({ process, progress }) => `${process.name} ${Math.floor(100 * shareOf(progress.at(-1)))} %`)
      .join(', ');
  }

  #startReceivers(): void {
    for (let index = 0; index < this.#options.receivers; index++) this.#startReceiver(index);
  }

  /** The first one with the publication, the others at fixed times after it, whatever the start of one costs. */
  async #startStaggered(publishedMs: number, signal: AbortSignal): Promise<void> {
    const { receivers, staggerMs } = this.#options;
    for (let index = 0; index < receivers; index++) {
      await delay(Math.max(0, publishedMs + index * staggerMs - performance.now()), undefined, { signal });
      this.#startReceiver(index);
    }
  }

  #startReceiver(index: number): void {
    const { name, kill } = this.#options;
    const host = receiverName(index);
    const args = ['get', name, '--wait', '--seed', '--output', this.#outputOf(host)];
    const receiver: Receiver = {
      process: this.#lab.startStore(host, name, args),
      kind: kindOf(index, this.#lab.options),
      startedMs: performance.now(),
      progress: [],
      killAt: index < kill ? (index + 1) / (kill + 1) : undefined,
    };
    receiver.process.onProgress = (event) => {
      receiver.progress.push(event);
      if (receiver.killAt !== undefined && shareOf(event) >= receiver.killAt) this.#kill(receiver);
    };
    this.#receivers.push(receiver);
  }

  #kill(receiver: Receiver): void {
    if (this.#killed.has(receiver)) return;
    this.#killed.add(receiver);
    receiver.process.kill();
  }

  async #completed(): Promise<Map<Receiver, StoreEvent>> {
    const completed = new Map<Receiver, StoreEvent>();
    const wait = async (receiver: Receiver): Promise<void> => {
      try {
        const event = await receiver.process.event('complete');
        if (receiver.killAt === undefined) completed.set(receiver, event);
        else this.#kill(receiver); // it was whole between two reports of its progress
      } catch (error) {
        if (!this.#killed.has(receiver)) throw error;
      }
    };
    await Promise.all(this.#receivers.map(wait));
    return completed;
  }

  async #stop(processes: readonly StoreProcess[]): Promise<string[]> {
    for (const process of processes) process.stop();
    const states = await Promise.all(
      processes.map(async (process) => {
        const timer = setTimeout(() => process.kill(), STOP_MS);
        const state = await process.ended;
        clearTimeout(timer);
        return { process, state };
      }),
    );
    const killed = new Set([...this.#killed].map(({ process }) => process));
    return states
      .filter(({ process, state }) => state !== '0' && !killed.has(process))
      .map(({ process, state }) => `${process.name} (${state})`);
  }

  async #compare(completed: ReadonlyMap<Receiver, StoreEvent>): Promise<void> {
    for (const { process } of completed.keys()) {
      if (!(await haveSameBytes(this.#lab.source, this.#outputOf(process.name)))) {
        throw new Error(`${process.name} has other bytes than were published, in case ${this.#options.name}`);
      }
    }
    for (const { process } of this.#receivers)
      await rm(this.#lab.file(`out/${process.name}`), { recursive: true, force: true });
  }

  #outputOf(host: string): string {
    return this.#lab.file(`out/${host}/file`);
  }

  #cpuSeconds(others: readonly (StoreProcess | undefined)[]): number {
    const processes = [...others, ...this.#receivers.map(({ process }) => process)];
    return processes.reduce((total, process) => total + (process?.cpuSeconds ?? 0), 0);
  }

  #describe(receiver: Receiver, complete: StoreEvent | undefined, publishedMs: number): ReceiverResult {
    const { process, progress } = receiver;
    // A receiver that started later is timed by itself: the start of its process belongs to no pull.
    const startMs =
      this.#options.staggerMs === 0 ? publishedMs : startOfPull(complete ?? progress.at(0), receiver.startedMs);
    const points = complete === undefined ? progress : [...progress, complete];
    const last = complete === undefined ? [] : [1];
    const shares = [...progress.map(shareOf), ...last];
    return {
      name: process.name,
      kind: complete === undefined ? 'killed' : receiver.kind,
      ...(complete && { seconds: (complete.atMs - startMs) / 1000 }),
      goldBytes: goldBytesOf(complete),
      curve: points.map(({ atMs }, index) => [(atMs - startMs) / 1000, shares[index] ?? 0] as const),
    };
  }

  #countTraffic(events: readonly StoreEvent[], links: ReadonlyMap<string, LinkBytes>) {
    const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
    const hosts = [...links].filter(([name]) => name !== 'br0' && name !== 'lo');
    const payload = sum(events.flatMap(({ from }) => (from ?? []).map(({ bytes }) => bytes)));
    const etcd = links.get(ETCD);
    return {
      goldPayloadBytes: sum(events.map(goldBytesOf)),
      goldWireBytes: links.get(GOLD)?.sent ?? 0,
      etcdWireBytes: (etcd?.sent ?? 0) + (etcd?.received ?? 0),
      overheadBytes: sum(hosts.map(([, { sent }]) => sent)) - payload,
    };
  }
}

function shareOf(event: StoreEvent | undefined): number {
  return (event?.bytes ?? 0) / (event?.totalBytes ?? 1);
}

function startOfPull(event: StoreEvent | undefined, startedMs: number): number {
  return event === undefined ? startedMs : event.atMs - (event.seconds ?? 0) * 1000;
}

function goldBytesOf(event: StoreEvent | undefined): number {
  return (event?.from ?? []).filter(({ role }) => role === 'gold').reduce((total, { bytes }) => total + bytes, 0);
}

function difference(after: ReadonlyMap<string, LinkBytes>, before: ReadonlyMap<string, LinkBytes>) {
  return new Map(
    [...after].map(([name, { sent, received }]) => {
      const { sent: sentBefore = 0, received: receivedBefore = 0 } = before.get(name) ?? {};
      return [name, { sent: sent - sentBefore, received: received - receivedBefore }] as const;
    }),
  );
}
