import { type Pacer, PaceTicket } from './pacer.ts';
import type { PendingRequest } from './pending-request.ts';

interface Line {
  readonly ticket: PaceTicket;
  requests: PendingRequest[];
}

/** READs of one connection that the download limit does not allow yet: a line for each flow, so that none waits behind another. */
export class AskQueue {
  readonly #pacer: Pacer;
  readonly #wake: () => void;
  readonly #lines = new Map<number, Line>();

  constructor(pacer: Pacer, wake: () => void) {
    this.#pacer = pacer;
    this.#wake = wake;
  }

  get isEmpty(): boolean {
    return this.#lines.size === 0;
  }

  push(request: PendingRequest): void {
    const { flow } = request.request;
    const line = this.#lines.get(flow);
    if (line === undefined) this.#lines.set(flow, { ticket: new PaceTicket(flow, this.#wake), requests: [request] });
    else line.requests.push(request);
  }

  /** Takes out what may be asked for now; wakes the connection when there is more. */
  admit(): PendingRequest[] {
    const admitted: PendingRequest[] = [];
    for (const line of this.#lines.values()) {
      for (let [head] = line.requests; head !== undefined; [head] = line.requests) {
        if (!this.#pacer.take(line.ticket, head.request.lengthBytes)) break;
        admitted.push(head);
        line.requests.shift();
      }
      this.#dropIfEmpty(line);
    }
    return admitted;
  }

  /** Takes out requests by their id. */
  remove(ids: ReadonlySet<number>): PendingRequest[] {
    const removed: PendingRequest[] = [];
    for (const line of this.#lines.values()) {
      removed.push(...line.requests.filter(({ id }) => ids.has(id)));
      line.requests = line.requests.filter(({ id }) => !ids.has(id));
      this.#dropIfEmpty(line);
    }
    return removed;
  }

  /** Takes out everything. */
  clear(): PendingRequest[] {
    const all = [...this.#lines.values()].flatMap(({ requests }) => requests);
    return this.remove(new Set(all.map(({ id }) => id)));
  }

  #dropIfEmpty({ ticket, requests }: Line): void {
    if (requests.length > 0) return;
    this.#pacer.leave(ticket);
    this.#lines.delete(ticket.flow);
  }
}
