/**
 * What is due, earliest first, in virtual milliseconds. A binary heap over typed arrays, because a run has tens of
 * millions of events: an event is a kind and one number that its handler understands.
 */
export class EventQueue {
  #times = new Float64Array(1_024);
  #kinds = new Uint8Array(1_024);
  #values = new Int32Array(1_024);
  #size = 0;
  #nowMs = 0;

  get nowMs(): number {
    return this.#nowMs;
  }

  push(atMs: number, kind: number, value: number): void {
    if (this.#size === this.#times.length) this.#grow();
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if ((this.#times[parent] ?? 0) <= atMs) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#set(at, atMs, kind, value);
  }

  /** Hands out the earliest event and moves the time to it. @returns false when there is none. */
  next(handle: (kind: number, value: number) => void): boolean {
    if (this.#size === 0) return false;
    const kind = this.#kinds[0] ?? 0;
    const value = this.#values[0] ?? 0;
    this.#nowMs = this.#times[0] ?? 0;
    this.#removeFirst();
    handle(kind, value);
    return true;
  }

  #removeFirst(): void {
    const last = --this.#size;
    const lastMs = this.#times[last] ?? 0;
    const lastKind = this.#kinds[last] ?? 0;
    const lastValue = this.#values[last] ?? 0;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= last) break;
      if (child + 1 < last && (this.#times[child + 1] ?? 0) < (this.#times[child] ?? 0)) child++;
      if ((this.#times[child] ?? 0) >= lastMs) break;
      this.#move(child, at);
      at = child;
    }
    this.#set(at, lastMs, lastKind, lastValue);
  }

  #set(at: number, atMs: number, kind: number, value: number): void {
    this.#times[at] = atMs;
    this.#kinds[at] = kind;
    this.#values[at] = value;
  }

  #move(from: number, to: number): void {
    this.#set(to, this.#times[from] ?? 0, this.#kinds[from] ?? 0, this.#values[from] ?? 0);
  }

  #grow(): void {
    const size = this.#times.length * 2;
    const times = new Float64Array(size);
    const kinds = new Uint8Array(size);
    const values = new Int32Array(size);
    times.set(this.#times);
    kinds.set(this.#kinds);
    values.set(this.#values);
    this.#times = times;
    this.#kinds = kinds;
    this.#values = values;
  }
}
