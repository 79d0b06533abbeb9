import { assert } from '../core/assert.ts';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { LocalObject } from './local-object.ts';

type Role = LocalObject['role'];

type Slot =
  /** `register` or `getReplica` is at work. */
  | { readonly tag: 'opening'; readonly role: Role; readonly object: LocalObject | undefined }
  | { readonly tag: 'open'; readonly object: LocalObject }
  | { readonly tag: 'closing'; readonly object: LocalObject };

/** The names that this store has in use: each once, whatever for. */
export class LocalObjects {
  readonly #slots = new Map<string, Slot>();

  get size(): number {
    return this.#slots.size;
  }

  /** @throws P2P_PAYLOAD_OPENED The name is in use. */
  reserve(name: string, role: Role): void {
    const slot = this.#slots.get(name);
    if (slot === undefined) {
      this.#slots.set(name, { tag: 'opening', role, object: undefined });
      return;
    }
    const slotRole = slot.tag === 'opening' ? slot.role : slot.object.role;
    const action = role === 'gold' ? 'register' : 'pull';
    const state = slotRole === 'gold' ? 'has registered it' : 'has a replica of it';
    throw new P2PStoreError(ErrorCode.PayloadOpened, `Cannot ${action} "${name}": this store ${state} (${slot.tag})`, {
      name,
    });
  }

  /** Says what is being opened. */
  attach(object: LocalObject): void {
    const slot = this.#slots.get(object.name);
    assert(slot?.tag === 'opening', 'name was not reserved');
    this.#slots.set(object.name, { ...slot, object });
  }

  /** Ends a reservation, in one way or the other. */
  settle(name: string, object: LocalObject | undefined): void {
    assert(this.#slots.get(name)?.tag === 'opening', 'name was not reserved');
    if (object === undefined) this.#slots.delete(name);
    else this.#slots.set(name, { tag: 'open', object });
  }

  /**
   * Starts to close an open object.
   *
   * @throws P2P_PAYLOAD_NOT_OPENED No object of this role is open under the name.
   */
  beginClose(name: string, role: Role): LocalObject {
    const slot = this.#slots.get(name);
    if (slot?.tag === 'open' && slot.object.role === role) {
      this.#slots.set(name, { tag: 'closing', object: slot.object });
      return slot.object;
    }
    const action = role === 'gold' ? 'unregister' : 'delete the replica of';
    const wanted = role === 'gold' ? 'registered' : 'pulled';
    const state = slot === undefined || slot.tag === 'open' ? `this store has not ${wanted} it` : `it is ${slot.tag}`;
    throw new P2PStoreError(ErrorCode.PayloadNotOpened, `Cannot ${action} "${name}": ${state}`, { name });
  }

  endClose(name: string): void {
    assert(this.#slots.get(name)?.tag === 'closing', 'object was not closing');
    this.#slots.delete(name);
  }

  /** Those that are open now. */
  open(): LocalObject[] {
    return [...this.#slots.values()].flatMap((slot) => (slot.tag === 'open' ? [slot.object] : []));
  }

  /** Those that have memory: open ones, and those that are coming or going. */
  all(): LocalObject[] {
    return [...this.#slots.values()].flatMap(({ object }) => object ?? []);
  }

  /** Those whose records should be there now: open ones, and replicas on their way. */
  listed(): LocalObject[] {
    return [...this.#slots.values()].flatMap((slot) =>
      slot.tag !== 'closing' && slot.object?.isListed === true ? [slot.object] : [],
    );
  }
}
