import { readFileSync } from 'node:fs';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';

/** Client side of TLS, PEM. Without `ca` the system's certificate authorities count. */
export interface EtcdTlsOptions {
  readonly ca?: string | Uint8Array;
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
}

export interface EtcdOptions {
  /** Given, even empty, the connection uses TLS. */
  readonly tls?: EtcdTlsOptions;
  readonly username?: string;
  readonly password?: string;
}

/** Where an etcd cluster is and how to be let in. */
export interface EtcdAddress {
  /** Without user, password and query: safe to show. */
  readonly uri: string;
  /** `http://host:port` or `https://host:port`, at least one. */
  readonly endpoints: readonly string[];
  readonly tls: EtcdTlsOptions | undefined;
  readonly credentials: { readonly username: string; readonly password: string } | undefined;
}

const DEFAULT_PORT = 2379;
const ENDPOINTS_MAX = 32;

// The message never repeats the URI: it may hold a password, also where it could not be parsed.
function malformed(state: string, cause?: unknown): P2PStoreError<'P2P_INVALID_ARGUMENT'> {
  return new P2PStoreError(
    ErrorCode.InvalidArgument,
    `Cannot read the metadata URI: ${state}`,
    { argument: 'metadataUri' },
    { cause },
  );
}

/**
 * Reads `etcd://[user:password@]host[:port][,host[:port]...][?ca=path&cert=path&key=path]`, the same with `etcds://`
 * for TLS, or a bare comma list of `host:port`. User and password are percent-encoded. Options win over the URI.
 *
 * @throws P2P_INVALID_ARGUMENT The URI is malformed, or a certificate file cannot be read.
 */
export function parseEtcdAddress(uri: string, options: EtcdOptions = {}): EtcdAddress {
  const { scheme, rest } = splitScheme(uri);
  const queryStart = rest.indexOf('?');
  const authority = (queryStart < 0 ? rest : rest.slice(0, queryStart)).replace(/\/$/, '');
  const userEnd = authority.lastIndexOf('@');
  const hosts = authority
    .slice(userEnd + 1)
    .split(',')
    .map((host) => parseHost(host, scheme === undefined));
  if (hosts.length > ENDPOINTS_MAX)
    throw malformed(`it names ${hosts.length} endpoints, at most ${ENDPOINTS_MAX} are allowed`);
  const fileTls = readTlsQuery(queryStart < 0 ? '' : rest.slice(queryStart + 1));
  const isTls = scheme === 'etcds' || fileTls !== undefined || options.tls !== undefined;
  return {
    uri: `${isTls ? 'etcds' : 'etcd'}://${hosts.join(',')}`,
    endpoints: hosts.map((host) => `${isTls ? 'https' : 'http'}://${host}`),
    tls: isTls ? { ...fileTls, ...options.tls } : undefined,
    credentials: readCredentials(userEnd < 0 ? undefined : authority.slice(0, userEnd), options),
  };
}

function splitScheme(uri: string): { scheme: 'etcd' | 'etcds' | undefined; rest: string } {
  const end = uri.indexOf('://');
  if (end < 0) return { scheme: undefined, rest: uri };
  const scheme = uri.slice(0, end);
  if (scheme !== 'etcd' && scheme !== 'etcds')
    throw malformed('its scheme must be etcd, etcds, redis, rediss, local or memory');
  return { scheme, rest: uri.slice(end + 3) };
}

/** Returns `host:port`. A bare host needs its port, so that a mistyped word is not taken for a host. */
function parseHost(text: string, requiresPort: boolean): string {
  const match = /^(?<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\])(?::(?<port>[0-9]{1,5}))?$/.exec(text);
  const host = match?.groups?.['host'];
  const portText = match?.groups?.['port'];
  if (host === undefined || (requiresPort && portText === undefined)) throw malformed('an endpoint must be host:port');
  const port = portText === undefined ? DEFAULT_PORT : Number(portText);
  if (port < 1 || port > 65535) throw malformed('a port must be in [1, 65535]');
  return `${host}:${port}`;
}

function readTlsQuery(query: string): EtcdTlsOptions | undefined {
  if (query === '') return undefined;
  const files = new Map<string, Uint8Array>();
  for (const [name, file] of new URLSearchParams(query)) {
    if (name !== 'ca' && name !== 'cert' && name !== 'key') throw malformed('its query may hold ca, cert and key only');
    try {
      files.set(name, readFileSync(file));
    } catch (cause) {
      throw malformed(`the file of "${name}" cannot be read`, cause);
    }
  }
  return Object.fromEntries(files);
}

function readCredentials(userPart: string | undefined, options: EtcdOptions): EtcdAddress['credentials'] {
  const separator = userPart?.indexOf(':') ?? -1;
  let username = options.username;
  let password = options.password;
  if (userPart !== undefined) {
    try {
      username ??= decodeURIComponent(separator < 0 ? userPart : userPart.slice(0, separator));
      password ??= separator < 0 ? undefined : decodeURIComponent(userPart.slice(separator + 1));
    } catch {
      throw malformed('user or password is not percent-encoded'); // no cause: it would quote the password
    }
  }
  if (username === undefined && password === undefined) return undefined;
  if (username === undefined || username === '') throw malformed('a password needs a user');
  return { username, password: password ?? '' };
}
