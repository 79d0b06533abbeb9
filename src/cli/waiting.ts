/** `get --wait`: from a name that nobody serves to the moment that somebody does. */
import type { CommandContext } from './command.ts';
import { printable } from './output.ts';
import type { RemoteObject } from './pull-plan.ts';
import type { P2PStore } from './session.ts';

/** What was waited for. Who waited stays among those who pull it together until it is disposed of. */
export interface Wait extends AsyncDisposable {
  readonly objects: readonly RemoteObject[];
}

type Store = Pick<P2PStore, 'list' | 'watch' | 'gather'>;

/**
 * Lists what a name stands for, and waits until that is something, together with all others that wait for the same name.
 *
 * One watch in the metadata store tells the moment of publication: nothing is polled, so that any number may wait. It tells all
 * about a single object; of a prefix there may be more, so that is listed again.
 *
 * @param name - An object, or a prefix that ends in `/`.
 * @throws signal.reason When it fires first.
 */
export async function waitForObjects(
  { output }: Pick<CommandContext, 'output'>,
  store: Store,
  name: string,
  signal: AbortSignal,
): Promise<Wait> {
  const isWanted = (object: RemoteObject): boolean => name.endsWith('/') || object.name === name;
  const listed = await store.list(name, { signal });
  if (listed.some(isWanted)) return { objects: listed, [Symbol.asyncDispose]: () => Promise.resolve() };
  const gathering = await store.gather(name, { signal });
  const events = store.watch(name, { signal });
  // At the end, too: to close a watch takes time that who has seen the object does not have.
  const dispose = async (): Promise<void> => {
    await Promise.all([events.return(), gathering[Symbol.asyncDispose]()]);
  };
  try {
    output.event({ event: 'waiting', name }, `Waiting until somebody serves ${printable(name)}.`);
    return { objects: await firstWanted(store, name, events, isWanted, signal), [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function firstWanted(
  store: Store,
  name: string,
  events: ReturnType<Store['watch']>,
  isWanted: (object: RemoteObject) => boolean,
  signal: AbortSignal,
): Promise<readonly RemoteObject[]> {
  for (let next = await events.next(); next.done !== true; next = await events.next()) {
    const { kind, object } = next.value;
    if (kind === 'removed' || !isWanted(object)) continue;
    if (object.name === name) return [object];
    const objects = await store.list(name, { signal });
    if (objects.some(isWanted)) return objects;
  }
  return await store.list(name, { signal }); // the store is being closed, and says so
}
