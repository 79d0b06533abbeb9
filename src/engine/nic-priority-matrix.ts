import { z } from 'zod';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { cardNames } from './topology/network-cards.ts';

/** Memory location -> [preferred NICs, other NICs], e.g. `{"cpu:0": [["eth0","eth1"],["eth2"]]}`. */
export type NicPriorityMatrix = Readonly<Record<string, readonly [readonly string[], readonly string[]]>>;

const schema = z.record(z.string().min(1), z.tuple([z.array(z.string()), z.array(z.string())]));

/** Any location fits; which cards are near is not known. */
export const ANY_LOCATION = '*';
const NUMA_LOCATION = /^cpu:\d+$/;

function invalid(message: string, cause?: unknown): P2PStoreError<'P2P_INVALID_ARGUMENT'> {
  return new P2PStoreError(
    ErrorCode.InvalidArgument,
    `Cannot use the NIC priority matrix: ${message}`,
    { argument: 'nicPriorityMatrix' },
    { cause },
  );
}

/**
 * Reads a matrix in Mooncake's form, as JSON text or as an object. Empty or absent means none.
 *
 * @param present - Names of the cards and devices that this host has.
 * @throws P2P_INVALID_ARGUMENT It has another shape, or names a card that this host does not have.
 */
export function parseNicPriorityMatrix(
  input: string | NicPriorityMatrix | undefined,
  present: () => readonly string[] = cardNames,
): NicPriorityMatrix | undefined {
  if (input === undefined || input === '') return undefined;
  let value: unknown = input;
  if (typeof input === 'string') {
    try {
      value = JSON.parse(input);
    } catch (cause) {
      throw invalid('it is not JSON', cause);
    }
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw invalid('each location needs two lists of card names, preferred and other', parsed.error);
  const names = present();
  const unknown = Object.values(parsed.data)
    .flat(2)
    .find((card) => !names.includes(card));
  if (unknown !== undefined) throw invalid(`it names card "${unknown}", but this host has ${names.join(', ')}`);
  return parsed.data;
}

/** Whether memory may be registered under this location: a key of the matrix, or without one any NUMA node. */
export function isKnownLocation(matrix: NicPriorityMatrix | undefined, location: string): boolean {
  if (location === ANY_LOCATION) return true;
  return matrix === undefined ? NUMA_LOCATION.test(location) : Object.hasOwn(matrix, location);
}
