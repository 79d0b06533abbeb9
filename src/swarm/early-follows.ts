import { Code, ConnectError } from '@connectrpc/connect';
import type { FollowFeed } from './follow-feed.ts';

type Join = (feed: FollowFeed) => void;

/** Streams that wait, over all names; more are turned away. */
const earlyMax = 4_096;
/** No object has a longer name. */
const nameBytesMax = 512;

/** Those who follow a name under which this store serves nothing yet: receivers that wait for the same object. */
export class EarlyFollows {
  readonly #joins = new Map<string, Set<Join>>();
  #count = 0;

  /**
   * @returns Ends the wait. Does nothing once it is over.
   * @throws ConnectError Too many wait, or there can be no such object.
   */
  add(name: string, join: Join): () => void {
    if (Buffer.byteLength(name) > nameBytesMax)
      throw new ConnectError('no object has such a name', Code.InvalidArgument);
    if (this.#count >= earlyMax) throw new ConnectError('too many wait here', Code.ResourceExhausted);
    const joins = this.#joins.get(name) ?? new Set();
    this.#joins.set(name, joins.add(join));
    this.#count += 1;
    return () => this.#remove(name, joins, join);
  }

  /** The object is there: nobody waits for it any more. */
  take(name: string): readonly Join[] {
    const joins = [...(this.#joins.get(name) ?? [])];
    this.#joins.delete(name);
    this.#count -= joins.length;
    return joins;
  }

  #remove(name: string, joins: Set<Join>, join: Join): void {
    if (this.#joins.get(name) !== joins || !joins.delete(join)) return;
    this.#count -= 1;
    if (joins.size === 0) this.#joins.delete(name);
  }
}
