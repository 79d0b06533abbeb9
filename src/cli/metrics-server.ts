/** Answers `GET /metrics` for a monitoring system, while a command runs. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../core/errors.ts';
import { hostPort } from '../core/host-port.ts';
import { METRICS_CONTENT_TYPE } from '../observability/metric-samples.ts';
import type { CommandContext } from './command.ts';

export interface MetricsServerOptions {
  /** Without brackets. */
  readonly host: string;
  /** 0: the system chooses. */
  readonly port: number;
  /** Makes the text of one scrape. */
  readonly read: () => Promise<string>;
}

const PATH = '/metrics';
/** Scrapes come one at a time, every few seconds. */
const CONNECTIONS_MAX = 16;
const REQUEST_TIMEOUT_MS = 10_000;

export class MetricsServer implements AsyncDisposable {
  readonly url: string;
  readonly #server: Server;

  private constructor(server: Server, host: string) {
    const { port } = server.address() as AddressInfo;
    this.url = `http://${hostPort(host, port)}${PATH}`;
    this.#server = server;
  }

  /** @throws P2P_INVALID_ARGUMENT The address cannot be listened on, as when the port is taken. */
  static async open({ host, port, read }: MetricsServerOptions): Promise<MetricsServer> {
    const { createServer } = await import('node:http'); // most commands run without
    const server = createServer((request, response) => void answer(request, response, read));
    server.maxConnections = CONNECTIONS_MAX;
    server.requestTimeout = REQUEST_TIMEOUT_MS;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause: NodeJS.ErrnoException) => {
        const state = cause.code === 'EADDRINUSE' ? 'the port is taken' : `it cannot be listened on (${cause.code})`;
        const message = `Cannot serve metrics at ${hostPort(host, port)}: ${state}`;
        reject(new P2PStoreError(ErrorCode.InvalidArgument, message, { argument: '--metrics-listen' }, { cause }));
      });
      server.listen(port, host, resolve);
    });
    return new MetricsServer(server, host);
  }

  /** Ends scrapes under way too. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.#server.closeAllConnections();
    await closed;
  }
}

/** Serves the metrics of a store where `--metrics-listen` says, if it does, and says where that is. */
export async function openMetrics(
  { config, output }: CommandContext,
  store: { metrics(): Promise<string> },
): Promise<MetricsServer | undefined> {
  if (config.metricsListen === undefined) return undefined;
  const server = await MetricsServer.open({ ...config.metricsListen, read: () => store.metrics() });
  output.event({ event: 'metrics', url: server.url }, `Metrics at ${server.url}.`);
  return server;
}

async function answer(request: IncomingMessage, response: ServerResponse, read: () => Promise<string>): Promise<void> {
  const [path] = (request.url ?? '').split('?');
  if (request.method !== 'GET' || path !== PATH) {
    response.writeHead(404, { 'content-type': 'text/plain' }).end(`only GET ${PATH}\n`);
    return;
  }
  try {
    const text = await read();
    response.writeHead(200, { 'content-type': METRICS_CONTENT_TYPE }).end(text);
  } catch (error) {
    const isClosing = isP2PStoreError(error, ErrorCode.Closed);
    const reason = isClosing ? 'the store is closing' : `the metrics cannot be read: ${String(error)}`;
    response.writeHead(isClosing ? 503 : 500, { 'content-type': 'text/plain' }).end(`${reason}\n`);
  }
}
