/** `get --wait`: from a name that nobody serves to the moment that somebody does. */
import type { CommandContext } from './command.ts';
import { printable } from './output.ts';
import type { RemoteObject } from './pull-plan.ts';
import type { P2PStore } from './session.ts';

/**
 * Lists what a name stands for, and waits until that is something.
 *
 * One watch in the metadata store tells the moment of publication: nothing is polled, so that any number may wait. It tells all
 * about a single object; of a prefix there may be more, so that is listed again.
 *
 * @param name - An object, or a prefix that ends in `/`.
 * @throws signal.reason When it fires first.
 */
export async function waitForObjects(
  { output }: Pick<CommandContext, 'output'>,
  store: Pick<P2PStore, 'list' | 'watch'>,
  name: string,
  signal: AbortSignal,
): Promise<RemoteObject[]> {
  const isWanted = (object: RemoteObject): boolean => name.endsWith('/') || object.name === name;
  for (let isTold = false; ; isTold = true) {
    const objects = await store.list(name, { signal });
    if (objects.some(isWanted)) return objects;
    if (!isTold) output.event({ event: 'waiting', name }, `Waiting until somebody serves ${printable(name)}.`);
    for await (const { kind, object } of store.watch(name, { signal })) {
      if (kind === 'removed' || !isWanted(object)) continue;
      if (object.name === name) return [object];
      break;
    }
  }
}
