/**
 * An HTTP metadata service as Mooncake's engines use it: GET, PUT and DELETE of `/metadata?key=`, kept in memory.
 *
 *   GET     200 with the value, 404 when the key is absent
 *   PUT     200, also over a value that is there
 *   DELETE  200, also of what is absent
 *
 * It knows no leases: what a process that was killed left stays until somebody takes its name, or the service ends.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import { hostPort } from '../../core/host-port.ts';
import { type Logger, silentLogger } from '../../observability/logger.ts';
import { KEY_BYTES_MAX } from '../commit-check.ts';

export interface MetadataServerOptions {
  /** Default `127.0.0.1`: whoever reaches the port may change every record. */
  readonly host?: string;
  /** Default 0: the system chooses. */
  readonly port?: number;
  /** Most keys, and most bytes of values together. Default 100,000 and 256 MiB; then a PUT is answered with 507. */
  readonly keysMax?: number;
  readonly bytesMax?: number;
  readonly logger?: Logger;
}

/** A descriptor of 100,000 buffers has 8 MB. */
const VALUE_BYTES_MAX: number = 16 << 20;
const PATH = '/metadata';

class HttpFailure extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class MetadataServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #values = new Map<string, Buffer>();
  readonly #options: Required<MetadataServerOptions>;
  #bytes = 0;

  private constructor(options: Required<MetadataServerOptions>) {
    this.#options = options;
    this.#server = createServer((request, response) => void this.#answer(request, response));
    this.#server.requestTimeout = 10_000;
  }

  /** @throws P2P_INVALID_ARGUMENT The address cannot be listened on. */
  static async open(options: MetadataServerOptions = {}): Promise<MetadataServer> {
    const defaults = { host: '127.0.0.1', port: 0, keysMax: 100_000, bytesMax: 256 << 20, logger: silentLogger };
    const server = new MetadataServer({ ...defaults, ...options });
    const { host, port } = server.#options;
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', (cause) =>
        reject(
          new P2PStoreError(
            ErrorCode.InvalidArgument,
            `Cannot serve metadata at ${host}:${port}: it cannot be listened on`,
            { argument: 'listen' },
            { cause },
          ),
        ),
      );
      server.#server.listen(port, host, resolve);
    });
    return server;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** What engines take for their metadata URI. */
  get uri(): string {
    const { host } = this.#options;
    return `http://${hostPort(host, this.port)}${PATH}`;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const value = await this.#serve(request);
      response.writeHead(200, { 'content-type': 'application/json' }).end(value);
    } catch (error) {
      const status = error instanceof HttpFailure ? error.status : 500;
      if (status === 500) this.#options.logger.warn({ error }, 'metadata request failed');
      response.writeHead(status, { 'content-type': 'text/plain', connection: 'close' });
      response.end(error instanceof HttpFailure ? error.message : 'failed');
    }
  }

  async #serve(request: IncomingMessage): Promise<Buffer | undefined> {
    const key = keyOf(request);
    switch (request.method) {
      case 'GET': {
        const value = this.#values.get(key);
        if (value === undefined) throw new HttpFailure(404, 'metadata not found');
        return value;
      }
      case 'PUT':
        this.#put(key, await bodyOf(request));
        return undefined;
      case 'DELETE':
        this.#bytes -= this.#values.get(key)?.length ?? 0;
        this.#values.delete(key);
        return undefined;
      default:
        throw new HttpFailure(405, 'only GET, PUT and DELETE');
    }
  }

  #put(key: string, value: Buffer): void {
    const bytes = this.#bytes + value.length - (this.#values.get(key)?.length ?? 0);
    const keys = this.#values.size + (this.#values.has(key) ? 0 : 1);
    if (bytes > this.#options.bytesMax || keys > this.#options.keysMax) throw new HttpFailure(507, 'full');
    this.#bytes = bytes;
    this.#values.set(key, value);
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.#server.closeAllConnections();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function keyOf(request: IncomingMessage): string {
  const target = request.url ?? '';
  if (!URL.canParse(target, 'http://host')) throw new HttpFailure(400, 'malformed URL');
  const url = new URL(target, 'http://host');
  if (url.pathname !== PATH) throw new HttpFailure(404, `only ${PATH}`);
  const key = url.searchParams.get('key') ?? '';
  if (key === '' || Buffer.byteLength(key) > KEY_BYTES_MAX) {
    throw new HttpFailure(400, `a key of 1 to ${KEY_BYTES_MAX} bytes is needed`);
  }
  return key;
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > VALUE_BYTES_MAX) throw new HttpFailure(413, 'too large');
    parts.push(part);
  }
  return Buffer.concat(parts);
}
