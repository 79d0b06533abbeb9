import type { DigestPool } from '../digest/digest-pool.ts';

/** The part of the digest pool that the swarm uses. */
export type Digester = Pick<DigestPool, 'digest'>;
