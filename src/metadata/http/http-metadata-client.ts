/**
 * A client of Mooncake's HTTP metadata service, `http://host:port/metadata`: GET, PUT and DELETE of `?key=`.
 *
 * The service has no list, no compare-and-swap, no lease and no watch, so it can only serve engines, which look
 * for segments by name; it is no {@link MetadataStore}.
 */
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';

/** For the whole of a call; Mooncake's own client waits so long. */
const CALL_MS = 3000;

export class HttpMetadataClient {
  /** As given, without user, password and query. */
  readonly uri: string;
  readonly #url: string;

  /** @throws P2P_INVALID_ARGUMENT The URI is no http or https URL. */
  constructor(uri: string) {
    const url = URL.canParse(uri) ? new URL(uri) : undefined;
    if (url === undefined || !isHttpUri(uri) || url.search !== '' || url.hash !== '') {
      throw new P2PStoreError(
        ErrorCode.InvalidArgument,
        'Cannot read the metadata URI: it must be http://host:port/path or https://host:port/path',
        { argument: 'metadataUri' },
      );
    }
    this.#url = uri;
    url.username = '';
    url.password = '';
    this.uri = url.href;
  }

  /** @returns The value, or undefined when the key is absent. */
  async get(key: string, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    const { status, body } = await this.#call('GET', key, undefined, signal);
    if (status === 404) return undefined;
    this.#requireOk(status, 'read', key);
    return body;
  }

  /** Some services refuse to put a location over another: delete it before. */
  async put(key: string, value: Uint8Array, signal?: AbortSignal): Promise<void> {
    const { status } = await this.#call('PUT', key, value, signal);
    this.#requireOk(status, 'write', key);
  }

  /** Deleting what is not there is no error. */
  async delete(key: string, signal?: AbortSignal): Promise<void> {
    const { status } = await this.#call('DELETE', key, undefined, signal);
    if (status !== 404) this.#requireOk(status, 'delete', key);
  }

  async #call(
    method: 'GET' | 'PUT' | 'DELETE',
    key: string,
    value: Uint8Array | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly status: number; readonly body: Uint8Array }> {
    signal?.throwIfAborted();
    const deadline = AbortSignal.timeout(CALL_MS);
    try {
      const response = await fetch(`${this.#url}?key=${escapeKey(key)}`, {
        method,
        signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]),
        redirect: 'error',
        ...(value !== undefined && { body: Buffer.from(value), headers: { 'content-type': 'application/json' } }),
      });
      return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) };
    } catch (cause) {
      signal?.throwIfAborted();
      throw this.#unavailable('it did not answer', cause);
    }
  }

  #requireOk(status: number, action: string, key: string): void {
    if (status === 200) return;
    if (status === 401 || status === 403) {
      throw new P2PStoreError(
        ErrorCode.MetadataDenied,
        `Cannot use metadata service ${this.uri}: it answered ${status}`,
        { uri: this.uri },
      );
    }
    throw this.#unavailable(`it answered ${status} when asked to ${action} ${key}`);
  }

  #unavailable(state: string, cause?: unknown): P2PStoreError<'P2P_METADATA_UNAVAILABLE'> {
    return new P2PStoreError(
      ErrorCode.MetadataUnavailable,
      `Cannot use metadata service ${this.uri}: ${state}`,
      { uri: this.uri },
      { cause },
    );
  }
}

export function isHttpUri(uri: string): boolean {
  return /^https?:\/\//.test(uri);
}

/** As libcurl escapes: one server compares keys as they come, escaped. */
function escapeKey(key: string): string {
  return encodeURIComponent(key).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
