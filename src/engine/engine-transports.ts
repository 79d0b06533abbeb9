/** Opens the transports of one engine, in the order in which they are preferred. Code of those that it does not use is not loaded. */
import { systemClock } from '../core/clock.ts';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { NicPriorityMatrix } from './nic-priority-matrix.ts';
import type { RegisteredRange } from './registered-ranges.ts';
import type { LocalTransport } from './transport/local/local-transport.ts';
import type { LoopbackTransport } from './transport/loopback/loopback-transport.ts';
import type { RdmaTransport } from './transport/rdma/rdma-transport.ts';
import { TcpTransport, type TcpTransportOptions } from './transport/tcp/tcp-transport.ts';
import { TRANSPORT_NAMES, type Transport, type TransportName } from './transport/transport.ts';
import { TransportRouter } from './transport-router.ts';

export interface EngineTransportsOptions {
  /** Which ones to use and to offer, the preferred one first. Undefined: all that work here. */
  readonly transports: readonly TransportName[] | undefined;
  readonly tcp: TcpTransportOptions;
  readonly segmentName: string;
  /** Its RDMA devices are used; undefined: all that can be. */
  readonly matrix: NicPriorityMatrix | undefined;
}

interface Selection {
  readonly used: readonly Transport[];
  readonly rdma: RdmaTransport | undefined;
  /** Why the others are not used, by name. */
  readonly off: readonly string[];
}

/** TCP, which every engine serves, and the router over what the engine uses itself. */
export class EngineTransports implements AsyncDisposable {
  readonly tcp: TcpTransport;
  /** Undefined: off, or there is no card. */
  readonly rdma: RdmaTransport | undefined;
  readonly router: TransportRouter;
  /** What other engines must know, for the segment descriptor; undefined: TCP only. */
  readonly endpoints: Readonly<Record<string, unknown>> | undefined;
  readonly #opened: readonly Transport[];

  private constructor(tcp: TcpTransport, { used, rdma, off }: Selection, options: EngineTransportsOptions) {
    const { logger } = options.tcp;
    this.tcp = tcp;
    this.rdma = rdma;
    this.#opened = [...used.filter((transport) => transport !== tcp), tcp];
    this.router = new TransportRouter({ transports: used, off, clock: systemClock, logger });
    this.endpoints = endpointsOf(used);
  }

  /**
   * @throws P2P_INVALID_ARGUMENT A transport is unknown or named twice, the data port is taken, or the bind address is not of this host.
   */
  static async open(options: EngineTransportsOptions): Promise<EngineTransports> {
    const names = checkNames(options.transports);
    const tcp = await TcpTransport.open(options.tcp);
    const used: Transport[] = [];
    const off: string[] = [];
    let rdma: RdmaTransport | undefined;
    for (const name of names) {
      const transport = name === 'tcp' ? tcp : await openTransport(name, options);
      if (typeof transport === 'string') {
        off.push(`${name}: ${transport}`);
        continue;
      }
      used.push(transport);
      if (transport.name === 'rdma') rdma = transport;
    }
    return new EngineTransports(tcp, { used, rdma, off }, options);
  }

  async register(range: RegisteredRange): Promise<void> {
    await Promise.all(this.#opened.map((transport) => transport.register(range)));
  }

  async unregister(address: number): Promise<void> {
    await Promise.all(this.#opened.map((transport) => transport.unregister(address)));
  }

  async close(): Promise<void> {
    this.router.close();
    for (const transport of this.#opened) await transport.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** @returns The transport, or why it cannot be used. */
async function openTransport(
  name: Exclude<TransportName, 'tcp'>,
  { tcp, segmentName, matrix }: EngineTransportsOptions,
): Promise<LoopbackTransport | LocalTransport | RdmaTransport | string> {
  const { maxUploadBytesPerSecond, maxDownloadBytesPerSecond, logger } = tcp;
  const isLimited = maxUploadBytesPerSecond !== undefined || maxDownloadBytesPerSecond !== undefined;
  if (isLimited) return 'off, as only tcp keeps to the limits of rates';
  try {
    switch (name) {
      case 'loopback': {
        const { LoopbackTransport } = await import('./transport/loopback/loopback-transport.ts');
        return new LoopbackTransport();
      }
      case 'local': {
        const { LocalTransport } = await import('./transport/local/local-transport.ts');
        return LocalTransport.open(logger) ?? 'off, as /proc does not tell processes apart';
      }
      case 'rdma': {
        const { openRdma } = await import('./transport/rdma/open-rdma.ts');
        return await openRdma({ segmentName, matrix, logger });
      }
    }
  } catch (error) {
    logger.warn({ transport: name, error }, 'transport not opened');
    return `off: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function checkNames(names: readonly TransportName[] | undefined): readonly TransportName[] {
  if (names === undefined) return TRANSPORT_NAMES;
  const known: readonly string[] = TRANSPORT_NAMES;
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`"${unknown}" is none; there are ${TRANSPORT_NAMES.join(', ')}`);
  if (names.length === 0) throw invalid('the list is empty');
  if (new Set(names).size < names.length) throw invalid('one is named twice');
  return names;
}

function invalid(why: string): P2PStoreError<'P2P_INVALID_ARGUMENT'> {
  return new P2PStoreError(ErrorCode.InvalidArgument, `Cannot use transports: ${why}`, { argument: 'transports' });
}

function endpointsOf(transports: readonly Transport[]): Readonly<Record<string, unknown>> | undefined {
  const entries = transports.flatMap(({ name, endpoint }) => (endpoint === undefined ? [] : [[name, endpoint]]));
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}
