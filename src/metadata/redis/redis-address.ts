import { ErrorCode, P2PStoreError } from '../../core/errors.ts';

/** Where a Redis server is and how to be let in. */
export interface RedisAddress {
  /** Without user and password: safe to show. */
  readonly uri: string;
  /** All of it, as the client takes it. */
  readonly url: string;
}

/** Of Redis. Mooncake's engine takes 12001 where none is given, so give one. */
const DEFAULT_PORT = 6379;
/** Mooncake's engines take 0 to 255. */
const DATABASE_MAX = 255;

export function isRedisUri(uri: string): boolean {
  return /^rediss?:\/\//.test(uri);
}

/**
 * Reads `redis://[user:password@]host[:port][/database]`, the same with `rediss://` for TLS. User and password are percent-encoded.
 *
 * @throws P2P_INVALID_ARGUMENT The URI is malformed.
 */
export function parseRedisAddress(uri: string): RedisAddress {
  const url = isRedisUri(uri) && URL.canParse(uri) ? new URL(uri) : undefined;
  const database = /^\/?(?<number>\d{0,3})$/.exec(url?.pathname ?? '-')?.groups?.['number'];
  const isWhole = database !== undefined && Number(database) <= DATABASE_MAX;
  if (url === undefined || url.hostname === '' || !isWhole || url.search !== '' || url.hash !== '') {
    // The message never repeats the URI: it may hold a password.
    throw new P2PStoreError(
      ErrorCode.InvalidArgument,
      'Cannot read the metadata URI: it must be redis://host:port or redis://user:password@host:port/database',
      { argument: 'metadataUri' },
    );
  }
  url.port ||= String(DEFAULT_PORT);
  const shown = `${url.protocol}//${url.host}${database === '' ? '' : `/${database}`}`;
  return { uri: shown, url: url.href };
}
