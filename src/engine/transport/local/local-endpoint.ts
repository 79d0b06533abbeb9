/** What an engine publishes so that processes of its host find its memory, and how a host and its processes are told apart. */
import { z } from 'zod';
import { readBootId, readOwnIdentity } from '../../../metadata/embedded/process-identity.ts';

/** Where process ids mean the same. */
export interface HostIdentity {
  /** Of the running kernel: another one after each start, and on each host. */
  readonly bootId: string;
  readonly pidNamespace: string;
}

export interface LocalEndpoint extends HostIdentity {
  readonly pid: number;
  /** Descriptor of its range table. */
  readonly tableFd: number;
  /** Where its memory holds the mark. */
  readonly markAddress: number;
  /** Random bytes by which the process is known, in hexadecimal. */
  readonly mark: string;
}

const schema = z.object({
  bootId: z.string().min(1),
  pidNamespace: z.string().min(1),
  pid: z.int().positive(),
  tableFd: z.int().nonnegative(),
  markAddress: z.int().positive(),
  mark: z.string().regex(/^[0-9a-f]{32}$/),
});

/** @returns Undefined when it is none. */
export function parseLocalEndpoint(value: unknown): LocalEndpoint | undefined {
  return schema.safeParse(value).data;
}

/** @returns Undefined where the system does not tell. */
export function readHostIdentity(): HostIdentity | undefined {
  const bootId = readBootId();
  const pidNamespace = readOwnIdentity()?.pidNamespace;
  return bootId === '' || pidNamespace === undefined ? undefined : { bootId, pidNamespace };
}
